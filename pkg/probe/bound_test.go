package probe_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"

	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

// sample calls f every few milliseconds until the test ends it, and returns the largest result.
func sample(f func() int) (highest func() int) {
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		most := 0
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, f())
			select {
			case <-tick.C:
			case <-stop:
				done <- most
				return
			}
		}
	}()
	return func() int {
		close(stop)
		return <-done
	}
}

// connecting counts the sockets of this namespace in SYN-SENT.
func connecting() int {
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 3 && fields[3] == "02" {
			n++
		}
	}
	return n
}

// The tests of bounds do not run in parallel with others: they count what
// belongs to the whole namespace and process.

func TestPendingConnectsAreBounded(t *testing.T) {
	f, err := kernelFaults()
	if err != nil {
		t.Fatal(err)
	}
	var targets []probe.Target
	const n = 700 // three waves
	for i := range n {
		targets = append(targets, probe.Target{Host: f.dropped, Port: uint16(10000 + i)})
	}
	before := runtime.NumGoroutine()
	sockets, goroutines := sample(connecting), sample(runtime.NumGoroutine)
	p := &probe.Prober{Timing: probe.Timing{Connect: 600 * time.Millisecond}} // before any is late
	report := p.Run(t.Context(), targets, nil)
	// The list of sockets changes while it is read and shows ended ones beside new ones.
	if most := sockets(); most > 300 || most < 200 {
		t.Errorf("%d pending connects, want up to 256", most)
	}
	// One for each connect, and for an instant one for each deadline that passes.
	if most := goroutines() - before; most > 2*256+16 {
		t.Errorf("%d goroutines", most)
	}
	for i, res := range report.Results {
		if res.Pending || res.Paths[0].Cause() != probe.TCPTimeout {
			t.Fatalf("target %d: %+v", i, res)
		}
		// A slot that one waits for is not the peer's fault.
		if took := time.Duration(res.Paths[0].Steps[0].Took); took > 1100*time.Millisecond {
			t.Fatalf("target %d: connect took %v", i, took)
		}
	}
	// Workers end by themselves when there is no more work.
	for range 100 {
		if runtime.NumGoroutine() <= before {
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	if left := runtime.NumGoroutine(); left > before {
		t.Errorf("%d goroutines before the round, %d after it", before, left)
	}
	first, last := report.Results[0].Paths[0].Steps[0].At, report.Results[n-1].Paths[0].Steps[0].At
	if first > last || time.Duration(last) < 1100*time.Millisecond {
		t.Errorf("the first connect began at %v, the last at %v", first, last)
	}
}

func TestHandshakesAreBounded(t *testing.T) {
	var now, most atomic.Int32
	server := probetest.Serve(t, probetest.Listen(t, netip.MustParseAddrPort("0.0.0.0:0")), func(c net.Conn) {
		readSome(c)
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-time.After(80 * time.Millisecond)
		now.Add(-1)
	})
	var targets []probe.Target
	for i := range 300 {
		targets = append(targets, probe.Target{Host: fmt.Sprintf("127.2.%d.%d", i>>8, i&255), Port: server.Port(), TLS: true})
	}
	// Less than what the last one waits for its turn.
	p := &probe.Prober{Timing: probe.Timing{TLS: time.Second}}
	report := p.Run(t.Context(), targets, nil)
	if m := most.Load(); m > 16 || m < 8 {
		t.Errorf("%d handshakes at once, want up to 16", m)
	}
	for i, res := range report.Results {
		if res.Paths[0].Cause() != probe.TLSClosed {
			t.Fatalf("target %d: %+v", i, res)
		}
	}
}

// The servers rotate their answers and lose some, the targets are many: what is
// not time comes out in the same order.
func TestOrder(t *testing.T) {
	t.Parallel()
	ca := probetest.NewCA(t, "test CA")
	cert := ca.Issue(t, probetest.Leaf{Names: []string{"*.test"}})
	server := probetest.ServeTLS(t, probetest.Listen(t, netip.MustParseAddrPort("0.0.0.0:0")),
		&tls.Config{Certificates: []tls.Certificate{cert}}, nil)
	rotating := func(query []byte, _ bool) [][]byte {
		if rand.N(5) == 0 {
			return nil
		}
		return [][]byte{reply(query, func(m *dns.Msg) {
			name := m.Question[0].Name
			for _, i := range rand.Perm(4) {
				rr, err := dns.NewRR(fmt.Sprintf("%s 60 IN A 127.0.1.%d", name, i+1))
				if err != nil {
					panic(err)
				}
				m.Answer = append(m.Answer, rr)
			}
		})}
	}
	p := &probe.Prober{Servers: []netip.AddrPort{
		probetest.ServeDNS(t, loopback, rotating), probetest.ServeDNS(t, loopback, rotating),
	}, Timing: probe.Timing{DNSSends: []time.Duration{
		0, 20 * time.Millisecond, 40 * time.Millisecond, 80 * time.Millisecond,
		120 * time.Millisecond, 200 * time.Millisecond, 300 * time.Millisecond, 400 * time.Millisecond, 500 * time.Millisecond,
	}}}
	var targets []probe.Target
	for i := range 20 {
		targets = append(targets, probe.Target{
			Name: fmt.Sprint("t", i), Host: fmt.Sprintf("h%d.test", i), Port: server.Port(), TLS: true, Roots: ca.PEM,
		})
	}
	first := p.Run(t.Context(), targets, nil)
	if len(first.Results[19].Paths) != 4 || !first.Results[19].Paths[3].OK() {
		t.Fatalf("result: %+v", first.Results[19])
	}
	second := p.Run(t.Context(), targets, nil)
	untimed := cmp.Options{
		cmpopts.IgnoreFields(probe.Report{}, "Started", "Took"),
		cmpopts.IgnoreFields(probe.Lookup{}, "At", "Took", "Sent"),
		cmpopts.IgnoreFields(probe.Step{}, "At", "Took"),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	}
	if diff := cmp.Diff(first, second, untimed); diff != "" {
		t.Errorf("two rounds differ:\n%s", diff)
	}
}

// Whoever gets a snapshot may keep it and change its slices while the round goes
// on. The race detector is the judge.
func TestSnapshotsAreTheReceivers(t *testing.T) {
	t.Parallel()
	ca := probetest.NewCA(t, "test CA")
	cert := ca.Issue(t, probetest.Leaf{Names: []string{"a.test"}})
	server := probetest.ServeTLS(t, probetest.Listen(t, netip.MustParseAddrPort("0.0.0.0:0")),
		&tls.Config{Certificates: []tls.Certificate{cert}}, nil)
	slow := func(wait time.Duration, answer probetest.DNSAnswer) probetest.DNSAnswer {
		return func(query []byte, tcp bool) [][]byte {
			<-time.After(wait)
			return answer(query, tcp)
		}
	}
	p := &probe.Prober{}
	for i := range 5 {
		zone := probetest.Zone{"a.test": {fmt.Sprintf("A 127.0.2.%d", i+1)}}
		p.Servers = append(p.Servers, probetest.ServeDNS(t, loopback, slow(time.Duration(i)*70*time.Millisecond, zone.Answer)))
	}
	var over atomic.Bool
	var calls []time.Time
	report := p.Run(t.Context(), []probe.Target{{Host: "a.test", Port: server.Port(), TLS: true, Roots: ca.PEM}}, func(r probe.Report) {
		if over.Load() {
			t.Error("progress after Run")
		}
		calls = append(calls, time.Now())
		for _, path := range r.Results[0].Paths {
			for i := range path.Steps {
				path.Steps[i].Cause = "spoiled"
			}
			clear(path.Servers)
		}
		clear(r.Results[0].Lookups)
		clear(r.Results[0].Paths)
		clear(r.Results)
	})
	over.Store(true)
	if len(calls) < 3 {
		t.Errorf("%d calls of progress", len(calls))
	}
	for i := 1; i < len(calls); i++ {
		if gap := calls[i].Sub(calls[i-1]); gap < 50*time.Millisecond {
			t.Errorf("snapshots %v apart", gap)
		}
	}
	if res := report.Results[0]; len(res.Lookups) != 5 || len(res.Paths) != 5 || !res.Paths[4].OK() || len(res.Paths[4].Servers) != 1 {
		t.Errorf("result: %+v", res)
	}
	<-time.After(60 * time.Millisecond)
}
