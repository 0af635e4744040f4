package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

const (
	// fallback is how long net.Dialer waits for the first family before it tries
	// the other beside it (RFC 8305, RFC 6555).
	fallback = 300 * time.Millisecond
	// patience is the least time that net.Dialer gives an address that is not the last.
	patience = 2 * time.Second
)

// A system is the machine's own way to a target, under way.
type system struct {
	System
	ended   bool
	pending bool // it was cut short
}

// result copies what is known, nil before the end. The round is locked.
func (s *system) result() *System {
	if !s.ended {
		return nil
	}
	known := s.System
	known.Addresses, known.Unanswered = slices.Clone(known.Addresses), slices.Clone(known.Unanswered)
	if known.Path != nil {
		path := *known.Path
		path.Steps = slices.Clone(path.Steps)
		known.Path = &path
	}
	return &known
}

// lookSystem resolves the host of t as the Go programs of this machine do, the kubelet
// among them, and connects to it unless that is the proxy's part.
func (r *round) lookSystem(ctx context.Context, t *target) {
	begin := time.Now()
	var s system
	defer func() {
		if v := recover(); v != nil {
			s.Cause, s.Err = Other, fmt.Sprint("panic: ", v)
		}
		s.ended = true
		r.mu.Lock()
		*t.system = s
		r.growLocked()
		r.mu.Unlock()
		r.end()
	}()
	heard := dialogue{name: dns.Fqdn(t.Host), admit: r.admit}
	resolver := &net.Resolver{PreferGo: true, Dial: heard.dial}
	addrs, err := resolver.LookupNetIP(ctx, "ip", t.Host)
	s.Took = Duration(time.Since(begin))
	if err != nil {
		s.Err = err.Error()
		s.Cause, s.pending = cut(ctx, heard.cause(err))
		s.Unanswered = heard.unanswered()
		return
	}
	for _, a := range addrs {
		s.Addresses = append(s.Addresses, a.Unmap())
	}
	if t.Proxy == "" && len(s.Addresses) > 0 {
		s.Path, s.pending = r.dialSystem(ctx, s.Addresses, t.Port)
	}
}

// dialSystem connects as net.Dialer does: the addresses of the first one's family in
// order, and after 300 ms or their failure those of the other.
func (r *round) dialSystem(ctx context.Context, addrs []netip.Addr, port uint16) (*Path, bool) {
	var families [2][]netip.Addr
	for _, a := range addrs {
		family := 0
		if a.Is4() != addrs[0].Is4() {
			family = 1
		}
		families[family] = append(families[family], a)
	}
	racing, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan familyPath, len(families))
	dial := func(family int) { results <- familyPath{family, r.dialSerial(racing, families[family], port)} }
	go dial(0)
	open := 1
	wait := time.NewTimer(fallback)
	defer wait.Stop()
	second := wait.C
	if len(families[1]) == 0 {
		second = nil
	}
	var failed *Path
	for {
		select {
		case <-second:
		case p := <-results:
			open--
			if p.OK() {
				cancel()
				for ; open > 0; open-- {
					<-results
				}
				return p.Path, false
			}
			if p.family == 0 {
				failed = p.Path // which is what programs report
			}
		}
		if second != nil {
			second = nil
			open++
			go dial(1)
		}
		if open == 0 {
			return failed, failed.Pending
		}
	}
}

// A familyPath is the connect to the addresses of one family.
type familyPath struct {
	family int // 0 is that of the first address
	*Path
}

// dialSerial tries the addresses one after another, each for its share of the time.
func (r *round) dialSerial(ctx context.Context, addrs []netip.Addr, port uint16) *Path {
	var p *Path
	for i, addr := range addrs {
		begin := time.Now()
		dialing, cancel := ctx, context.CancelFunc(func() {})
		if deadline, ok := ctx.Deadline(); ok && i < len(addrs)-1 {
			share := max(time.Until(deadline)/time.Duration(len(addrs)-i), patience)
			dialing, cancel = context.WithTimeout(ctx, share)
		}
		address := netip.AddrPortFrom(addr, port)
		conn, err := (&net.Dialer{KeepAlive: -1}).DialContext(dialing, "tcp", address.String())
		cancel()
		s := Step{Phase: PhaseConnect, At: r.since(begin), Took: Duration(time.Since(begin))}
		p = &Path{Address: address}
		if err == nil {
			_ = conn.Close()
			p.Steps = []Step{s}
			return p
		}
		s.Err = err.Error()
		s.Cause, s.Errno = Classify(err, PhaseConnect)
		s.Cause, p.Pending = cut(ctx, s.Cause)
		p.Steps = []Step{s}
		if ctx.Err() != nil {
			break
		}
	}
	return p
}

// A dialogue is what a net.Resolver hears about one name from DNS servers: its errors
// keep neither the response code nor the kernel's error.
type dialogue struct {
	name string // fully qualified
	// admit waits until a packet may be sent, to a link-local server or another.
	admit func(ctx context.Context, limited bool) (time.Time, error)

	mu     sync.Mutex
	rcode  int             // of the last answer
	heard  bool            // there was one
	types  map[uint16]bool // of the questions that were answered
	socket error           // the kernel's last
}

// dial connects to a DNS server for a net.Resolver.
func (d *dialogue) dial(ctx context.Context, network, address string) (net.Conn, error) {
	// One socket is one packet: net.Resolver makes a new one for each try.
	if server, err := netip.ParseAddrPort(address); err == nil {
		if _, err := d.admit(ctx, linkLocal(server.Addr())); err != nil {
			return nil, err
		}
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		d.failed(err)
		return nil, err
	}
	// A net.Resolver itself waits for an answer longer than ctx lasts.
	stop := interrupt(ctx, conn)
	if udp, ok := conn.(*net.UDPConn); ok {
		return &overheardUDP{udp, d, stop}, nil // net.Resolver asks whether it is a net.PacketConn
	}
	return &interrupted{conn, stop}, nil
}

// failed notes an error of the kernel.
func (d *dialogue) failed(err error) {
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		d.mu.Lock()
		d.socket = err
		d.mu.Unlock()
	}
}

// answered notes the code of an answer for the name itself; those for the name in a
// search domain say less.
func (d *dialogue) answered(msg []byte) {
	var m dns.Msg
	if m.Unpack(msg) != nil || len(m.Question) != 1 || !strings.EqualFold(m.Question[0].Name, d.name) {
		return
	}
	d.mu.Lock()
	d.rcode, d.heard = m.Rcode, true
	if d.types == nil {
		d.types = map[uint16]bool{}
	}
	d.types[m.Question[0].Qtype] = true
	d.mu.Unlock()
}

// unanswered are the types without an answer, where the other has one. A net.Resolver
// asks for both, whatever addresses the machine has.
func (d *dialogue) unanswered() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.heard {
		return nil
	}
	var out []string
	for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
		if !d.types[t] {
			out = append(out, dns.TypeToString[t])
		}
	}
	return out
}

// cause is what the error of the lookup means.
func (d *dialogue) cause(err error) Cause {
	d.mu.Lock()
	defer d.mu.Unlock()
	lookup, ok := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(err, context.Canceled):
		return Canceled
	case !ok:
		return Other
	case lookup.IsNotFound && d.heard && d.rcode == dns.RcodeSuccess:
		return DNSNoData
	case lookup.IsNotFound:
		return DNSNXDomain
	case lookup.IsTimeout:
		return DNSTimeout
	case d.heard && d.rcode == dns.RcodeRefused:
		return DNSRefused
	case d.heard && d.rcode == dns.RcodeServerFailure:
		return DNSServFail
	case d.heard && d.rcode != dns.RcodeSuccess:
		return DNSOtherRCode
	case d.socket != nil:
		cause, _ := Classify(d.socket, PhaseResolve)
		return cause
	default:
		return DNSMalformed
	}
}

// interrupted is a connection on which nobody waits longer than its context lasts.
type interrupted struct {
	net.Conn
	stop func() bool
}

// Close closes the connection.
func (c *interrupted) Close() error {
	c.stop()
	return c.Conn.Close()
}

// overheardUDP is the same for UDP, and tells the dialogue what comes.
type overheardUDP struct {
	*net.UDPConn
	dialogue *dialogue
	stop     func() bool
}

// Read reads one datagram.
func (c *overheardUDP) Read(b []byte) (int, error) {
	n, err := c.UDPConn.Read(b)
	if err != nil {
		c.dialogue.failed(err)
	} else {
		c.dialogue.answered(b[:n])
	}
	return n, err
}

// Close closes the connection.
func (c *overheardUDP) Close() error {
	c.stop()
	return c.UDPConn.Close()
}
