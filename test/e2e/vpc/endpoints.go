package vpc

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeprep/nodeprep/test/e2e/vpc/internal/layer"
)

// The services of a VPC, as Host and Addresses name them.
const (
	APIServer = "apiserver"
	EC2       = "ec2"
	ECRAPI    = "ecr.api"
	ECRDKR    = "ecr.dkr"
	S3        = "s3"
)

// wiki is a web server of the VPC's owner, which no node needs.
const wiki = "wiki"

// An endpoint is one service behind TLS on port 443.
type endpoint struct {
	service string
	// hosts are the names it serves; the first is the one a node dials. A name
	// may begin with "*.".
	hosts []string
	// private holds an address per subnet, public the addresses that public
	// DNS has. names resolve to the private ones where there are any.
	private, public []netip.Addr
	// spare addresses are in a third subnet, and no name leads there.
	spare       []netip.Addr
	extra       bool
	now         func() time.Time // the issuer's clock
	fresh       bool             // certificates are short-lived
	authority   *authority
	certificate *certificate
	modes       layer.Stack[mode]

	connections, handshakes, requests atomic.Int64
}

// A certificate is made when it is first needed. Extra endpoints share one, so
// that a thousand cost no more than one and every connection costs the same.
type certificate struct {
	once   sync.Once
	config *tls.Config
	err    error
}

// A mode is what is wrong with an endpoint's server. The zero value is a healthy one.
type mode struct {
	// stall accepts connections and never answers.
	stall bool
	// plain speaks HTTP without TLS.
	plain bool
	// silent shakes hands and never answers a request.
	silent bool
	// config replaces the certificate.
	config *tls.Config
	// onHello, when not nil, decides by the ClientHello what becomes of the connection.
	onHello func(hello) reaction
}

// addresses are those the names resolve to in a healthy VPC.
func (e *endpoint) addresses() []netip.Addr {
	if len(e.private) > 0 {
		return e.private
	}
	return e.public
}

// tlsConfig is that of the healthy endpoint.
func (e *endpoint) tlsConfig() (*tls.Config, error) {
	c := e.certificate
	c.once.Do(func() { c.config, c.err = serverConfig(e.authority, e.leaf()) })
	return c.config, c.err
}

func (e *endpoint) leaf() leaf {
	l := leaf{name: e.hosts[0], hosts: e.hosts, now: e.now(), fresh: e.fresh}
	if e.extra {
		_, zone, _ := strings.Cut(e.hosts[0], ".")
		l.name, l.hosts = "*."+zone, []string{"*." + zone}
	}
	if e.service == APIServer {
		l.name = "kube-apiserver"
		l.hosts = append([]string{
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		}, e.hosts...)
		l.addresses = e.private
	}
	return l
}

func serverConfig(a *authority, l leaf) (*tls.Config, error) {
	cert, err := a.issue(l)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{*cert},
		NextProtos:   []string{"h2", "http/1.1"},
		// Every handshake is to be a full one: they are counted.
		SessionTicketsDisabled: true,
	}, nil
}

// planEndpoints lists what there is in the VPC and in public.
func (v *VPC) planEndpoints() []*endpoint {
	r, p := v.options.Region, v.partition
	name := func(service string) string { return service + "." + r + "." + p.suffix }
	list := []*endpoint{
		{
			service: APIServer, hosts: []string{v.apiHost()}, authority: v.cluster,
			private: v.inSubnets(180), public: public(10),
		},
		{service: EC2, hosts: []string{name("ec2")}, private: v.inSubnets(101)[:2], public: public(20)},
		{service: ECRAPI, hosts: []string{name("api.ecr")}, private: v.inSubnets(102)[:2], public: public(30), spare: []netip.Addr{v4(10, 20, 4, 102)}},
		{
			service: ECRDKR, hosts: []string{p.account + "." + name("dkr.ecr"), "*." + name("dkr.ecr"), name("dkr.ecr")},
			private: v.inSubnets(103)[:2], public: public(40),
		},
		{
			service: S3, hosts: []string{"prod-" + r + "-starport-layer-bucket." + name("s3"), "*." + name("s3"), name("s3")},
			public: []netip.Addr{v4(3, 5, 76, 11), v4(3, 5, 76, 12), v4(3, 5, 77, 13), v4(3, 5, 78, 14)},
		},
	}
	// Services that have no interface endpoint in most VPCs. Public DNS has them all.
	for i, s := range []string{
		"sts", "eks", "logs", "elasticloadbalancing", "autoscaling", "xray", "ssm", "kms",
		"monitoring", "ssmmessages", "ec2messages", "sqs", "elasticfilesystem", "eks-auth",
	} {
		e := &endpoint{service: s, hosts: []string{name(s)}, public: public(byte(50 + i))}
		if s == "eks-auth" { // which has the dual-stack name alone
			e.hosts[0] = s + "." + r + "." + p.dualStack
		}
		if v.options.AllEndpoints {
			e.private = v.inSubnets(byte(110 + i))[:2]
		}
		list = append(list, e)
	}
	list = append(list, &endpoint{service: wiki, hosts: []string{"wiki.corp.example"}, private: []netip.Addr{v4(10, 20, 0, 99)}})
	shared := new(certificate)
	for i := range v.options.ExtraEndpoints {
		hi, lo := byte(i>>8), byte(i)
		extension := []netip.Addr{v4(10, 20, 64+hi, lo), v4(10, 20, 96+hi, lo), v4(10, 20, 128+hi, lo)}
		list = append(list, &endpoint{
			service: fmt.Sprintf("extra-%04d", i+1),
			hosts:   []string{name(fmt.Sprintf("extra-%04d", i+1))},
			private: extension[:v.options.Zones],
			extra:   true, certificate: shared,
		})
	}
	if v.options.S3Interface {
		s3 := list[4]
		s3.private = v.inSubnets(104)[:2]
	}
	for _, e := range list {
		if len(e.private) > 0 && e.service != APIServer && e.service != wiki && !e.extra {
			e.private = v.options.placed(e.service, e.private[0].As4()[3])
		}
		e.hosts = append(e.hosts, v.options.names[e.service]...)
		e.now, e.fresh = v.now, v.options.ClockOffset != 0
		if e.authority == nil {
			e.authority = v.aws
		}
		if e.certificate == nil {
			e.certificate = new(certificate)
		}
	}
	return list
}

// apiHost is written in mixed case, as EKS writes it.
func (v *VPC) apiHost() string {
	return apiHostIn(v.options.Region, v.partition, v.options.IPv6 && !v.options.IPv4Cluster)
}

func apiHostIn(region string, p partition, ipv6 bool) string {
	const id = "8E2F4C91B7D3A65F0E1D2C3B4A596877.gr7."
	if ipv6 {
		return id + "eks-cluster." + region + "." + p.dualStack
	}
	return id + region + ".eks." + p.suffix
}

// inSubnets is the address with the given last byte in each subnet. With IPv6
// the IPv6 addresses follow the IPv4 ones.
func (v *VPC) inSubnets(last byte) []netip.Addr {
	out := []netip.Addr{v4(10, 20, 1, last), v4(10, 20, 2, last)}
	if v.options.IPv6 && !v.options.IPv4Cluster {
		for _, subnet := range []byte{1, 2} {
			a := netip.MustParsePrefix(vpcBlock6).Addr().As16()
			a[7], a[15] = subnet, last
			out = append(out, netip.AddrFrom16(a))
		}
	}
	return out
}

// public makes two addresses that public DNS has for a name.
func public(third byte) []netip.Addr {
	return []netip.Addr{v4(52, 94, third, 11), v4(52, 94, third, 12)}
}

func v4(a, b, c, d byte) netip.Addr { return netip.AddrFrom4([4]byte{a, b, c, d}) }

// endpoint returns the named service, or nil.
func (v *VPC) endpoint(service string) *endpoint {
	for _, e := range v.endpoints {
		if e.service == service {
			return e
		}
	}
	return nil
}
