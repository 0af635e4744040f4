package vpc

import (
	"context"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netns"

	"github.com/nodeprep/nodeprep/test/e2e/vpc/apiserver"
	"github.com/nodeprep/nodeprep/test/e2e/vpc/imds"
	"github.com/nodeprep/nodeprep/test/e2e/vpc/internal/layer"
)

// A VPC is a network with its services, and a node that is attached to it. Its
// methods may be called from any goroutine.
type VPC struct {
	options   Options
	partition partition
	dir       string // resolv.conf, roots and the like
	router    netns.NsHandle
	node      netns.NsHandle
	// routerAddresses are those of the router's interface in the node's subnet.
	routerAddresses []string

	aws, cluster *authority
	endpoints    []*endpoint
	resolver     *resolver
	metadata     *imds.Service
	api          *apiserver.Server
	edge         *edge
	proxy        *proxy
	clock        *timeServer
	slow         *slowLink // nil for a veth pair
	servers      []*http.Server
	// ahead is how far the world is ahead of the node's clock.
	ahead atomic.Int64
	// environment and files are added to those of programs on the node, the
	// files by Prepare.
	environment, files layer.Stack[map[string]string]

	place placeOnce

	mu       sync.Mutex
	closed   bool
	injected map[string]bool
	close    func() error
}

// New builds a VPC. ctx bounds the building only; what was built stays until Close.
func New(ctx context.Context, o Options) (*VPC, error) {
	o, err := o.complete()
	if err != nil {
		return nil, fmt.Errorf("vpc options: %w", err)
	}
	v := &VPC{
		options: o, partition: partitionOf(o.Region), injected: map[string]bool{},
		router: netns.None(), node: netns.None(),
	}
	v.close = sync.OnceValue(v.tearDown)
	v.ahead.Store(int64(o.ClockOffset))
	if err := v.build(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("build vpc: %w", err), v.Close())
	}
	return v, nil
}

// Close ends the VPC's services and frees its namespaces, which last while a
// process is in them. Calling it twice is harmless.
func (v *VPC) Close() error { return v.close() }

func (v *VPC) tearDown() error {
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	var errs []error
	for _, s := range v.servers {
		errs = append(errs, s.Close())
	}
	if v.edge != nil {
		errs = append(errs, v.edge.Close())
	}
	if v.proxy != nil {
		errs = append(errs, v.proxy.Close())
	}
	if v.clock != nil {
		v.clock.close()
	}
	if v.resolver != nil {
		v.resolver.close()
	}
	v.place.close()
	if v.slow != nil {
		errs = append(errs, v.slow.close())
	}
	for _, ns := range []*netns.NsHandle{&v.router, &v.node} {
		if ns.IsOpen() {
			errs = append(errs, ns.Close())
		}
	}
	if v.dir != "" {
		errs = append(errs, os.RemoveAll(v.dir))
	}
	return errors.Join(errs...)
}

func (v *VPC) build(ctx context.Context) error {
	var err error
	if v.aws, err = newAuthority(amazonRoot()); err != nil {
		return err
	}
	// The CA of a cluster is called kubernetes on EKS.
	if v.cluster, err = newAuthority(pkix.Name{CommonName: "kubernetes"}); err != nil {
		return err
	}
	v.endpoints = v.planEndpoints()
	v.resolver = newResolver(v.endpoints, v.NodeName(), v.options)
	v.metadata = imds.New(v.instance(), v.now)
	if d := v.options.IMDSDelay; d > 0 {
		v.metadata.Behave(imds.Behaviour{Delay: d})
	}
	v.api = apiserver.New(apiserver.Config{
		Verifier:  v.Verifier(),
		NodeName:  v.NodeName(),
		ServiceIP: v.options.ServiceCIDR.Masked().Addr().Next(),
		Now:       v.now,
	})
	if err := v.writeFiles(); err != nil {
		return err
	}
	if v.router, err = newNamespace(); err != nil {
		return err
	}
	if v.node, err = newNamespace(); err != nil {
		return err
	}
	if err := in(v.router, func() error { return errors.Join(v.wire(), v.listen(ctx)) }); err != nil {
		return fmt.Errorf("router: %w", err)
	}
	if err := in(v.node, func() error { return v.wireNode(ctx) }); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	if err := in(v.router, func() error { return running(ctx, "subnet-a", v.routerAddresses...) }); err != nil {
		return fmt.Errorf("router: %w", err)
	}
	return nil
}

// listen starts every service. It is called in the router's namespace.
func (v *VPC) listen(ctx context.Context) error {
	servers := []netip.Addr{AmazonDNSAddr(), LinkLocalDNSAddr()}
	metadata := []string{netip.AddrPortFrom(MetadataAddr(), 80).String()}
	clocks := []netip.Addr{TimeAddr()}
	if v.options.CustomDNS {
		servers = append(servers, CustomDNSAddr())
	}
	if v.options.IPv6 {
		servers = append(servers, netip.MustParseAddr(linkLocalDNS6))
		metadata = append(metadata, "["+metadata6+"]:80")
		clocks = append(clocks, netip.MustParseAddr(time6))
	}
	for _, s := range servers {
		if err := v.resolver.listen(ctx, s); err != nil {
			return err
		}
	}
	for _, at := range metadata {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", at)
		if err != nil {
			return err
		}
		v.serve(v.metadata.HTTPServer(), l)
	}
	v.clock = &timeServer{now: v.now}
	for _, a := range clocks {
		if err := v.clock.listen(ctx, a); err != nil {
			return err
		}
	}
	e, err := newEdge(ctx, v.endpoints, v.options.TLSDelay)
	if err != nil {
		return err
	}
	v.edge = e
	p, err := newProxy(ctx, v)
	if err != nil {
		return err
	}
	v.proxy = p
	// ctx bounds the building, not the services.
	go e.run(context.WithoutCancel(ctx))
	go p.run(context.WithoutCancel(ctx))
	v.serve(e.server(v.handle), e)
	return nil
}

func (v *VPC) serve(s *http.Server, l net.Listener) {
	v.servers = append(v.servers, s)
	// Returns when the server is closed.
	go func() { _ = s.Serve(l) }()
}

// now is the world's time.
func (v *VPC) now() time.Time { return time.Now().Add(time.Duration(v.ahead.Load())) }

// amazonRoot is who signs the certificates of AWS endpoints.
func amazonRoot() pkix.Name {
	return pkix.Name{CommonName: "Amazon Root CA 1 (lab)", Organization: []string{"Amazon"}, Country: []string{"US"}}
}

func (v *VPC) handle(e *endpoint, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", v.now().UTC().Format(http.TimeFormat))
	if e.service == APIServer {
		v.api.ServeHTTP(w, r)
		return
	}
	answerAWS(e, w, r)
}

// instance is what metadata knows of the node.
func (v *VPC) instance() imds.Instance {
	o := v.options
	i := imds.Instance{
		ID:             "i-0123456789abcdef0",
		Type:           o.InstanceType,
		AMI:            "ami-0abcdef1234567890",
		Architecture:   "x86_64",
		AccountID:      "111122223333",
		Region:         o.Region,
		Zone:           o.Region + "a",
		ZoneID:         strings.ReplaceAll(o.Region, "-", "") + "-az1",
		Domain:         v.partition.suffix,
		Partition:      v.partition.id,
		LifeCycle:      "on-demand",
		LocalHostname:  v.NodeName(),
		MAC:            nodeMAC,
		LocalIPv4:      o.node(),
		VPC:            o.blocks(),
		Subnet:         []netip.Prefix{o.subnet()},
		InterfaceID:    "eni-0f95d3625f5c521cc",
		SubnetID:       "subnet-0ac62554d1f0a9b38",
		VPCID:          "vpc-0d295a6a7b4c8e1f2",
		SecurityGroups: map[string]string{"sg-0b07f8f6cb485d4df": "node"},
		Role:           "lab-node",
		Credentials:    credentials(),
		HopLimit:       o.HopLimit,
	}
	if o.IPv6 {
		i.IPv6 = []netip.Addr{netip.MustParseAddr(node6)}
		i.VPC = append(i.VPC, netip.MustParsePrefix(vpcBlock6))
		i.Subnet = append(i.Subnet, netip.MustParsePrefix(subnetA6))
	}
	switch {
	case o.UserData != nil:
		i.UserData = o.UserData
	case !o.NoUserData:
		i.UserData = v.NodeConfig()
	}
	return i
}

// credentials are those of the node's role. They open nothing but this lab.
func credentials() imds.Credentials {
	return imds.Credentials{
		AccessKeyID:     "ASIALABLABLABLABLAB0",
		SecretAccessKey: "lab/secret+key/lab/secret+key/lab/secret",
		SessionToken:    "lab//session+token==" + strings.Repeat("0123456789abcdef", 40),
	}
}

// Options returns the options with all defaults filled in.
func (v *VPC) Options() Options { return v.options }

// Region returns the region's id.
func (v *VPC) Region() string { return v.options.Region }

// DNSSuffix returns the partition's DNS suffix: amazonaws.com.
func (v *VPC) DNSSuffix() string { return v.partition.suffix }

// NodeName returns the node's private DNS name.
func (v *VPC) NodeName() string {
	return "ip-" + strings.ReplaceAll(v.options.node().String(), ".", "-") + "." + privateDomain(v.options.Region)
}

// Host returns the name a node dials for a service (APIServer, EC2, ECRAPI,
// ECRDKR, S3, sts, …), empty for an unknown one.
func (v *VPC) Host(service string) string {
	if e := v.endpoint(service); e != nil {
		return e.hosts[0]
	}
	return ""
}

// Addresses returns what a service's name resolves to in a healthy VPC.
func (v *VPC) Addresses(service string) []netip.Addr {
	if e := v.endpoint(service); e != nil {
		return slices.Clone(e.addresses())
	}
	return nil
}

// ExtraHosts returns the names of the extra endpoints.
func (v *VPC) ExtraHosts() []string {
	var hosts []string
	for _, e := range v.endpoints {
		if e.extra {
			hosts = append(hosts, e.hosts[0])
		}
	}
	return hosts
}

// RootsPEM returns the root that signed the certificate of everything but the API server.
func (v *VPC) RootsPEM() []byte { return v.aws.pem() }

// RootsFile returns the path of a file with RootsPEM.
func (v *VPC) RootsFile() string { return filepath.Join(v.dir, "roots.pem") }

// ClusterCA returns the cluster's CA in PEM form.
func (v *VPC) ClusterCA() []byte { return v.cluster.pem() }

// ResolvConf returns the path of the node's resolv.conf.
func (v *VPC) ResolvConf() string { return filepath.Join(v.dir, "resolv.conf") }

// IMDS returns the metadata service.
func (v *VPC) IMDS() *imds.Service { return v.metadata }

// API returns the API server.
func (v *VPC) API() *apiserver.Server { return v.api }

// Nodes returns the Node objects registered with the API server.
func (v *VPC) Nodes() []apiserver.Node { return v.api.Nodes() }

// Verifier returns what checks a token of the node's role for this cluster.
func (v *VPC) Verifier() apiserver.Verifier {
	c := credentials()
	r, p := v.options.Region, v.partition
	return apiserver.Verifier{
		ClusterName:     v.options.ClusterName,
		Hosts:           []string{"sts." + r + "." + p.suffix, "sts-fips." + r + "." + p.suffix, "sts." + r + "." + p.dualStack},
		AccessKeyID:     c.AccessKeyID,
		SecretAccessKey: c.SecretAccessKey,
		SessionToken:    c.SessionToken,
	}
}

// NodeConfig returns user data that is right for this cluster.
func (v *VPC) NodeConfig() []byte {
	return v.nodeConfig("https://"+v.apiHost(), base64.StdEncoding.EncodeToString(v.ClusterCA()), v.options.ServiceCIDR.String(), "")
}

// nodeConfig writes a NodeConfig; more are further lines of spec.cluster.
func (v *VPC) nodeConfig(endpoint, ca, cidr, more string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "---\napiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  cluster:\n    name: %s\n", v.options.ClusterName)
	for _, line := range [][2]string{{"apiServerEndpoint", endpoint}, {"certificateAuthority", ca}, {"cidr", cidr}} {
		if line[1] != "" {
			fmt.Fprintf(&b, "    %s: %s\n", line[0], line[1])
		}
	}
	b.WriteString(more)
	return []byte(b.String())
}
