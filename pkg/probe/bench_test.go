package probe_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

// lab is a healthy network: one DNS server and as many TLS endpoints as asked for.
type lab struct {
	dns, tls netip.AddrPort
	ca       []byte
}

func newLab(tb testing.TB) lab {
	tb.Helper()
	ca := probetest.NewCA(tb, "lab CA")
	cert := ca.Issue(tb, probetest.Leaf{Names: []string{"*.test"}})
	var l lab
	l.ca = ca.PEM
	l.tls = probetest.ServeTLS(tb, probetest.Listen(tb, netip.MustParseAddrPort("0.0.0.0:0")),
		&tls.Config{Certificates: []tls.Certificate{cert}}, nil)
	l.dns = probetest.ServeDNS(tb, loopback, func(query []byte, _ bool) [][]byte {
		return [][]byte{reply(query, func(m *dns.Msg) {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(m.Question[0].Name, "h"), ".test."))
			if err != nil || m.Question[0].Qtype != dns.TypeA {
				return
			}
			m.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
				A:   net.IPv4(127, 1, byte(n>>8), byte(n)),
			}}
		})}
	})
	return l
}

// prober has patience: what is measured must not depend on who else uses the machine.
func (l lab) prober() *probe.Prober {
	return &probe.Prober{Servers: []netip.AddrPort{l.dns}, Timing: probe.Timing{
		DNS: 20 * time.Second, Connect: 20 * time.Second, TLS: 20 * time.Second,
	}}
}

func (l lab) targets(n int) []probe.Target {
	targets := make([]probe.Target, n)
	for i := range targets {
		name := fmt.Sprintf("h%d.test", i)
		targets[i] = probe.Target{Name: name, Host: name, Port: l.tls.Port(), TLS: true, Roots: l.ca}
	}
	return targets
}

// BenchmarkRun measures a whole round. Client and servers share the process;
// BenchmarkFloor does the same to them.
func BenchmarkRun(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			l := newLab(b)
			targets := l.targets(n)
			p := l.prober()
			b.ReportAllocs()
			defer reportCPU(b)()
			for b.Loop() {
				report := p.Run(b.Context(), targets, nil)
				for _, res := range report.Results {
					if len(res.Paths) != 1 || !res.Paths[0].OK() {
						b.Fatalf("%+v", res)
					}
				}
			}
		})
	}
}

// BenchmarkFloor takes the same network steps, 64 targets at a time, and keeps nothing.
func BenchmarkFloor(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			l := newLab(b)
			targets := l.targets(n)
			b.ReportAllocs()
			defer reportCPU(b)()
			for b.Loop() {
				pool := x509.NewCertPool()
				pool.AppendCertsFromPEM(l.ca)
				slots := make(chan struct{}, 64)
				var wg sync.WaitGroup
				for _, t := range targets {
					slots <- struct{}{}
					wg.Go(func() {
						if err := floor(b.Context(), l, t.Host, pool); err != nil {
							b.Error(err)
						}
						<-slots
					})
				}
				wg.Wait()
			}
		})
	}
}

func floor(ctx context.Context, l lab, host string, pool *x509.CertPool) error {
	ctx, cancel := context.WithTimeout(ctx, 6*time.Second)
	defer cancel()
	var d net.Dialer
	udp, err := d.DialContext(ctx, "udp", l.dns.String())
	if err != nil {
		return err
	}
	defer func() { _ = udp.Close() }()
	q := new(dns.Msg).SetQuestion(host+".", dns.TypeA)
	msg, err := q.Pack()
	if err != nil {
		return err
	}
	if _, err := udp.Write(msg); err != nil {
		return err
	}
	_ = udp.SetReadDeadline(time.Now().Add(3 * time.Second))
	buf := make([]byte, 1232)
	size, err := udp.Read(buf)
	if err != nil {
		return err
	}
	var m dns.Msg
	if err := m.Unpack(buf[:size]); err != nil {
		return err
	}
	a, ok := m.Answer[0].(*dns.A)
	if !ok {
		return fmt.Errorf("no A record: %v", m.Answer)
	}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(a.A.String(), strconv.Itoa(int(l.tls.Port()))))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	shaken := tls.Client(conn, &tls.Config{ServerName: host, RootCAs: pool})
	if err := shaken.HandshakeContext(ctx); err != nil {
		return err
	}
	return shaken.CloseWrite()
}

// reportCPU reports the process's CPU time per iteration.
func reportCPU(b *testing.B) func() {
	b.Helper()
	cpu := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := cpu()
	return func() { b.ReportMetric(float64(cpu()-before)/float64(b.N)/1e6, "cpu-ms/op") }
}

// A process of its own probes 1000 endpoints within 24 MiB.
func TestMemory(t *testing.T) {
	const env = "PROBE_TEST_MEMORY"
	if file := os.Getenv(env); file != "" {
		memoryChild(t, file)
		return
	}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector takes more memory than the probes")
	}
	l := newLab(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, l.ca, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{10, 1000} {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestMemory$", "-test.v")
		cmd.Env = append(os.Environ(), env+"="+strings.Join([]string{l.dns.String(), l.tls.String(), file, strconv.Itoa(n)}, ","))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		hwm := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(out)
		if hwm == nil {
			t.Fatalf("no VmHWM in:\n%s", out)
		}
		kib, err := strconv.Atoi(string(hwm[1]))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d endpoints: %.1f MiB", n, float64(kib)/1024)
		if kib > 24<<10 {
			t.Errorf("%d endpoints took %d KiB", n, kib)
		}
	}
}

// memoryChild probes and prints the kernel's account of this process. The
// maximum that rusage knows is the parent's at the fork, if that is larger.
func memoryChild(t *testing.T, args string) {
	t.Helper()
	f := strings.Split(args, ",")
	ca, err := os.ReadFile(f[2])
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(f[3])
	if err != nil {
		t.Fatal(err)
	}
	l := lab{dns: netip.MustParseAddrPort(f[0]), tls: netip.MustParseAddrPort(f[1]), ca: ca}
	p := l.prober()
	snapshots := 0
	report := p.Run(t.Context(), l.targets(n), func(probe.Report) { snapshots++ })
	for _, res := range report.Results {
		if len(res.Paths) != 1 || !res.Paths[0].OK() {
			t.Fatalf("%+v", res)
		}
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(status) {
		if bytes.HasPrefix(line, []byte("VmHWM")) {
			t.Logf("%s, %d snapshots, %v", bytes.TrimSpace(line), snapshots, report.Took)
		}
	}
}
