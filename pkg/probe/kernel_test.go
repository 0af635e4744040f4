package probe_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

// closedPort is below the ephemeral ones and nobody's.
const closedPort = 1

// faults are addresses of this namespace with which something is wrong in the kernel.
type faults struct {
	unreachable, blackhole, prohibit, noRoute string
	noNeighbour                               string // on link, and nobody answers ARP
	dropped                                   string // by a firewall
}

// kernelFaults makes them, once for all tests.
var kernelFaults = sync.OnceValues(func() (faults, error) {
	f := faults{
		unreachable: "198.51.100.1", blackhole: "198.51.100.2", prohibit: "198.51.100.3", noRoute: "192.0.2.1",
		noNeighbour: "203.0.113.9", dropped: "127.9.9.9",
	}
	for addr, kind := range map[string]int{
		f.unreachable: unix.RTN_UNREACHABLE, f.blackhole: unix.RTN_BLACKHOLE, f.prohibit: unix.RTN_PROHIBIT,
	} {
		dst := &net.IPNet{IP: net.ParseIP(addr).To4(), Mask: net.CIDRMask(32, 32)}
		if err := netlink.RouteAdd(&netlink.Route{Dst: dst, Type: kind}); err != nil {
			return f, err
		}
	}
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "far"}
	veth.Name = "near"
	if err := netlink.LinkAdd(veth); err != nil {
		return f, err
	}
	addr, err := netlink.ParseAddr("203.0.113.1/24")
	if err != nil {
		return f, err
	}
	if err := netlink.AddrAdd(veth, addr); err != nil {
		return f, err
	}
	far, err := netlink.LinkByName("far")
	if err != nil {
		return f, err
	}
	if err := errors.Join(netlink.LinkSetUp(veth), netlink.LinkSetUp(far)); err != nil {
		return f, err
	}
	return f, dropInput(netip.MustParseAddr(f.dropped))
})

// dropInput drops every packet to addr. A drop on output would be seen: EPERM for UDP.
func dropInput(addr netip.Addr) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Name: "faults", Family: nftables.TableFamilyIPv4})
	policy := nftables.ChainPolicyAccept
	chain := conn.AddChain(&nftables.Chain{
		Name: "input", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Policy: &policy,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: addr.AsSlice()},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	return conn.Flush()
}

// Every way in which the kernel refuses a connect, as Run reports it.
func TestConnectCauses(t *testing.T) {
	t.Parallel()
	f, err := kernelFaults()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		host  string
		cause probe.Cause
		errno syscall.Errno
		from  time.Duration
		to    time.Duration
	}{
		{"no listener", "127.0.0.1", probe.TCPRefused, unix.ECONNREFUSED, 0, time.Second},
		{"unreachable route", f.unreachable, probe.TCPHostUnreachable, unix.EHOSTUNREACH, 0, time.Second},
		{"blackhole route", f.blackhole, probe.TCPBlackhole, unix.EINVAL, 0, time.Second},
		{"prohibit route", f.prohibit, probe.TCPProhibited, unix.EACCES, 0, time.Second},
		{"no route", f.noRoute, probe.TCPNetUnreachable, unix.ENETUNREACH, 0, time.Second},
		{"no neighbour", f.noNeighbour, probe.TCPHostUnreachable, unix.EHOSTUNREACH, 900 * time.Millisecond, 3900 * time.Millisecond},
		{"dropped", f.dropped, probe.TCPTimeout, 0, 3150 * time.Millisecond, 3900 * time.Millisecond},
	}
	var targets []probe.Target
	for _, tt := range tests {
		targets = append(targets, probe.Target{Name: tt.name, Host: tt.host, Port: closedPort})
	}
	report := new(probe.Prober).Run(t.Context(), targets, nil)
	for i, tt := range tests {
		step, ok := report.Results[i].Paths[0].Step(probe.PhaseConnect)
		if !ok || step.Cause != tt.cause || step.Errno != int(tt.errno) || step.Err == "" {
			t.Errorf("%s: %+v, want %s, errno %d", tt.name, step, tt.cause, tt.errno)
		}
		if took := time.Duration(step.Took); took < tt.from || took > tt.to {
			t.Errorf("%s took %v, want %v to %v", tt.name, took, tt.from, tt.to)
		}
		if report.Results[i].Pending {
			t.Errorf("%s is pending", tt.name)
		}
	}
}

// The same for a DNS server.
func TestResolveCauses(t *testing.T) {
	t.Parallel()
	f, err := kernelFaults()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		server string
		cause  probe.Cause
		errno  syscall.Errno
	}{
		{"closed port", fmt.Sprintf("127.0.0.1:%d", closedPort), probe.DNSPortClosed, unix.ECONNREFUSED},
		{"unreachable route", f.unreachable + ":53", probe.DNSUnreachable, unix.EHOSTUNREACH},
		{"blackhole route", f.blackhole + ":53", probe.DNSUnreachable, unix.EINVAL},
		{"prohibit route", f.prohibit + ":53", probe.DNSUnreachable, unix.EACCES},
		{"no route", f.noRoute + ":53", probe.DNSUnreachable, unix.ENETUNREACH},
		{"dropped", f.dropped + ":53", probe.DNSTimeout, 0},
	}
	p := new(probe.Prober)
	for _, tt := range tests {
		p.Servers = append(p.Servers, netip.MustParseAddrPort(tt.server))
	}
	report := p.Run(t.Context(), []probe.Target{{Host: "a.test", Port: 443}}, nil)
	for i, tt := range tests {
		l := report.Results[0].Lookups[i]
		if l.Cause != tt.cause || l.Errno != int(tt.errno) || l.Err == "" || l.RCode != "" {
			t.Errorf("%s: %+v, want %s, errno %d", tt.name, l, tt.cause, tt.errno)
		}
		if tt.errno != 0 && time.Duration(l.Took) > time.Second {
			t.Errorf("%s took %v", tt.name, l.Took)
		}
	}
}

// Every way in which a handshake fails.
func TestTLSCauses(t *testing.T) {
	t.Parallel()
	ca, other := probetest.NewCA(t, "test CA"), probetest.NewCA(t, "other CA")
	now := time.Now()
	good := ca.Issue(t, probetest.Leaf{Names: []string{"127.0.0.1"}})
	withCert := func(c tls.Certificate) func(net.Conn) {
		return func(c2 net.Conn) {
			_, _ = io.Copy(io.Discard, tls.Server(c2, &tls.Config{Certificates: []tls.Certificate{c}}))
		}
	}
	withConfig := func(config *tls.Config) func(net.Conn) {
		config.Certificates = []tls.Certificate{good}
		return func(c net.Conn) { _, _ = io.Copy(io.Discard, tls.Server(c, config)) }
	}
	request := []probe.Request{{Method: "GET", Path: "/"}}
	tests := []struct {
		name     string
		serve    func(net.Conn)
		requests []probe.Request
		cause    probe.Cause
		errno    syscall.Errno
		check    func(*testing.T, *probe.TLSInfo)
	}{
		{name: "good", serve: withCert(good)},
		{
			name: "wrong CA", serve: withCert(other.Issue(t, probetest.Leaf{Names: []string{"127.0.0.1"}})),
			cause: probe.TLSUnknownAuthority, check: func(t *testing.T, info *probe.TLSInfo) {
				t.Helper()
				wantEqual(t, "issuer", info.Chain[0].Issuer, "CN=other CA")
			},
		},
		{
			name: "wrong name", serve: withCert(ca.Issue(t, probetest.Leaf{Names: []string{"other.test"}})),
			cause: probe.TLSWrongHost, check: func(t *testing.T, info *probe.TLSInfo) {
				t.Helper()
				wantEqual(t, "names", info.Chain[0].Names, []string{"other.test"})
			},
		},
		{
			name: "expired", cause: probe.TLSExpired,
			serve: withCert(ca.Issue(t, probetest.Leaf{
				Names: []string{"127.0.0.1"}, NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour),
			})),
			check: func(t *testing.T, info *probe.TLSInfo) {
				t.Helper()
				if !info.Chain[0].NotAfter.Before(now) || len(info.Chain[0].SHA256) != 64 || info.Chain[0].AuthorityKeyID == "" {
					t.Errorf("chain: %+v", info.Chain)
				}
			},
		},
		{
			name: "not yet valid", cause: probe.TLSNotYetValid,
			serve: withCert(ca.Issue(t, probetest.Leaf{
				Names: []string{"127.0.0.1"}, NotBefore: now.Add(time.Hour), NotAfter: now.Add(2 * time.Hour),
			})),
		},
		{name: "stall", serve: waitForEnd, cause: probe.TLSTimeout},
		{name: "FIN", serve: readSome, cause: probe.TLSClosed},
		{name: "RST", cause: probe.TLSReset, errno: unix.ECONNRESET, serve: func(c net.Conn) {
			readSome(c)
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
		}},
		{
			name: "plain HTTP", cause: probe.TLSNotTLS, serve: func(c net.Conn) {
				readSome(c)
				_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nServer: squid\r\n\r\n")
			},
			check: func(t *testing.T, info *probe.TLSInfo) {
				t.Helper()
				wantEqual(t, "first bytes", info.FirstBytes, "HTTP/1.1 400 Bad Request..Server: squid....")
			},
		},
		{name: "SSH", cause: probe.TLSNotTLS, serve: func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n") }},
		{
			name: "garbage after the hello", cause: probe.TLSError, serve: func(c net.Conn) {
				readSome(c)
				_, _ = c.Write([]byte{22, 3, 3, 0, 4, 99, 0, 0, 0}) // a handshake message of no known type
				waitForEnd(c)
			},
		},
		{name: "alert 70", serve: alert(70), cause: probe.TLSAlert, check: wantAlert(70)},
		{name: "alert 40", serve: alert(40), cause: probe.TLSAlert, check: wantAlert(40)},
		{name: "alert 112", serve: alert(112), cause: probe.TLSAlert, check: wantAlert(112)},
		{
			name: "no common version", cause: probe.TLSAlert, check: wantAlert(70),
			serve: withConfig(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}),
		},
		{
			name: "client certificate required, TLS 1.2", cause: probe.TLSAlert, check: wantAlert(40),
			serve: withConfig(&tls.Config{MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert}),
		},
		{
			name: "client certificate required, TLS 1.3", cause: probe.TLSAlert, check: wantAlert(116),
			serve: withConfig(&tls.Config{ClientAuth: tls.RequireAnyClientCert}),
		},
		{
			name: "client certificate required, seen by the request", cause: probe.TLSAlert, check: wantAlert(116),
			serve: withConfig(&tls.Config{ClientAuth: tls.RequireAnyClientCert}), requests: request,
		},
		{name: "client certificate wished", serve: withConfig(&tls.Config{ClientAuth: tls.RequestClientCert})},
	}
	targets := make([]probe.Target, len(tests))
	for i, tt := range tests {
		server := probetest.Serve(t, probetest.Listen(t, loopback), tt.serve)
		targets[i] = probe.Target{Name: tt.name, Host: "127.0.0.1", Port: server.Port(), TLS: true, Roots: ca.PEM, Requests: tt.requests}
	}
	report := new(probe.Prober).Run(t.Context(), targets, nil)
	for i, tt := range tests {
		path := report.Results[i].Paths[0]
		step := path.Steps[len(path.Steps)-1]
		if step.Phase != probe.PhaseTLS || step.Cause != tt.cause || step.Errno != int(tt.errno) ||
			(step.Err == "") != (tt.cause == "") || len(path.Steps) != 2 || step.TLS == nil {
			t.Errorf("%s: %+v, want %s, errno %d", tt.name, path.Steps, tt.cause, tt.errno)
			continue
		}
		if tt.check != nil {
			tt.check(t, step.TLS)
		}
	}
}

func readSome(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) }

// alert is a server that answers the hello with a fatal alert.
func alert(number byte) func(net.Conn) {
	return func(c net.Conn) {
		readSome(c)
		_, _ = c.Write([]byte{21, 3, 3, 0, 2, 2, number})
		waitForEnd(c)
	}
}

func wantAlert(number int) func(*testing.T, *probe.TLSInfo) {
	return func(t *testing.T, info *probe.TLSInfo) {
		t.Helper()
		if info.Alert != number {
			t.Errorf("alert %d, want %d", info.Alert, number)
		}
	}
}

// Every way in which a request fails.
func TestHTTPCauses(t *testing.T) {
	t.Parallel()
	say := func(s string) func(net.Conn) {
		return func(c net.Conn) {
			readSome(c)
			_, _ = io.WriteString(c, s)
		}
	}
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
	tests := []struct {
		name     string
		serve    func(net.Conn)
		requests int
		cause    probe.Cause
		status   int
	}{
		{"stall", waitForEnd, 1, probe.HTTPTimeout, 0},
		{"FIN", readSome, 1, probe.HTTPClosed, 0},
		{"RST", func(c net.Conn) {
			readSome(c)
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
		}, 1, probe.HTTPReset, 0},
		{"garbage", say("220 smtp.test ESMTP\r\n\r\n"), 1, probe.HTTPMalformed, 0},
		{"cut header", say("HTTP/1.1 200 OK\r\n"), 1, probe.HTTPClosed, 0},
		{"endless header", say("HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("x", 1000)+"\r\n", 100)), 1, probe.HTTPMalformed, 0},
		{"endless interim answers", say(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100)), 1, probe.HTTPMalformed, 0},
		{"interim answer", say("HTTP/1.1 103 Early Hints\r\n\r\n" + ok), 1, "", 200},
		{"answer", say(ok), 1, "", 200},
		{"body stalls", func(c net.Conn) {
			say("HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\nhi")(c)
			waitForEnd(c)
		}, 1, probe.HTTPTimeout, 503},
		{"no second answer", func(c net.Conn) { say(ok)(c); readSome(c) }, 2, probe.HTTPClosed, 0},
		{"no second request", say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"), 2, probe.HTTPClosed, 0},
		{"two answers", func(c net.Conn) { say(ok)(c); say(ok)(c) }, 2, "", 200},
	}
	targets := make([]probe.Target, len(tests))
	for i, tt := range tests {
		server := probetest.Serve(t, probetest.Listen(t, loopback), tt.serve)
		targets[i] = probe.Target{Name: tt.name, Host: "127.0.0.1", Port: server.Port()}
		for range tt.requests {
			targets[i].Requests = append(targets[i].Requests, probe.Request{Method: "GET", Path: "/x?y", BodyLimit: 100})
		}
	}
	report := new(probe.Prober).Run(t.Context(), targets, nil)
	for i, tt := range tests {
		path := report.Results[i].Paths[0]
		step := path.Steps[len(path.Steps)-1]
		if step.Phase != probe.PhaseHTTP || step.Cause != tt.cause || step.HTTP.Status != tt.status || len(path.Steps) != 1+tt.requests {
			t.Errorf("%s: %+v, want %s and status %d", tt.name, path.Steps, tt.cause, tt.status)
		}
	}
}

// A process without free descriptors says so, and not that the peer is dead.
func TestExhausted(t *testing.T) {
	t.Parallel()
	const env = "PROBE_TEST_EXHAUSTED"
	if os.Getenv(env) == "" {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestExhausted$")
		cmd.Env = append(os.Environ(), env+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	// Epoll and the like are open by now; after this nothing is.
	p := new(probe.Prober)
	targets := []probe.Target{{Host: "127.0.0.1", Port: closedPort}}
	p.Run(t.Context(), targets, nil)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: 3}); err != nil {
		t.Fatal(err)
	}
	p.Servers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}
	report := p.Run(t.Context(), append(targets, probe.Target{Host: "a.test", Port: closedPort}), nil)
	step := report.Results[0].Paths[0].Steps[0]
	if step.Cause != probe.TCPExhausted || step.Errno != int(unix.EMFILE) {
		t.Errorf("connect: %+v", step)
	}
	if l := report.Results[1].Lookups[0]; l.Cause != probe.Other || l.Errno != int(unix.EMFILE) {
		t.Errorf("lookup: %+v", l)
	}
}
