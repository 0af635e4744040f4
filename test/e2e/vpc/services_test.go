package vpc_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// Many VPCs do not see each other, although all have the same addresses.
func TestParallel(t *testing.T) {
	t.Parallel()
	for i := range 20 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			name := fmt.Sprintf("cluster-%d", i)
			v := newVPC(t, vpc.Options{ClusterName: name})
			view := look(t, v)
			if !strings.Contains(view["user-data"], "name: "+name+"\n") || view[vpc.APIServer] != "200 text/plain ok" || view[vpc.S3] != "ok" {
				t.Errorf("%v", view)
			}
		})
	}
}

func TestRegions(t *testing.T) {
	t.Parallel()
	for region, want := range map[string]struct{ registry, bucket, api, node, domain string }{
		"us-west-2": {
			"602401143452.dkr.ecr.us-west-2.amazonaws.com", "prod-us-west-2-starport-layer-bucket.s3.us-west-2.amazonaws.com",
			".us-west-2.eks.amazonaws.com", "ip-10-20-1-50.us-west-2.compute.internal", "amazonaws.com",
		},
		"us-east-1": {
			"602401143452.dkr.ecr.us-east-1.amazonaws.com", "prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com",
			".us-east-1.eks.amazonaws.com", "ip-10-20-1-50.ec2.internal", "amazonaws.com",
		},
		"cn-north-1": {
			"918309763551.dkr.ecr.cn-north-1.amazonaws.com.cn", "prod-cn-north-1-starport-layer-bucket.s3.cn-north-1.amazonaws.com.cn",
			".cn-north-1.eks.amazonaws.com.cn", "ip-10-20-1-50.cn-north-1.compute.internal", "amazonaws.com.cn",
		},
		"us-gov-west-1": {
			"013241004608.dkr.ecr.us-gov-west-1.amazonaws.com", "prod-us-gov-west-1-starport-layer-bucket.s3.us-gov-west-1.amazonaws.com",
			".us-gov-west-1.eks.amazonaws.com", "ip-10-20-1-50.us-gov-west-1.compute.internal", "amazonaws.com",
		},
	} {
		t.Run(region, func(t *testing.T) {
			t.Parallel()
			v := newVPC(t, vpc.Options{Region: region})
			if v.Host(vpc.ECRDKR) != want.registry || v.Host(vpc.S3) != want.bucket || !strings.HasSuffix(v.Host(vpc.APIServer), want.api) || v.NodeName() != want.node {
				t.Errorf("names: %s %s %s %s", v.Host(vpc.ECRDKR), v.Host(vpc.S3), v.Host(vpc.APIServer), v.NodeName())
			}
			for path, s := range map[string]string{
				"meta-data/services/domain": want.domain, "meta-data/placement/region": region, "meta-data/local-hostname": want.node,
			} {
				if got := metadata(t, v, path); got != s {
					t.Errorf("%s: %q, want %q", path, got, s)
				}
			}
			view := look(t, v)
			for _, s := range []string{vpc.EC2, vpc.ECRAPI, vpc.ECRDKR, vpc.S3} {
				if view[s] != "ok" {
					t.Errorf("%s: %s", s, view[s])
				}
			}
		})
	}
}

func TestDNS(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{CustomDNS: true, DNSServers: []netip.Addr{vpc.CustomDNSAddr(), vpc.AmazonDNSAddr()}})
	conf, err := os.ReadFile(v.ResolvConf())
	if err != nil || string(conf) != "nameserver 10.20.0.53\nnameserver 10.20.0.2\nsearch us-west-2.compute.internal\n" {
		t.Errorf("resolv.conf: %q, %v", conf, err)
	}
	api := v.Host(vpc.APIServer)
	for _, server := range []netip.Addr{vpc.CustomDNSAddr(), vpc.AmazonDNSAddr(), vpc.LinkLocalDNSAddr()} {
		for _, name := range []string{api, strings.ToLower(api), strings.ToUpper(api)} {
			if got, what := ask(v, "udp", server, name, dns.TypeA); !slices.Equal(got, v.Addresses(vpc.APIServer)) {
				t.Errorf("%s at %s: %v %s", name, server, got, what)
			}
		}
	}
	for _, row := range []struct {
		network, name string
		qtype         uint16
		want          string
	}{
		{"tcp", api, dns.TypeA, "private"},
		{"udp", "123456789012.dkr.ecr.us-west-2.amazonaws.com", dns.TypeA, "private"},
		{"udp", "sts.us-west-2.amazonaws.com", dns.TypeA, "public"},
		{"udp", v.NodeName(), dns.TypeA, "private"},
		{"udp", api, dns.TypeAAAA, "NODATA"},
		{"udp", v.Host(vpc.S3), dns.TypeAAAA, "NODATA"},
		{"udp", "api.ecr.us-west-1.amazonaws.com", dns.TypeA, "NXDOMAIN"},
		{"udp", "example.com", dns.TypeA, "NXDOMAIN"},
	} {
		if _, got := ask(v, row.network, vpc.AmazonDNSAddr(), row.name, row.qtype); got != row.want {
			t.Errorf("%s %s: %s, want %s", row.name, dns.TypeToString[row.qtype], got, row.want)
		}
	}
	if n := v.Counts().Questions; n != 17 || len(v.Questions()) != n {
		t.Errorf("%d questions, %d in the log, want 17", n, len(v.Questions()))
	}
}

func TestIPv6(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{IPv6: true})
	if h := v.Host(vpc.APIServer); !strings.HasSuffix(h, ".gr7.eks-cluster.us-west-2.api.aws") {
		t.Errorf("API server: %s", h)
	}
	got, what := ask(v, "udp", netip.MustParseAddr("fd00:ec2::253"), v.Host(vpc.APIServer), dns.TypeAAAA)
	if len(got) != 2 || !got[0].Is6() {
		t.Fatalf("AAAA: %v %s", got, what)
	}
	for _, a := range v.Addresses(vpc.APIServer) {
		if s := follow(t, v, vpc.APIServer, a, "/readyz"); s != "200 text/plain ok" {
			t.Errorf("%s: %s", a, s)
		}
	}
	c, err := dial(t.Context(), v, "[fd00:ec2::254]:80")
	if err != nil {
		t.Fatalf("metadata: %v", err)
	}
	_ = c.Close()
	mac := metadata(t, v, "meta-data/mac")
	if got := metadata(t, v, "meta-data/network/interfaces/macs/"+mac+"/ipv6s"); got != "2600:1f14:c0:de01::50" {
		t.Errorf("ipv6s: %s", got)
	}
	remove, err := v.Inject("apiserver-drop")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range v.Addresses(vpc.APIServer) {
		if s := follow(t, v, vpc.APIServer, a, ""); s != "silence" {
			t.Errorf("%s with apiserver-drop: %s", a, s)
		}
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
}

// With a NAT gateway a public answer is no fault.
func TestNAT(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{NAT: true})
	for _, f := range []string{"all-public", "s3-route"} {
		if _, err := v.Inject(f); err != nil {
			t.Fatal(err)
		}
	}
	view := look(t, v)
	for _, s := range []string{vpc.EC2, vpc.ECRAPI, vpc.ECRDKR, vpc.S3} {
		if view[s] != "ok" || view["dns "+s] != "public" {
			t.Errorf("%s: %s answer, %s", s, view["dns "+s], view[s])
		}
	}
	if s := follow(t, v, "sts", v.Addresses("sts")[0], ""); s != "ok" {
		t.Errorf("sts: %s", s)
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{})
	for _, a := range v.Addresses(vpc.EC2) {
		follow(t, v, vpc.EC2, a, "")
	}
	follow(t, v, vpc.APIServer, v.Addresses(vpc.APIServer)[0], "/readyz")
	ask(v, "udp", vpc.AmazonDNSAddr(), "x.example", dns.TypeA)
	metadata(t, v, "meta-data/mac")
	if _, err := v.Inject("plain-http"); err != nil {
		t.Fatal(err)
	}
	follow(t, v, vpc.ECRAPI, v.Addresses(vpc.ECRAPI)[0], "")
	want := vpc.Counts{
		Questions: 1, Connections: 4, Handshakes: 3, Requests: 1,
		MetadataRequests: 2, TokenRequests: 1, MetadataConnections: 2,
	}
	if diff := cmp.Diff(want, v.Counts()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(vpc.Counts{Connections: 2, Handshakes: 2}, v.ServiceCounts(vpc.EC2)); diff != "" {
		t.Errorf("ec2 (-want +got):\n%s", diff)
	}
	v.ResetCounts()
	if diff := cmp.Diff(vpc.Counts{}, v.Counts()); diff != "" {
		t.Errorf("after reset:\n%s", diff)
	}
}

// Requests to AWS are counted and with this fault never answered.
func TestAWSAPIsSilent(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{})
	if s := follow(t, v, vpc.EC2, v.Addresses(vpc.EC2)[0], "/"); s != "403 application/json" {
		t.Errorf("before: %s", s)
	}
	remove, err := v.Inject("aws-apis-silent")
	if err != nil {
		t.Fatal(err)
	}
	if s := follow(t, v, vpc.EC2, v.Addresses(vpc.EC2)[0], "/"); s != "HTTP silence" {
		t.Errorf("with the fault: %s", s)
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	if s := follow(t, v, vpc.EC2, v.Addresses(vpc.EC2)[0], "/"); s != "403 application/json" {
		t.Errorf("after: %s", s)
	}
	if c := v.Counts(); c.AWSRequests != 3 || c.Requests != 3 {
		t.Errorf("%+v", c)
	}
}

func TestDelays(t *testing.T) {
	t.Parallel()
	const delay = 300 * time.Millisecond
	v := newVPC(t, vpc.Options{IMDSDelay: delay, DNSDelay: delay, TLSDelay: delay})
	for name, do := range map[string]func() bool{
		"DNS": func() bool {
			_, s := ask(v, "udp", vpc.AmazonDNSAddr(), v.Host(vpc.EC2), dns.TypeA)
			return s == "private"
		},
		"TLS":  func() bool { return follow(t, v, vpc.EC2, v.Addresses(vpc.EC2)[0], "") == "ok" },
		"IMDS": func() bool { return metadata(t, v, "meta-data/placement/region") == "us-west-2" },
	} {
		start := time.Now()
		if ok := do(); !ok || time.Since(start) < delay {
			t.Errorf("%s: ok %v after %v", name, ok, time.Since(start))
		}
	}
}

// Metadata that is late comes by itself.
func TestLate(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{})
	remove, err := v.Inject("imds-late")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for metadata(t, v, "meta-data/placement/region") != "us-west-2" {
		if time.Since(start) > 20*time.Second {
			t.Fatal("metadata never came")
		}
	}
	if took := time.Since(start); took < 2*time.Second {
		t.Errorf("metadata came after %v", took)
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
}

// A thousand endpoints cost the VPC next to nothing.
func TestExtraEndpoints(t *testing.T) {
	t.Parallel()
	start := time.Now()
	v := newVPC(t, vpc.Options{ExtraEndpoints: 1000, Zones: 3})
	t.Logf("up in %v", time.Since(start).Round(time.Millisecond))
	hosts := v.ExtraHosts()
	if len(hosts) != 1000 || hosts[999] != "extra-1000.us-west-2.amazonaws.com" {
		t.Fatalf("%d hosts, the last %s", len(hosts), hosts[len(hosts)-1])
	}
	for _, service := range []string{"extra-0001", "extra-0257", "extra-1000"} {
		got, _ := ask(v, "udp", vpc.AmazonDNSAddr(), v.Host(service), dns.TypeA)
		if !slices.Equal(got, v.Addresses(service)) || len(got) != 3 {
			t.Errorf("%s: %v", service, got)
		}
		for _, a := range got {
			if s := follow(t, v, service, a, ""); s != "ok" {
				t.Errorf("%s %s: %s", service, a, s)
			}
		}
	}
}

func TestOptionsRefused(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]vpc.Options{
		"too many endpoints": {ExtraEndpoints: vpc.MaxExtraEndpoints + 1},
		"two user data":      {UserData: []byte("x"), NoUserData: true},
		"no custom server":   {DNSServers: []netip.Addr{vpc.CustomDNSAddr()}},
	} {
		if v, err := vpc.New(t.Context(), o); err == nil {
			t.Errorf("%s: accepted", name)
			_ = v.Close()
		}
	}
}

// Nothing is left of a closed VPC.
func TestClose(t *testing.T) {
	count := func() int {
		t.Helper()
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	once := func() {
		v, err := vpc.New(t.Context(), vpc.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Command(t.Context(), "true").Run(); err != nil {
			t.Error(err)
		}
		if _, err := v.Inject("tls-stall"); err != nil {
			t.Error(err)
		}
		// A connection that hangs in a stalled handshake does not hold it up.
		c, err := dial(t.Context(), v, netip.AddrPortFrom(v.Addresses(vpc.ECRDKR)[0], 443).String())
		if err != nil {
			t.Error(err)
		} else {
			defer func() { _ = c.Close() }()
		}
		if err := errors.Join(v.Close(), v.Close()); err != nil {
			t.Error(err)
		}
		if v.Command(t.Context(), "true").Run() == nil {
			t.Error("a command ran on a closed VPC")
		}
	}
	once() // what the first one makes for the whole process
	files, routines := count(), runtime.NumGoroutine()
	for range 5 {
		once()
	}
	deadline := time.Now().Add(10 * time.Second)
	for count() > files || runtime.NumGoroutine() > routines {
		if time.Now().After(deadline) {
			t.Fatalf("%d files, %d goroutines; before it was %d and %d", count(), runtime.NumGoroutine(), files, routines)
		}
		<-time.After(10 * time.Millisecond)
	}
}
