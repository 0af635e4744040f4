package vpc

import (
	"encoding/base64"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/nodeprep/nodeprep/test/e2e/vpc/apiserver"
	"github.com/nodeprep/nodeprep/test/e2e/vpc/imds"
)

// Faults lists every fault.
func Faults() []Fault {
	var list []Fault
	for _, group := range [][]Fault{
		inputFaults(), metadataFaults(), dnsFaults(), networkFaults(), tlsFaults(), apiFaults(),
	} {
		list = append(list, group...)
	}
	return list
}

// Verdicts of the filter, in nft(8)'s words.
const (
	drop       = "drop"
	reset      = "reject with tcp reset"
	prohibited = "reject with icmpx type admin-prohibited"
	closedPort = "reject with icmpx type port-unreachable"
)

func networkFaults() []Fault {
	interfaces := []string{EC2, ECRAPI, ECRDKR}
	everything := append([]string{APIServer}, interfaces...)
	return []Fault{
		{Name: "no-default-route", Title: "the node has no default route", Code: "NP-LNK-104", apply: noDefaultRoute},
		{
			Name: "ecr-api-no-route", Title: "the node's route table leads nowhere for ecr.api", Code: "NP-NET-101", Service: ECRAPI,
			// A throw route ends the lookup with ENETUNREACH, as no route at all does.
			apply: nodeRoutes(unix.RTN_THROW, func(v *VPC) []netip.Addr { return v.Addresses(ECRAPI) }),
		},
		{Name: "ecr-api-icmp", Title: "a firewall on the path rejects ecr.api with ICMP", Code: "NP-NET-102", Service: ECRAPI, apply: service(prohibited, ECRAPI)},
		{Name: "ecr-api-rst", Title: "connections to ecr.api are refused", Code: "NP-NET-104", Service: ECRAPI, apply: service(reset, ECRAPI)},
		{Name: "ecr-api-drop", Title: "the security group of the ecr.api endpoint drops 443", Code: "NP-NET-105", Service: ECRAPI, apply: service(drop, ECRAPI)},
		{Name: "ecr-dkr-drop", Title: "the security group of the ecr.dkr endpoint drops 443", Code: "NP-NET-105", Service: ECRDKR, apply: service(drop, ECRDKR)},
		{Name: "ec2-drop", Title: "the security group of the ec2 endpoint drops 443", Code: "NP-NET-105", Service: EC2, apply: service(drop, EC2)},
		{
			Name: "ecr-api-one-az", Title: "one network interface of the ecr.api endpoint is dead", Code: "NP-NET-107",
			Service: ECRAPI, Warning: true, Later: true,
			apply: filter(func(v *VPC) []string { return to(v.Addresses(ECRAPI)[1:2], drop) }),
		},
		{
			Name: "node-egress-drop", Title: "the node's security group lets nothing out", Code: "NP-NET-108",
			// Security groups do not apply to the VPC's own resolver and to metadata.
			apply: filter(func(*VPC) []string {
				beyond := []string{
					`iifname "subnet-a" ip daddr != { 169.254.0.0/16, ` + AmazonDNSAddr().String() + " } ",
					`iifname "subnet-a" ip6 daddr != { fd00:ec2::/32, fe80::/10, ff00::/8 } `,
				}
				return []string{beyond[0] + syn + drop, beyond[0] + "meta l4proto udp drop", beyond[1] + syn + drop, beyond[1] + "meta l4proto udp drop"}
			}),
		},
		{Name: "all-public", Title: "every name resolves to public addresses and there is no way to them", Code: "NP-NET-109", apply: isPublic(everything...)},
		{Name: "no-endpoints", Title: "the VPC has no interface endpoints and no NAT", Code: "NP-NET-109", apply: isPublic(interfaces...)},
		{Name: "s3-route", Title: "the route table has no route to the S3 gateway endpoint", Code: "NP-NET-112", Service: S3, apply: routeS3},
		{Name: "apiserver-drop", Title: "the cluster's security group does not let the node in", Code: "NP-NET-114", Service: APIServer, apply: service(drop, APIServer)},
		{Name: "apiserver-refused", Title: "the API server's addresses refuse connections", Code: "NP-NET-104", Service: APIServer, apply: service(reset, APIServer)},
		{Name: "endpoints-drop", Title: "the security group that all interface endpoints share drops 443", Code: "NP-NET-120", apply: service(drop, interfaces...)},
	}
}

func dnsFaults() []Fault {
	// configured makes a rule for the servers in resolv.conf; AmazonProvidedDNS
	// still answers on its other address.
	configured := func(rule dnsRule) func(*VPC, string) (undo, error) {
		return resolve(func(v *VPC) dnsRule {
			rule.servers = v.options.DNSServers
			if rule.name == nil {
				rule.name = func(string) bool { return true }
			}
			return rule
		})
	}
	nxdomain := func(own bool, services ...string) func(*VPC, string) (undo, error) {
		return resolve(func(v *VPC) dnsRule {
			r := dnsRule{name: v.hostOf(services...), rcode: dns.RcodeNameError}
			if own {
				r.servers = []netip.Addr{CustomDNSAddr()}
			}
			return r
		})
	}
	return []Fault{
		{Name: "dns-silent", Title: "the DNS servers do not answer", Code: "NP-DNS-102", apply: servers(drop, drop)},
		{Name: "dns-port-closed", Title: "nothing listens on the DNS servers' port", Code: "NP-DNS-103", apply: servers(closedPort, reset)},
		{Name: "dns-refused", Title: "the DNS servers refuse the node", Code: "NP-DNS-105", apply: configured(dnsRule{rcode: dns.RcodeRefused})},
		{Name: "dns-servfail", Title: "the DNS servers cannot reach their forwarder", Code: "NP-DNS-106", apply: configured(dnsRule{rcode: dns.RcodeServerFailure})},
		{
			Name: "dns-nxdomain-all", Title: "the own DNS server knows no AWS names", Code: "NP-DNS-107", CustomDNS: true,
			apply: resolve(func(*VPC) dnsRule {
				return dnsRule{
					servers: []netip.Addr{CustomDNSAddr()}, rcode: dns.RcodeNameError,
					name: func(name string) bool {
						return strings.Contains(name, ".amazonaws.") || strings.Contains(name, ".api.")
					},
				}
			}),
		},
		{Name: "apiserver-nxdomain", Title: "the API server's name does not exist: the cluster was deleted", Code: "NP-DNS-108", Service: APIServer, apply: nxdomain(false, APIServer)},
		{
			Name: "apiserver-nxdomain-custom", Title: "the own DNS server does not forward the API server's zone", Code: "NP-DNS-109",
			Service: APIServer, CustomDNS: true, apply: nxdomain(true, APIServer),
		},
		{Name: "ecr-api-public", Title: "ecr.api has no endpoint in this VPC and resolves to public addresses", Code: "NP-DNS-111", Service: ECRAPI, apply: isPublic(ECRAPI)},
		{
			Name: "nodata", Title: "ecr.api has only IPv6 addresses and the node has IPv4", Code: "NP-DNS-119", Service: ECRAPI,
			apply: resolve(func(v *VPC) dnsRule {
				return dnsRule{name: v.hostOf(ECRAPI), record: &record{addresses: []netip.Addr{
					netip.MustParseAddr("2600:1f14:c0:de01::66"), netip.MustParseAddr("2600:1f14:c0:de02::66"),
				}}}
			}),
		},
	}
}

func tlsFaults() []Fault {
	serve := func(a func(*VPC) (*authority, error), edit func(*VPC, *leaf)) func(*VPC, *endpoint) (mode, error) {
		return func(v *VPC, e *endpoint) (mode, error) {
			ca, err := a(v)
			if err != nil {
				return mode{}, err
			}
			l := e.leaf()
			edit(v, &l)
			c, err := serverConfig(ca, l)
			return mode{config: c}, err
		}
	}
	cluster := func(v *VPC) (*authority, error) { return v.cluster, nil }
	another := func(*VPC) (*authority, error) { return newAuthority("kubernetes") }
	aws := func(v *VPC) (*authority, error) { return v.aws, nil }
	simply := func(m mode) func(*VPC, *endpoint) (mode, error) {
		return func(*VPC, *endpoint) (mode, error) { return m, nil }
	}
	return []Fault{
		{
			Name: "wrong-ca", Title: "the API server's certificate is from another cluster's CA", Code: "NP-TLS-101", Service: APIServer,
			apply: answers(APIServer, serve(another, func(*VPC, *leaf) {})),
		},
		{
			Name: "wrong-name", Title: "the name ec2 leads to a server for other names", Code: "NP-TLS-103", Service: EC2,
			apply: answers(EC2, serve(aws, func(_ *VPC, l *leaf) {
				l.name, l.hosts = "wiki.corp.example", []string{"wiki.corp.example", "www.corp.example"}
			})),
		},
		{
			Name: "expired", Title: "the API server's certificate expired yesterday", Code: "NP-TLS-104", Service: APIServer,
			apply: answers(APIServer, serve(cluster, func(_ *VPC, l *leaf) { l.expired = true })),
		},
		{Name: "plain-http", Title: "a web server without TLS answers for ecr.api", Code: "NP-TLS-107", Service: ECRAPI, apply: answers(ECRAPI, simply(mode{plain: true}))},
		{Name: "tls-stall", Title: "ecr.dkr accepts connections and says nothing", Code: "NP-TLS-109", Service: ECRDKR, apply: answers(ECRDKR, simply(mode{stall: true}))},
	}
}

func apiFaults() []Fault {
	silent := func(*VPC, *endpoint) (mode, error) { return mode{silent: true}, nil }
	var apis []func(*VPC, string) (undo, error)
	for _, s := range []string{EC2, ECRAPI, ECRDKR, S3, "sts", "eks"} {
		apis = append(apis, answers(s, silent))
	}
	return []Fault{
		{Name: "apiserver-html", Title: "a web server answers 404 for the API server", Code: "NP-API-101", Service: APIServer, apply: api(apiserver.Behaviour{HTML: http.StatusNotFound})},
		{
			Name: "apiserver-portal", Title: "a web page answers 200 to every path of the API server", Code: "NP-API-101",
			Service: APIServer, apply: api(apiserver.Behaviour{HTML: http.StatusOK}),
		},
		{
			Name: "apiserver-busy", Title: "the API server answers 429 to everything", Code: "NP-API-102",
			Service: APIServer, Warning: true, apply: api(apiserver.Behaviour{Busy: true}),
		},
		{
			Name: "apiserver-401", Title: "the node's role has no access entry in the cluster", Code: "NP-AUT-101",
			Service: APIServer, Later: true, apply: api(apiserver.Behaviour{Unmapped: true}),
		},
		{Name: "anonymous-401", Title: "the API server's health endpoints want authentication", Service: APIServer, apply: api(apiserver.Behaviour{Anonymous: http.StatusUnauthorized})},
		{Name: "anonymous-403", Title: "the API server forbids everything to anonymous", Service: APIServer, apply: api(apiserver.Behaviour{Anonymous: http.StatusForbidden})},
		{Name: "aws-apis-silent", Title: "no AWS API answers a request; connections and TLS work", apply: all(apis...)},
	}
}

func metadataFaults() []Fault {
	here := func(*VPC) []netip.Addr { return []netip.Addr{MetadataAddr()} }
	return []Fault{
		{Name: "imds-refused", Title: "connections to metadata are refused", Code: "NP-IMD-101", apply: imdsRule(reset)},
		{Name: "imds-unroutable", Title: "a route on the node prohibits metadata", Code: "NP-IMD-101", apply: nodeRoutes(unix.RTN_PROHIBIT, here)},
		{Name: "imds-drop", Title: "packets to metadata are dropped", Code: "NP-IMD-102", apply: imdsRule(drop)},
		{Name: "imds-off", Title: "the instance's metadata endpoint is disabled", Code: "NP-IMD-104", apply: metadata(imds.Behaviour{Off: true})},
		{Name: "imds-503", Title: "metadata answers 503", Code: "NP-IMD-107", Later: true, apply: metadata(imds.Behaviour{Status: http.StatusServiceUnavailable})},
		{Name: "imds-late", Title: "metadata appears three seconds late", apply: until(3*time.Second, imdsRule(drop))},
		{Name: "imds-slow", Title: "metadata takes half a second for each answer", apply: metadata(imds.Behaviour{Delay: 500 * time.Millisecond})},
		{Name: "imds-no-hostname", Title: "metadata has no local-hostname yet", Code: "NP-IMD-109", Later: true, apply: instance(func(_ *VPC, i *imds.Instance) { i.LocalHostname = "" })},
		{Name: "no-role", Title: "the instance has no instance profile", Code: "NP-CRD-101", apply: instance(func(_ *VPC, i *imds.Instance) { i.Role = "" })},
	}
}

func inputFaults() []Fault {
	const elsewhere = "lunar-base-1"
	ca := func(v *VPC) string { return base64.StdEncoding.EncodeToString(v.ClusterCA()) }
	config := func(make func(v *VPC, endpoint, ca, cidr string) []byte) func(*VPC, string) (undo, error) {
		return userData(func(v *VPC) []byte { return make(v, "https://"+v.apiHost(), ca(v), v.options.ServiceCIDR.String()) })
	}
	return []Fault{
		{Name: "no-userdata", Title: "the instance has no user data", Code: "NP-CFG-101", apply: userData(func(*VPC) []byte { return nil })},
		{Name: "bad-userdata", Title: "the user data is not valid YAML", Code: "NP-CFG-102", apply: userData(func(*VPC) []byte {
			return []byte("---\napiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  cluster: {name: lab\n")
		})},
		{Name: "missing-field", Title: "the user data has no API server endpoint", Code: "NP-CFG-103", apply: config(func(v *VPC, _, ca, cidr string) []byte {
			return v.nodeConfig("", ca, cidr, "")
		})},
		{Name: "bad-endpoint", Title: "the API server endpoint is not a URL", Code: "NP-CFG-104", apply: config(func(v *VPC, _, ca, cidr string) []byte {
			return v.nodeConfig("not a url at all", ca, cidr, "")
		})},
		{Name: "bad-ca", Title: "the certificate authority is not a certificate", Code: "NP-CFG-105", apply: config(func(v *VPC, endpoint, _, cidr string) []byte {
			return v.nodeConfig(endpoint, "Y2VydGlmaWNhdGVBdXRob3JpdHk=", cidr, "")
		})},
		{Name: "bad-cidr", Title: "the service CIDR is not a CIDR", Code: "NP-CFG-106", apply: config(func(v *VPC, endpoint, ca, _ string) []byte {
			return v.nodeConfig(endpoint, ca, "not-a-cidr", "")
		})},
		{Name: "other-region", Title: "the user data is for a cluster in another region", Code: "NP-CFG-107", apply: config(func(v *VPC, _, ca, cidr string) []byte {
			return v.nodeConfig("https://"+apiHostIn(otherRegion(v.options.Region), v.partition, v.options.IPv6), ca, cidr, "")
		})},
		{
			Name: "unknown-region", Title: "the instance is in a region of a partition nobody knows", Code: "NP-CFG-108",
			apply: instance(func(v *VPC, i *imds.Instance) {
				p := partition{id: "aws-lunar", suffix: "amazonaws.moon", dualStack: "api.aws.moon"}
				i.Region, i.Zone, i.ZoneID, i.Domain, i.Partition = elsewhere, elsewhere+"a", "lunb1-az1", p.suffix, p.id
				i.UserData = v.nodeConfig("https://"+apiHostIn(elsewhere, p, v.options.IPv6), ca(v), v.options.ServiceCIDR.String(), "")
			}),
		},
		{Name: "unknown-key", Title: "the user data has a field of a newer API", Code: "NP-CFG-109", Warning: true, apply: config(func(v *VPC, endpoint, ca, cidr string) []byte {
			return v.nodeConfig(endpoint, ca, cidr, "    quantumEntanglement: enabled\n")
		})},
	}
}

// otherRegion is another region of the same partition.
func otherRegion(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "cn-northwest-1"
	case strings.HasPrefix(region, "us-gov-"):
		return "us-gov-east-1"
	default:
		return "eu-central-1"
	}
}
