package probe_test

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

// counted counts the questions. One that is sent again, because the machine is busy, is
// the same.
func counted(answer probetest.DNSAnswer) (probetest.DNSAnswer, *atomic.Int32) {
	n := new(atomic.Int32)
	var seen sync.Map
	return func(query []byte, tcp bool) [][]byte {
		if _, again := seen.LoadOrStore(string(query), true); !again {
			n.Add(1)
		}
		return answer(query, tcp)
	}, n
}

// after answers later.
func after(wait time.Duration, answer probetest.DNSAnswer) probetest.DNSAnswer {
	return func(query []byte, tcp bool) [][]byte {
		<-time.After(wait)
		return answer(query, tcp)
	}
}

// addAddress gives lo an address.
func addAddress(t *testing.T, cidr string) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	addr, err := netlink.ParseAddr(cidr)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrReplace(lo, addr); err != nil {
		t.Fatal(err)
	}
}

// What the references are asked for, and what not.
func TestCompareTriggers(t *testing.T) {
	t.Parallel()
	f, err := kernelFaults()
	if err != nil {
		t.Fatal(err)
	}
	ca, other := probetest.NewCA(t, "test CA"), probetest.NewCA(t, "other CA")
	serve := func(cert tls.Certificate, handler http.Handler) uint16 {
		return probetest.ServeTLS(t, probetest.Listen(t, netip.MustParseAddrPort("0.0.0.0:0")),
			&tls.Config{Certificates: []tls.Certificate{cert}}, handler).Port()
	}
	good := serve(ca.Issue(t, probetest.Leaf{Names: []string{"a.test"}}), nil)
	old := probetest.Leaf{Names: []string{"a.test"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}
	stall := probetest.Serve(t, probetest.Listen(t, loopback), waitForEnd).Port()
	hasA := probetest.Zone{"a.test": {"A 127.0.0.1"}}.Answer
	fails := func(code string) []probetest.DNSAnswer {
		return []probetest.DNSAnswer{probetest.Zone{"a.test": {code}}.Answer}
	}
	silent := fails("silent")[0]
	get := []probe.Request{{Method: "GET", Path: "/"}}
	tests := []struct {
		name    string
		servers []probetest.DNSAnswer
		port    uint16
		ipv6    bool
		plain   bool
		private bool // not for the references
		request []probe.Request
		hosts   []netip.Addr
		want    bool
		from    time.Duration // when the reference is asked
	}{
		{name: "all is well", servers: []probetest.DNSAnswer{hasA}},
		{name: "no AAAA", servers: []probetest.DNSAnswer{hasA}, ipv6: true},
		{name: "neither A nor AAAA", servers: []probetest.DNSAnswer{probetest.Zone{"a.test": {"TXT x"}}.Answer}, ipv6: true, want: true},
		{name: "no A, none other asked for", servers: []probetest.DNSAnswer{probetest.Zone{"a.test": {"TXT x"}}.Answer}, want: true},
		{name: "NXDOMAIN", servers: []probetest.DNSAnswer{probetest.Zone{}.Answer}, want: true},
		{name: "NXDOMAIN, and in the hosts file", servers: []probetest.DNSAnswer{probetest.Zone{}.Answer}, hosts: loopbackHosts},
		{name: "silent, and in the hosts file", servers: []probetest.DNSAnswer{silent}, hosts: loopbackHosts},
		{name: "NXDOMAIN, and refused at the address of the hosts file", servers: []probetest.DNSAnswer{probetest.Zone{}.Answer}, hosts: loopbackHosts, port: closedPort, want: true},
		{name: "SERVFAIL", servers: fails("SERVFAIL"), want: true},
		{name: "REFUSED", servers: fails("REFUSED"), want: true},
		{name: "one of two refuses", servers: []probetest.DNSAnswer{hasA, fails("REFUSED")[0]}, want: true},
		{name: "silent", servers: []probetest.DNSAnswer{silent}, want: true, from: 240 * time.Millisecond},
		{name: "late", servers: []probetest.DNSAnswer{after(600*time.Millisecond, hasA)}, want: true, from: 240 * time.Millisecond},
		{name: "one of two is silent", servers: []probetest.DNSAnswer{silent, hasA}, want: true, from: 240 * time.Millisecond},
		{name: "refused", servers: []probetest.DNSAnswer{hasA}, port: closedPort, want: true},
		{
			name: "dropped", port: good, want: true, from: 990 * time.Millisecond,
			servers: []probetest.DNSAnswer{probetest.Zone{"a.test": {"A " + f.dropped}}.Answer},
		},
		{
			name: "one of two addresses dropped", port: good, want: true, from: 990 * time.Millisecond,
			servers: []probetest.DNSAnswer{probetest.Zone{"a.test": {"A 127.0.0.1", "A " + f.dropped}}.Answer},
		},
		{
			name: "wrong name", servers: []probetest.DNSAnswer{hasA}, want: true,
			port: serve(ca.Issue(t, probetest.Leaf{Names: []string{"b.test"}}), nil),
		},
		{
			name: "wrong CA", servers: []probetest.DNSAnswer{hasA}, want: true,
			port: serve(other.Issue(t, probetest.Leaf{Names: []string{"a.test"}}), nil),
		},
		{
			name: "not TLS", servers: []probetest.DNSAnswer{hasA}, want: true,
			port: probetest.Serve(t, probetest.Listen(t, loopback), func(c net.Conn) {
				readSome(c)
				_, _ = c.Write([]byte("HTTP/1.1 400 No\r\n\r\n"))
			}).Port(),
		},
		{name: "expired", servers: []probetest.DNSAnswer{hasA}, port: serve(ca.Issue(t, old), nil)},
		{name: "late, and not to be compared", servers: []probetest.DNSAnswer{after(600*time.Millisecond, hasA)}, private: true},
		{name: "refused, and not to be compared", servers: []probetest.DNSAnswer{hasA}, port: closedPort, private: true},
		{name: "TLS stalls", servers: []probetest.DNSAnswer{hasA}, port: stall},
		{name: "HTTP stalls", servers: []probetest.DNSAnswer{hasA}, port: stall, plain: true, request: get},
		{
			name: "HTTP 500", servers: []probetest.DNSAnswer{hasA}, request: get,
			port: serve(ca.Issue(t, probetest.Leaf{Names: []string{"a.test"}}), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusInternalServerError)
			})),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &probe.Prober{IPv6: tt.ipv6}
			for _, s := range tt.servers {
				p.Servers = append(p.Servers, probetest.ServeDNS(t, loopback, s))
			}
			answer, asked := counted(probetest.Zone{"a.test": {"A 192.0.2.7"}}.Answer)
			p.Experiments.References = []netip.AddrPort{probetest.ServeDNS(t, loopback, answer)}
			port := tt.port
			if port == 0 {
				port = good
			}
			target := probe.Target{Host: "a.test", Port: port, TLS: !tt.plain, Roots: ca.PEM, Requests: tt.request, Compare: !tt.private, Hosts: tt.hosts}
			res := p.Run(t.Context(), []probe.Target{target}, nil).Results[0]
			questions := 0
			if tt.want {
				questions = 1
				if tt.ipv6 {
					questions = 2
				}
			}
			if len(res.Compared) != questions || int(asked.Load()) != questions || res.Pending {
				t.Fatalf("asked %d times, compared: %+v, pending %v", asked.Load(), res.Compared, res.Pending)
			}
			if tt.want {
				l := res.Compared[0]
				if l.Server != p.Experiments.References[0] || l.Type != "A" || l.Cause != "" || l.Sent != 1 ||
					!slices.Equal(l.Addresses, []netip.Addr{netip.MustParseAddr("192.0.2.7")}) {
					t.Errorf("compared: %+v", l)
				}
				if at := time.Duration(l.At); at < tt.from || at > tt.from+time.Second {
					t.Errorf("asked at %v, want %v", at, tt.from)
				}
			}
			for _, path := range res.Paths {
				if path.Reference || path.Address.Addr() == netip.MustParseAddr("192.0.2.7") {
					t.Errorf("path to what only the reference knows: %+v", path)
				}
			}
		})
	}
}

// Who is asked, and who gets the answer.
func TestCompareReferences(t *testing.T) {
	t.Parallel()
	nothing, asked := counted(probetest.Zone{}.Answer)
	server := probetest.ServeDNS(t, loopback, nothing)
	known, askedKnown := counted(probetest.Zone{"a.test": {"A 192.0.2.7"}}.Answer)
	reference := probetest.ServeDNS(t, loopback, known)
	dead := probetest.ServeDNS(t, loopback, func([]byte, bool) [][]byte { return nil })
	p := &probe.Prober{
		Servers:     []netip.AddrPort{server},
		Timing:      probe.Timing{DNS: time.Second},
		Experiments: probe.Experiments{References: []netip.AddrPort{server, dead, reference, reference}},
	}
	report := p.Run(t.Context(), []probe.Target{
		{Name: "no", Host: "b.test", Port: 1},
		{Name: "also", Host: "A.test", Port: 1},
		{Name: "yes", Host: "a.test", Port: 2, Compare: true},
	}, nil)
	wantEqual(t, "questions to the server", asked.Load(), 2)
	wantEqual(t, "questions to the reference", askedKnown.Load(), 1)
	wantEqual(t, "compared of b.test", len(report.Results[0].Compared), 0)
	for _, res := range report.Results[1:] {
		var who []netip.AddrPort
		var causes []probe.Cause
		for _, l := range res.Compared {
			who, causes = append(who, l.Server), append(causes, l.Cause)
		}
		wantEqual(t, "references of "+res.Target, who, []netip.AddrPort{dead, reference})
		wantEqual(t, "causes of "+res.Target, causes, []probe.Cause{probe.DNSTimeout, ""})
	}
	// Asked at the same time, by the schedule of every question.
	l := report.Results[2].Compared
	if l[0].Sent != 3 || l[1].At-l[0].At > probe.Duration(200*time.Millisecond) {
		t.Errorf("compared: %+v", l)
	}
}

// Addresses that only a reference gave are connected to when they are private, and three at most.
func TestCompareConnects(t *testing.T) {
	t.Parallel()
	ca := probetest.NewCA(t, "test CA")
	cert := ca.Issue(t, probetest.Leaf{Names: []string{"a.test"}})
	var accepted atomic.Int32
	server := probetest.Serve(t, probetest.Listen(t, netip.MustParseAddrPort("0.0.0.0:0")), func(c net.Conn) {
		accepted.Add(1)
		conn := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
		if conn.Handshake() == nil {
			waitForEnd(conn)
		}
	})
	for _, cidr := range []string{"10.77.0.1/32", "10.77.0.2/32", "10.77.0.3/32", "100.64.7.1/32", "10.77.0.9/32"} {
		addAddress(t, cidr)
	}
	configured := probetest.ServeDNS(t, loopback, probetest.Zone{"a.test": {"A 127.0.0.1"}, "b.test": {"A 127.0.0.1"}}.Answer)
	reference := probetest.ServeDNS(t, loopback, probetest.Zone{
		"a.test": {"A 127.0.0.1", "A 192.0.2.7", "A 169.254.77.1", "A 10.77.0.1", "A 10.77.0.2", "A 10.77.0.3", "A 100.64.7.1"},
		"b.test": {"A 100.64.7.1"},
		"c.test": {"A 10.77.0.9"},
		"d.test": {"A 10.77.0.1", "AAAA fd00:ec2::99", "AAAA fd77::99"},
	}.Answer)
	// It answers c.test, with what the reference knew before.
	slow := probetest.ServeDNS(t, loopback, after(700*time.Millisecond, probetest.Zone{"c.test": {"A 10.77.0.9"}}.Answer))
	run := func(dns netip.AddrPort, target probe.Target) probe.Result {
		p := &probe.Prober{Servers: []netip.AddrPort{dns}, Experiments: probe.Experiments{References: []netip.AddrPort{reference}}}
		target.Compare, target.TLS, target.Roots = true, true, ca.PEM
		return p.Run(t.Context(), []probe.Target{target}, nil).Results[0]
	}
	res := run(configured, probe.Target{Host: "a.test", Port: closedPort})
	var got []string
	for _, path := range res.Paths {
		if path.Reference {
			got = append(got, path.Address.Addr().String())
			wantEqual(t, "servers", path.Servers, []netip.AddrPort{reference})
			wantEqual(t, "cause", path.Cause(), probe.TCPRefused)
		}
	}
	wantEqual(t, "connected", got, []string{"10.77.0.1", "10.77.0.2", "10.77.0.3"})
	wantEqual(t, "paths", len(res.Paths), 4)

	// One that would work: connected, no more, and not OK, since nobody would use it.
	before := accepted.Load()
	res = run(configured, probe.Target{Host: "b.test", Port: server.Port()})
	path := res.Paths[0]
	if len(res.Paths) != 2 || !path.Reference || len(path.Steps) != 1 || path.Cause() != "" || path.OK() || path.Pending {
		t.Errorf("paths: %+v", res.Paths)
	}
	for range 100 {
		if accepted.Load()-before == 2 {
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	wantEqual(t, "connections", accepted.Load()-before, 2) // the configured address has the wrong certificate

	// Services of EC2 itself are no endpoints, and a proxy's other addresses nobody's business.
	p := &probe.Prober{
		Servers: []netip.AddrPort{configured}, IPv6: true, Experiments: probe.Experiments{References: []netip.AddrPort{reference}},
	}
	both := p.Run(t.Context(), []probe.Target{
		{Host: "d.test", Port: closedPort, Compare: true},
		{Host: "e.test", Port: 443, Proxy: "http://d.test:1"},
	}, nil).Results
	got = nil
	for _, path := range both[0].Paths {
		got = append(got, path.Address.Addr().String())
	}
	wantEqual(t, "connected", got, []string{"10.77.0.1", "fd77::99"})
	wantEqual(t, "connected for the proxy", len(both[1].Paths), 0)

	// What a server says later is followed to its end.
	res = run(slow, probe.Target{Host: "c.test", Port: server.Port()})
	if len(res.Paths) != 1 || res.Paths[0].Reference || len(res.Paths[0].Steps) != 2 || len(res.Compared) != 1 ||
		!slices.Equal(res.Paths[0].Servers, []netip.AddrPort{slow}) {
		t.Errorf("result: %+v", res)
	}
}

// The references' packets come out of the budget for link-local ones.
func TestCompareLinkLocalBudget(t *testing.T) {
	t.Parallel()
	addAddress(t, "169.254.169.250/32")
	var mu sync.Mutex
	var arrived []time.Time
	reference := probetest.ServeDNS(t, netip.MustParseAddrPort("169.254.169.250:0"), func(query []byte, _ bool) [][]byte {
		mu.Lock()
		arrived = append(arrived, time.Now())
		mu.Unlock()
		return probetest.Zone{}.Answer(query, false)
	})
	p := &probe.Prober{
		Servers:     []netip.AddrPort{probetest.ServeDNS(t, loopback, probetest.Zone{}.Answer)},
		Timing:      probe.Timing{DNS: 20 * time.Second, DNSSends: []time.Duration{0}},
		Experiments: probe.Experiments{References: []netip.AddrPort{reference}},
	}
	var targets []probe.Target
	for i := range 400 {
		targets = append(targets, probe.Target{Host: "n" + strconv.Itoa(i) + ".test", Port: 443, Compare: true})
	}
	report := p.Run(t.Context(), targets, nil)
	for _, res := range report.Results {
		if len(res.Compared) != 1 || res.Compared[0].Cause != probe.DNSNXDomain {
			t.Fatalf("%s: %+v", res.Host, res.Compared)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	wantEqual(t, "packets", len(arrived), 400)
	for i := range arrived[256:] {
		// They may have been held up under way, by a busy machine; not by much.
		if gap := arrived[256+i].Sub(arrived[i]); gap < 900*time.Millisecond {
			t.Fatalf("257 packets within %v", gap)
		}
	}
}
