package probe_test

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

// nftMu keeps transactions apart: the kernel refuses one that overlaps another.
var nftMu sync.Mutex

// A filter drops IPv4 packets in this namespace.
type filter struct {
	hook *nftables.ChainHook
	// addr is the source or destination; only its first bytes count when there is a prefix.
	addr   netip.Addr
	prefix int // bytes
	source bool
	port   uint16 // of addr; 0 for any
	longer uint32 // bytes; 0 for all
}

// drop drops what the filter says until the function it returns is called.
func (f filter) drop(t *testing.T) (undo func()) {
	t.Helper()
	nftMu.Lock()
	defer nftMu.Unlock()
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	offset := uint32(16)
	if f.source {
		offset = 12
	}
	name := strings.NewReplacer("/", "-", " ", "-").Replace(t.Name()) + f.addr.String()
	table := conn.AddTable(&nftables.Table{Name: name, Family: nftables.TableFamilyIPv4})
	policy := nftables.ChainPolicyAccept
	chain := conn.AddChain(&nftables.Chain{
		Name: "drop", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: f.hook, Priority: nftables.ChainPriorityFilter, Policy: &policy,
	})
	bytes := f.addr.AsSlice()
	if f.prefix > 0 {
		bytes = bytes[:f.prefix]
	}
	exprs := []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(bytes))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: bytes},
	}
	if f.port > 0 {
		at := uint32(2)
		if f.source {
			at = 0
		}
		exprs = append(exprs,
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: at, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, f.port)})
	}
	if f.longer > 0 {
		// Registers of numbers from metadata are in the machine's order.
		limit := make([]byte, 4)
		binary.BigEndian.PutUint32(limit, f.longer)
		exprs = append(exprs,
			&expr.Meta{Key: expr.MetaKeyLEN, Register: 1},
			&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
			&expr.Cmp{Op: expr.CmpOpGt, Register: 1, Data: limit})
	}
	exprs = append(exprs, &expr.Verdict{Kind: expr.VerdictDrop})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return func() {
		nftMu.Lock()
		defer nftMu.Unlock()
		conn.DelTable(table)
		if err := conn.Flush(); err != nil {
			t.Error(err)
		}
	}
}

// Packets longer than 1400 bytes are lost in one direction, and nobody is told. The
// trials tell which.
func TestTrialsOfMTU(t *testing.T) {
	t.Parallel()
	// The kernel hands up to 64 KiB to a link as one packet; one segment each is as on a wire.
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetGSOMaxSegs(lo, 1); err != nil {
		t.Fatal(err)
	}
	// Names make the server's flight longer than a packet may be.
	names := []string{"*.test", "127.5.0.1", "127.5.0.2"}
	for i := range 60 {
		names = append(names, fmt.Sprintf("name-of-the-certificate-%d.test", i))
	}
	ca := probetest.NewCA(t, "test CA")
	config := &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, probetest.Leaf{Names: names})}}
	type made = map[probe.Kind]string
	const passed, silent = "passed", string(probe.TLSTimeout)
	tests := []struct {
		addr    string
		inbound bool
		made    made
	}{
		{"127.5.0.1", false, made{probe.KindMSSClamp: passed, probe.KindSmallHello: passed, probe.KindSecondSNI: silent}},
		{"127.5.0.2", true, made{probe.KindMSSClamp: passed, probe.KindSmallHello: silent, probe.KindSecondSNI: silent}},
	}
	// The small certificate shows that it is the direction and not the size of the answer.
	small := &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, probetest.Leaf{Names: names[:3]})}}
	targets := make([]probe.Target, 0, len(tests)+1)
	for _, tt := range tests {
		addr := netip.MustParseAddr(tt.addr)
		use := small
		if tt.inbound {
			use = config
		}
		server := probetest.ServeTLS(t, probetest.Listen(t, netip.AddrPortFrom(addr, 0)), use, nil)
		defer filter{hook: nftables.ChainHookInput, addr: addr, source: tt.inbound, port: server.Port(), longer: 1400}.drop(t)()
		targets = append(targets, probe.Target{Name: tt.addr, Host: tt.addr, Port: server.Port(), TLS: true, Roots: ca.PEM})
	}
	good := probetest.ServeTLS(t, probetest.Listen(t, loopback), small, nil)
	targets = append(targets, probe.Target{Name: "good", Host: "good.test", Port: good.Port(), TLS: true, Roots: ca.PEM})
	dns := probetest.ServeDNS(t, loopback, probetest.Zone{"good.test": {"A 127.0.0.1"}}.Answer)
	p := &probe.Prober{Servers: []netip.AddrPort{dns}, Experiments: allTrials}
	report := p.Run(t.Context(), targets, nil)
	for i, tt := range tests {
		path := report.Results[i].Paths[0]
		wantEqual(t, tt.addr+", cause", path.Cause(), probe.TLSTimeout)
		wantEqual(t, tt.addr+", trials", outcomes(path), tt.made)
		step, _ := path.Step(probe.PhaseTLS)
		info := step.TCP
		if info == nil || info.BytesReceived != 0 {
			t.Fatalf("%s: %+v", tt.addr, info)
		}
		if tt.inbound && (info.BytesAcked < 1400 || info.Unacked != 0) {
			t.Errorf("%s: the hello was not acknowledged: %+v", tt.addr, info)
		}
		if !tt.inbound && (info.BytesAcked > 1 || info.Unacked == 0 || info.Retransmits == 0) {
			t.Errorf("%s: the hello was acknowledged: %+v", tt.addr, info)
		}
	}
	if good := report.Results[len(tests)].Paths[0]; !good.OK() || good.Experiments != nil || good.Steps[0].TCP != nil || good.Steps[1].TCP != nil {
		t.Errorf("good: %+v", good)
	}
}

// A datagram tells this machine's firewall from the network.
func TestUDPTest(t *testing.T) {
	t.Parallel()
	f, err := kernelFaults()
	if err != nil {
		t.Fatal(err)
	}
	defer filter{hook: nftables.ChainHookOutput, addr: netip.MustParseAddr("127.6.0.1")}.drop(t)()
	// Nothing reads datagrams here: an ICMP error comes back, too late to be of interest.
	server := probetest.Serve(t, probetest.Listen(t, loopback), waitForEnd)
	report := (&probe.Prober{Experiments: allTrials}).Run(t.Context(), []probe.Target{
		{Name: "own firewall", Host: "127.6.0.1", Port: 443},
		{Name: "dropped on the way", Host: f.dropped, Port: 443},
		{Name: "no neighbour", Host: "203.0.113.10", Port: 443}, // asked for by no other test,
		{Name: "refused", Host: "127.0.0.1", Port: closedPort},
		{Name: "connected", Host: "127.0.0.1", Port: server.Port()},
	}, nil)
	tests := []struct {
		name  string
		cause probe.Cause
		made  map[probe.Kind]string
		errno int
	}{
		{"own firewall", probe.TCPTimeout, map[probe.Kind]string{probe.KindUDPTest: string(probe.TCPProhibited)}, int(unix.EPERM)},
		{"dropped on the way", probe.TCPTimeout, map[probe.Kind]string{probe.KindUDPTest: "passed"}, 0},
		{"no neighbour", probe.TCPHostUnreachable, map[probe.Kind]string{probe.KindUDPTest: "passed"}, 0},
		{"refused", probe.TCPRefused, map[probe.Kind]string{}, 0},
		{"connected", "", map[probe.Kind]string{}, 0},
	}
	for i, tt := range tests {
		path := report.Results[i].Paths[0]
		wantEqual(t, tt.name+", cause", path.Cause(), tt.cause)
		wantEqual(t, tt.name+", trials", outcomes(path), tt.made)
		for _, e := range path.Experiments {
			s := e.Steps[0]
			if len(e.Steps) != 1 || s.Phase != probe.PhaseUDP || s.Errno != tt.errno || time.Duration(s.At) < 950*time.Millisecond {
				t.Errorf("%s: %+v", tt.name, e.Steps)
			}
		}
	}
}

// A connect that needed a second SYN passes, and says so. What was begun meanwhile is
// forgotten.
func TestLostSYN(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr("127.7.0.1")
	server := probetest.Serve(t, probetest.Listen(t, netip.AddrPortFrom(addr, 0)), func(c net.Conn) { _, _ = io.Copy(c, c) })
	undo := filter{hook: nftables.ChainHookInput, addr: addr}.drop(t)
	sent := time.AfterFunc(1500*time.Millisecond, undo) // the third SYN passes
	defer sent.Stop()
	p := &probe.Prober{Experiments: allTrials}
	seen := false
	path := p.Run(t.Context(), []probe.Target{{Host: addr.String(), Port: server.Port()}}, func(r probe.Report) {
		seen = seen || len(r.Results[0].Paths[0].Experiments) == 1
	}).Results[0].Paths[0]
	step := path.Steps[0]
	if !path.OK() || time.Duration(step.Took) < 1500*time.Millisecond || step.TCP == nil || step.TCP.Retransmits == 0 {
		t.Errorf("path: %+v, %+v", path, step.TCP)
	}
	if !seen || path.Experiments != nil {
		t.Errorf("a datagram was sent: %v, and remembered: %v", seen, path.Experiments)
	}
}
