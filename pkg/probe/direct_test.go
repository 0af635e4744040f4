package probe_test

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

// A target that fails through its proxy is tried without, where that is allowed.
func TestDirect(t *testing.T) {
	t.Parallel()
	ca := probetest.NewCA(t, "test CA")
	cert := ca.Issue(t, probetest.Leaf{Names: []string{"a.test", "127.0.0.1"}})
	var direct atomic.Int32
	server := probetest.ServeTLS(t, probetest.Listen(t, netip.MustParseAddrPort("0.0.0.0:0")),
		&tls.Config{Certificates: []tls.Certificate{cert}}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { direct.Add(1) }))
	proxy := func(serve func(net.Conn)) probe.Proxy {
		return probe.Proxy("http://" + probetest.Serve(t, probetest.Listen(t, loopback), serve).String())
	}
	good := proxy((&tunnels{to: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), server.Port())}).serve)
	denies := proxy((&tunnels{answer: "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"}).serve)
	stalls := proxy(waitForEnd)
	zone := probetest.Zone{"a.test": {"A 127.0.0.1", "A 127.0.0.2", "A 192.0.2.1", "A 127.0.0.3", "A 127.0.0.4"}}
	dns, asked := counted(zone.Answer)
	reference := probetest.ServeDNS(t, loopback, zone.Answer)
	p := &probe.Prober{
		Servers: []netip.AddrPort{probetest.ServeDNS(t, loopback, dns)},
		Experiments: probe.Experiments{
			Direct:     func(a netip.Addr) bool { return a.IsLoopback() },
			References: []netip.AddrPort{reference},
		},
	}
	target := func(host string, proxy probe.Proxy) probe.Target {
		return probe.Target{
			Name: host, Host: host, Port: server.Port(), TLS: true, Roots: ca.PEM, Proxy: proxy, Compare: true,
			Requests: []probe.Request{{Method: "GET", Path: "/"}},
		}
	}
	run := func(targets ...probe.Target) []probe.Result { return p.Run(t.Context(), targets, nil).Results }

	res := run(target("a.test", good))[0]
	if res.Direct != nil || !res.Paths[0].OK() || asked.Load() != 0 {
		t.Errorf("a proxy that works: %+v", res)
	}

	direct.Store(0)
	res = run(target("a.test", denies))[0]
	d := res.Direct
	if d == nil || d.Target != "a.test" || len(d.Lookups) != 1 || len(d.Paths) != 3 || len(d.Compared) != 0 || d.Direct != nil || res.Pending {
		t.Fatalf("a proxy that denies: %+v", res)
	}
	for _, path := range d.Paths {
		if !path.OK() || len(path.Steps) != 3 || !path.Address.Addr().IsLoopback() {
			t.Errorf("direct path: %+v", path)
		}
	}
	wantEqual(t, "direct requests", direct.Load(), 3)
	wantEqual(t, "lookups of the proxy's address", len(res.Lookups), 0)

	// The lookups of another target with that host are shared.
	asked.Store(0)
	plain := target("a.test", "")
	plain.Name = "plain"
	both := run(plain, target("a.test", denies))
	wantEqual(t, "questions", asked.Load(), 1)
	if both[1].Direct == nil || len(both[1].Direct.Paths) != 3 || len(both[0].Paths) != 5 {
		t.Errorf("results: %+v", both)
	}

	// A proxy that says nothing is late after a second, not when it is given up.
	begin := time.Now()
	var seen time.Duration
	results := p.Run(t.Context(), []probe.Target{target("127.0.0.1", stalls)}, func(r probe.Report) {
		if seen == 0 && r.Results[0].Direct != nil {
			seen = time.Since(begin)
		}
	}).Results
	if d := results[0].Direct; d == nil || len(d.Paths) != 1 || !d.Paths[0].OK() || seen < 900*time.Millisecond || seen > 1900*time.Millisecond {
		t.Errorf("seen after %v: %+v", seen, results[0])
	}

	// A proxy whose name nobody knows; the hosts file has an address for the host.
	lost := target("b.test", "http://proxy.test:3128")
	lost.Hosts = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	res = run(lost)[0]
	if res.Direct == nil || len(res.Paths) != 0 || len(res.Direct.Paths) != 1 || res.Direct.Paths[0].Cause() != probe.TLSWrongHost ||
		len(res.Direct.Compared) != 1 || len(res.Compared) != 0 || res.Lookups[0].Cause != probe.DNSNXDomain {
		t.Errorf("an unknown proxy: %+v", res)
	}

	// An address that is silent: the UDP test is the proxy's alone, when that is late.
	f, err := kernelFaults()
	if err != nil {
		t.Fatal(err)
	}
	lost.Hosts = []netip.Addr{netip.MustParseAddr(f.dropped)}
	p.Timing.Connect = 1500 * time.Millisecond
	p.Experiments.Direct, p.Experiments.UDPTest = func(netip.Addr) bool { return true }, true
	res = run(lost)[0]
	if d := res.Direct; d == nil || len(d.Paths) != 1 || d.Paths[0].Cause() != probe.TCPTimeout || len(d.Paths[0].Experiments) != 0 {
		t.Errorf("a silent address: %+v", res)
	}

	// Not allowed at all.
	p.Experiments.Direct = nil
	if res := run(target("a.test", denies))[0]; res.Direct != nil {
		t.Errorf("direct: %+v", res.Direct)
	}
}

// With two addresses of a proxy, one that works is enough.
func TestDirectWaitsForEveryAddress(t *testing.T) {
	t.Parallel()
	ca := probetest.NewCA(t, "test CA")
	cert := ca.Issue(t, probetest.Leaf{Names: []string{"a.test"}})
	server := probetest.ServeTLS(t, probetest.Listen(t, loopback), &tls.Config{Certificates: []tls.Certificate{cert}}, nil)
	proxy := probetest.Serve(t, probetest.Listen(t, loopback), (&tunnels{to: server}).serve)
	dns := probetest.ServeDNS(t, loopback, probetest.Zone{"proxy.test": {"A 127.0.0.1", "A 127.0.0.2"}}.Answer)
	p := &probe.Prober{Servers: []netip.AddrPort{dns}, Experiments: probe.Experiments{Direct: func(netip.Addr) bool { return true }}}
	res := p.Run(t.Context(), []probe.Target{{
		Host: "a.test", Port: 443, TLS: true, Roots: ca.PEM, Proxy: probe.Proxy("http://proxy.test:" + strconv.Itoa(int(proxy.Port()))),
	}}, nil).Results[0]
	if res.Direct != nil || !res.Paths[0].OK() || res.Paths[1].Cause() != probe.TCPRefused {
		t.Errorf("result: %+v", res)
	}
}
