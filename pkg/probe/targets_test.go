package probe_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

// Targets that ask the same are measured once, and each has its result.
func TestSameTargets(t *testing.T) {
	t.Parallel()
	ca := probetest.NewCA(t, "test CA")
	cert := ca.Issue(t, probetest.Leaf{Names: []string{"a.test"}})
	var accepted atomic.Int32
	server := probetest.Serve(t, probetest.Listen(t, netip.MustParseAddrPort("0.0.0.0:0")), func(c net.Conn) {
		accepted.Add(1)
		waitForEnd(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}))
	})
	dns, asked := counted(probetest.Zone{"a.test": {"A 127.0.0.1", "A 127.0.0.2"}}.Answer)
	p := &probe.Prober{Servers: []netip.AddrPort{probetest.ServeDNS(t, loopback, dns)}}
	one := probe.Target{Name: "one", Host: "a.test", Port: server.Port(), TLS: true, Roots: ca.PEM}
	two, plain, more := one, one, one
	two.Name, two.Host, two.Pool, two.Roots = "two", "A.test", true, slices.Clone(ca.PEM)
	plain.Name, plain.TLS = "plain", false
	more.Name, more.Hosts = "more", []netip.Addr{netip.MustParseAddr("127.0.0.3"), netip.MustParseAddr("127.0.0.2")}
	report := p.Run(t.Context(), []probe.Target{one, two, plain, more}, nil)
	wantEqual(t, "questions", asked.Load(), 1)
	wantEqual(t, "connections", accepted.Load(), 2+2+3)
	for i, want := range []int{2, 2, 2, 3} {
		res := report.Results[i]
		if len(res.Paths) != want || res.Pending {
			t.Errorf("%s: %+v", res.Target, res)
		}
		for _, path := range res.Paths {
			wantEqual(t, "servers", len(path.Servers) == 0, path.Address.Addr().String() == "127.0.0.3")
			if !path.OK() {
				t.Errorf("%s: %+v", res.Target, path)
			}
		}
	}
	wantEqual(t, "name", report.Results[1].Target+" "+report.Results[1].Host, "two A.test")
	// They share nothing that a receiver may change.
	report.Results[0].Paths[0].Steps[0].Cause = "spoiled"
	wantEqual(t, "cause", report.Results[1].Paths[0].Cause(), "")
}

// A canceled round with everything under way ends at once and leaves no goroutine.
func TestCancelExperiments(t *testing.T) {
	f, err := kernelFaults()
	if err != nil {
		t.Fatal(err)
	}
	dead := probetest.ServeDNS(t, loopback, func([]byte, bool) [][]byte { return nil })
	stall := probetest.Serve(t, probetest.Listen(t, loopback), waitForEnd)
	noTime := probetest.ServeUDP(t, loopback, func([]byte, bool) [][]byte { return nil })
	p := &probe.Prober{
		Servers: []netip.AddrPort{dead},
		Experiments: probe.Experiments{
			References: []netip.AddrPort{probetest.ServeUDP(t, loopback, func([]byte, bool) [][]byte { return nil })},
			Direct:     func(netip.Addr) bool { return true },
			NTP:        []netip.AddrPort{noTime},
		},
	}
	targets := []probe.Target{
		{Name: "dns", Host: "a.test", Port: 443, Compare: true, System: true},
		{Name: "hosts", Host: "b.test", Port: 443, Hosts: []netip.Addr{netip.MustParseAddr(f.dropped)}, Compare: true},
		{Name: "proxy", Host: "c.test", Port: 443, TLS: true, Proxy: probe.Proxy("http://" + stall.String())},
		{Name: "literal", Host: f.dropped, Port: 443, System: true},
	}
	before := runtime.NumGoroutine()
	for _, wait := range []time.Duration{0, 100 * time.Millisecond, 1300 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		begin := time.Now()
		report := p.Run(ctx, targets, nil)
		cancel()
		if took := time.Since(begin); took > wait+400*time.Millisecond {
			t.Errorf("canceled after %v, it took %v", wait, took)
		}
		for _, res := range report.Results {
			if !res.Pending {
				t.Errorf("canceled after %v: %+v", wait, res)
			}
		}
		for range 100 {
			if runtime.NumGoroutine() <= before {
				break
			}
			<-time.After(10 * time.Millisecond)
		}
		if left := runtime.NumGoroutine(); left > before {
			t.Errorf("%d goroutines before the round, %d after it", before, left)
		}
	}
}

// What a round shows while it runs goes to the same end, whatever experiments it makes.
func TestExperimentSnapshots(t *testing.T) {
	t.Parallel()
	refusing := probetest.Serve(t, probetest.Listen(t, loopback), func(c net.Conn) {
		readSome(c)
		_, _ = c.Write([]byte("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"))
	})
	p := &probe.Prober{
		Servers: []netip.AddrPort{probetest.ServeDNS(t, loopback, after(30*time.Millisecond, probetest.Zone{}.Answer))},
		Timing:  probe.Timing{Progress: time.Millisecond},
		Experiments: probe.Experiments{
			References: []netip.AddrPort{probetest.ServeDNS(t, loopback, after(30*time.Millisecond, probetest.Zone{"a.test": {"A 10.99.9.9"}}.Answer))},
			Direct:     func(netip.Addr) bool { return true },
		},
	}
	targets := []probe.Target{
		{Name: "a", Host: "a.test", Port: 443, Compare: true, System: true},
		{Name: "b", Host: "a.test", Port: 443, Proxy: probe.Proxy("http://" + refusing.String())},
	}
	var seen []string
	report := p.Run(t.Context(), targets, func(r probe.Report) {
		b, err := json.Marshal(r.Results)
		if err != nil {
			t.Error(err)
		}
		seen = append(seen, string(b))
		for i, res := range r.Results {
			if !res.Pending && i == 1 && res.Direct == nil {
				t.Errorf("settled without its experiment: %+v", res)
			}
			if !res.Pending && i == 0 && (len(res.Compared) == 0 || res.System == nil) {
				t.Errorf("settled without its experiment: %+v", res)
			}
		}
	})
	if len(seen) < 3 || len(report.Results[0].Compared) != 1 || report.Results[1].Direct == nil {
		t.Errorf("%d snapshots, at the end %+v", len(seen), report.Results)
	}
	if last := seen[len(seen)-1]; !strings.Contains(last, "dns-nxdomain") {
		t.Errorf("last snapshot: %s", last)
	}
}
