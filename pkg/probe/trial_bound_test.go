package probe_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/nftables"

	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

// However many addresses are black holes, a round waits for one of them, with all
// experiments allowed. Not parallel to others: time is what is measured.
func TestBlackholesCostOneDeadline(t *testing.T) {
	const n, deadline = 256, 1500 * time.Millisecond
	ca := probetest.NewCA(t, "test CA")
	cert := ca.Issue(t, probetest.Leaf{Names: []string{"*.test"}})
	server := probetest.ServeTLS(t, probetest.Listen(t, netip.MustParseAddrPort("0.0.0.0:0")),
		&tls.Config{Certificates: []tls.Certificate{cert}}, nil)
	t.Cleanup(filter{hook: nftables.ChainHookInput, addr: netip.MustParseAddr("127.11.0.0"), prefix: 2}.drop(t))
	for _, k := range []int{1, 256} {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			targets := make([]probe.Target, n)
			for i := range targets {
				net, last := byte(10), byte(i)
				if i*k/n < (i+1)*k/n { // spread
					net = 11
				}
				targets[i] = probe.Target{
					Name: fmt.Sprint(i), Host: fmt.Sprintf("h%d.test", i), Port: server.Port(), TLS: true, Roots: ca.PEM,
					Hosts: []netip.Addr{netip.AddrFrom4([4]byte{127, net, 1, last})},
				}
			}
			p := &probe.Prober{Experiments: allTrials, Timing: probe.Timing{Connect: deadline}}
			report := p.Run(t.Context(), targets, nil)
			holes, tests := 0, 0
			for i, res := range report.Results {
				path := res.Paths[0]
				tests += len(path.Experiments)
				switch path.Cause() {
				case "":
					if !path.OK() || len(path.Experiments) > 0 {
						t.Fatalf("target %d: %+v", i, res)
					}
				case probe.TCPTimeout:
					holes++
				default:
					t.Fatalf("target %d: %+v", i, res)
				}
				if res.Pending {
					t.Fatalf("target %d is pending", i)
				}
			}
			if holes != k || tests != min(k, 4) {
				t.Errorf("%d black holes and %d experiments, want %d and %d", holes, tests, k, min(k, 4))
			}
			if took := time.Duration(report.Took); took >= 2*deadline {
				t.Errorf("took %v with %d black holes, want less than two of %v", took, k, deadline)
			}
			t.Logf("%d of %d: %v", k, n, report.Took)
		})
	}
}

// Stalled servers see a bounded number of trials, and the round ends as it would without.
func TestTrialsAreBounded(t *testing.T) {
	var now, most, all atomic.Int32
	server := probetest.Serve(t, probetest.Listen(t, netip.MustParseAddrPort("0.0.0.0:0")), func(c net.Conn) {
		all.Add(1)
		if size, _ := helloSize(c); size < 1000 { // of a trial
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			defer now.Add(-1)
		}
		waitForEnd(c)
	})
	const n, addresses = 40, 4
	targets := make([]probe.Target, n)
	for i := range targets {
		targets[i] = probe.Target{Name: fmt.Sprint(i), Host: fmt.Sprintf("h%d.test", i), Port: server.Port(), TLS: true}
		for a := range addresses {
			targets[i].Hosts = append(targets[i].Hosts, netip.AddrFrom4([4]byte{127, 12, byte(a), byte(i)}))
		}
	}
	before := runtime.NumGoroutine()
	p := &probe.Prober{Experiments: allTrials, Timing: probe.Timing{TLS: 200 * time.Millisecond}}
	report := p.Run(t.Context(), targets, nil)
	tried := 0
	for i, res := range report.Results {
		mine := 0
		for _, path := range res.Paths {
			if path.Cause() != probe.TLSTimeout || path.Pending {
				t.Fatalf("target %d: %+v", i, path)
			}
			if len(path.Experiments) == 3 {
				mine++
			}
			for _, e := range path.Experiments {
				if !e.Failed() {
					t.Fatalf("target %d: %+v", i, e)
				}
			}
		}
		if mine > 2 {
			t.Errorf("target %d has %d addresses with trials", i, mine)
		}
		tried += mine
	}
	if tried != 64 || all.Load() != n*addresses+3*64 {
		t.Errorf("%d addresses with trials, %d connections", tried, all.Load())
	}
	// A third of all trials; the server learns of an end a little later.
	if m := most.Load(); m > 48 || m < 8 {
		t.Errorf("%d trials of one kind at once", m)
	}
	if took, least := time.Duration(report.Took), n*addresses/16*200*time.Millisecond; took > least+2*time.Second {
		t.Errorf("took %v, without trials %v", took, least)
	}
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}

// The end of ctx ends trials at once, and that of the round too. Both leave them
// pending, and no goroutine. Not parallel: it counts goroutines.
func TestTrialsEnd(t *testing.T) {
	server := probetest.Serve(t, probetest.Listen(t, loopback), waitForEnd)
	targets := []probe.Target{
		{Name: "a", Host: "127.0.0.1", Port: server.Port(), TLS: true},
		{Name: "b", Host: "b.test", Port: server.Port(), TLS: true},
	}
	for _, tt := range []struct {
		name  string
		round time.Duration
		ctx   time.Duration
		cause probe.Cause
	}{
		{"canceled", time.Minute, 1300 * time.Millisecond, probe.Canceled},
		{"round over", 1300 * time.Millisecond, time.Minute, probe.TLSTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stop := time.AfterFunc(tt.ctx, cancel)
			defer stop.Stop()
			begin := time.Now()
			p := &probe.Prober{Experiments: allTrials, Timing: probe.Timing{Round: tt.round, TLS: 5 * time.Second}}
			res := p.Run(ctx, targets, nil).Results[0]
			if took := time.Since(begin); took > 1700*time.Millisecond {
				t.Errorf("took %v", took)
			}
			if !res.Pending || len(res.Paths[0].Experiments) != 3 {
				t.Fatalf("result: %+v", res)
			}
			for _, e := range res.Paths[0].Experiments {
				if !e.Pending || e.OK() || e.Failed() || len(e.Steps) != 2 || e.Steps[1].Cause != tt.cause {
					t.Errorf("%s: %+v", e.Kind, e)
				}
			}
			// The server's goroutines end when the connections have.
			for range 100 {
				if runtime.NumGoroutine() <= before {
					return
				}
				<-time.After(10 * time.Millisecond)
			}
			t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		})
	}
}
