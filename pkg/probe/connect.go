package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// resent is how long a connect takes at least that needed a second SYN: the first one
// is repeated after 1 s (RFC 6298 section 2.1), and kernels round.
const resent = 900 * time.Millisecond

// A connection is the open connection of a path.
type connection struct {
	net.Conn          // TCP
	tcp      net.Conn // the same, whatever is put between
	stop     func() bool
	tls      *tls.Conn // once shaken
	// system says that tls verifies against the roots of this machine.
	system bool
	// received says that something came.
	received atomic.Bool

	// head is the start of what the peer sent, whatever it was.
	head    [64]byte
	headLen int
}

func newConnection(ctx context.Context, conn net.Conn) *connection {
	return &connection{Conn: conn, tcp: conn, stop: interrupt(ctx, conn)}
}

// Read keeps the first bytes for the case that they are not TLS.
func (c *connection) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.received.Load() {
		c.received.Store(true)
	}
	if c.headLen < len(c.head) {
		c.headLen += copy(c.head[c.headLen:], b[:n])
	}
	return n, err
}

// firstBytes is head for people to read.
func (c *connection) firstBytes() string {
	return string(bytes.Map(func(b rune) rune {
		if b < ' ' || b > '~' {
			return '.'
		}
		return b
	}, c.head[:c.headLen]))
}

// close ends the connection as its peer expects: with a close_notify, where
// there is TLS, and a FIN.
func (c *connection) close() {
	if c == nil {
		return
	}
	c.stop()
	if c.tls != nil {
		// Fails when the peer is gone or its last step took too long: nobody to tell.
		_ = c.tls.CloseWrite()
	}
	_ = c.Close()
}

// failed is what the kernel knows of a connection on which a step failed, nil for none.
// A stalled one ends without ceremony: the kernel would go on sending for minutes what
// nobody acknowledges.
func (c *connection) failed(cause Cause) *TCPInfo {
	if c == nil {
		return nil
	}
	info := tcpInfo(c.tcp)
	if tcp, ok := c.tcp.(*net.TCPConn); ok && cause == TLSTimeout {
		_ = tcp.SetLinger(0) // fails when it is closed, and then it has ended
	}
	return info
}

// dial connects to the address of p and passes it on.
func (r *round) dial(ctx context.Context, p *path) {
	begin := time.Now()
	defer func() { r.recovered(p, PhaseConnect, begin, recover()) }()
	if ctx.Err() != nil {
		r.abandon(ctx, p, PhaseConnect)
		return
	}
	watch := r.watch(p)
	defer watch.Stop()
	dialing, cancel := context.WithDeadline(ctx, begin.Add(r.timing.Connect))
	// Probes are short; without keep-alive there are four system calls less.
	conn, err := (&net.Dialer{KeepAlive: -1}).DialContext(dialing, "tcp", p.address.String())
	cancel()
	s := Step{Phase: PhaseConnect, At: r.since(begin), Took: Duration(time.Since(begin))}
	if err != nil {
		r.fail(ctx, p, s, err)
		return
	}
	if time.Duration(s.Took) >= resent {
		s.TCP = tcpInfo(conn)
	}
	p.conn = newConnection(ctx, conn)
	r.pass(p, s)
}

// fail records s as failed with err and ends the path.
func (r *round) fail(ctx context.Context, p *path, s Step, err error) {
	var pending bool
	s.Err = err.Error()
	s.Cause, s.Errno = Classify(err, s.Phase)
	s.Cause, pending = cut(ctx, s.Cause)
	s.TCP = p.conn.failed(s.Cause)
	if pending {
		s.Err = fmt.Sprintf("cut short: %v", ended(ctx))
	}
	r.step(p, s, true, pending)
	r.endPath(p)
}

// abandon ends a path before a phase that ctx let not begin. A canceled path
// says so in a step, lest its earlier steps be all that is seen.
func (r *round) abandon(ctx context.Context, p *path, phase Phase) {
	if !roundOver(ctx) {
		r.step(p, Step{Phase: phase, At: r.since(time.Now()), Cause: Canceled, Err: ended(ctx).Error()}, true, true)
	}
	r.endPath(p)
}

// recovered makes a panic with v the result of one path.
func (r *round) recovered(p *path, phase Phase, begin time.Time, v any) {
	if v == nil {
		return
	}
	r.step(p, Step{
		Phase: phase, At: r.since(begin), Took: Duration(time.Since(begin)),
		Cause: Other, Err: fmt.Sprint("panic: ", v),
	}, true, false)
	r.endPath(p)
}

func (r *round) endPath(p *path) {
	p.conn.close()
	p.conn = nil
	r.end()
}
