package probe

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// A host is one name and what the servers said about it. Targets with the same
// name share it, so that each question is put to each server once.
type host struct {
	name    string // fully qualified
	index   int    // of the first target, for the order in queues
	targets []*target
	// lookups has one slot per server and type, in the order of the report.
	lookups []lookupSlot
	// compare says that the references may be asked; compared has one slot for each of
	// them and type, once they are.
	compare  bool
	compared []lookupSlot
}

type lookupSlot struct {
	Lookup
	ended   bool // the lookup may be shown
	pending bool // it did not end by itself
}

// A question is one slot of a host.
type question struct {
	host *host
	slot int
	// limited says that the server is link-local and its packets are counted.
	limited bool
	// reference says that the slot is one of compared.
	reference bool
}

// at is the question's slot.
func (q question) at() *lookupSlot {
	if q.reference {
		return &q.host.compared[q.slot]
	}
	return &q.host.lookups[q.slot]
}

// datagrams recycles receive buffers. Servers were told 1232 bytes; the rest is
// room for those who do not listen.
var datagrams = sync.Pool{New: func() any { return new([2048]byte) }}

// resolve puts one question to one server.
func (r *round) resolve(ctx context.Context, q question) {
	slot := q.at()
	// The slot is read under the lock by others, so the lookup is made beside it.
	l := Lookup{Server: slot.Server, Type: slot.Type}
	pending := true
	defer func() {
		if v := recover(); v != nil {
			l.Cause, l.Err, l.Addresses = Other, fmt.Sprint("panic: ", v), nil
			pending = false
		}
		r.endLookup(q, l, pending)
	}()

	begin, err := r.admit(ctx, q.limited)
	if err != nil {
		// A question that was never put says nothing about the server.
		l.At = r.since(time.Now())
		if !roundOver(ctx) {
			l.Cause, l.Err = Canceled, err.Error()
		}
		return
	}
	l.At = r.since(begin)
	err = r.ask(ctx, q, &l, begin)
	l.Took = Duration(time.Since(begin))
	pending = false
	if err == nil {
		return
	}
	l.Err = err.Error()
	if l.Cause == "" {
		l.Cause, l.Errno = Classify(err, PhaseResolve)
	}
	l.Cause, pending = cut(ctx, l.Cause)
}

// endLookup records an ended lookup and starts the paths to new addresses.
func (r *round) endLookup(q question, l Lookup, pending bool) {
	r.mu.Lock()
	*q.at() = lookupSlot{
		Lookup: l, pending: pending,
		// One that never began says nothing, unless that it was canceled.
		ended: !pending || l.Sent > 0 || l.Cause != "",
	}
	if q.reference {
		r.comparedLocked(q.host, l.Addresses)
	} else {
		for _, t := range q.host.targets {
			for _, addr := range l.Addresses {
				r.followLocked(t, addr)
			}
		}
		if !pending {
			r.answeredLocked(q.host)
		}
	}
	r.growLocked()
	r.mu.Unlock()
	r.end()
}

// admit waits until a packet may be sent and returns the time.
func (r *round) admit(ctx context.Context, limited bool) (time.Time, error) {
	now := time.Now()
	if err := ctx.Err(); err != nil || !limited {
		return now, err
	}
	at := r.linkLocal.reserve(now)
	if at.Equal(now) {
		return now, nil
	}
	wait := time.NewTimer(at.Sub(now))
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return now, ended(ctx)
	case <-wait.C:
		return time.Now(), nil
	}
}

// ask sends and resends the question over a socket of its own: connected, so
// that an ICMP port unreachable is an error at once and not a silence.
func (r *round) ask(ctx context.Context, q question, l *Lookup, begin time.Time) error {
	qtype := dns.StringToType[l.Type]
	query, err := packQuestion(q.host.name, qtype, true)
	if err != nil {
		l.Cause = Other
		return fmt.Errorf("pack the question: %w", err)
	}
	id := uint16(rand.Uint32())
	binary.BigEndian.PutUint16(query, id)

	conn, err := new(net.Dialer).DialContext(ctx, "udp", l.Server.String())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer interrupt(ctx, conn)()

	buf, _ := datagrams.Get().(*[2048]byte)
	defer datagrams.Put(buf)

	giveUp := begin.Add(r.timing.DNS)
	sendAt := begin
	edns := true
	var stray error // the last datagram that was no answer
	for {
		// A resend may have to wait for the link-local budget; meanwhile we listen.
		if now := time.Now(); !sendAt.IsZero() && !now.Before(sendAt) {
			if sendAt.After(begin) {
				r.lateLookup(q)
			}
			if _, err := conn.Write(query); err != nil {
				return err
			}
			l.Sent++
			sendAt = r.nextSend(q, l.Sent, begin)
		}
		until := giveUp
		if !sendAt.IsZero() && sendAt.Before(until) {
			until = sendAt
		}
		if err := conn.SetReadDeadline(until); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ended(ctx)
		}
		n, err := conn.Read(buf[:])
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ended(ctx)
		case !timedOut(err):
			return err
		case time.Now().Before(giveUp):
			continue
		case stray != nil:
			l.Cause = DNSMalformed
			return stray
		default:
			return err
		}
		a, err := parseAnswer(buf[:n], id, q.host.name, qtype)
		switch {
		case err != nil:
			stray = err
		case a.truncated:
			return r.askTCP(ctx, q, l, query, id, qtype)
		case a.rcode == dns.RcodeFormatError && edns:
			// Servers older than EDNS take the OPT record for a format error (RFC 6891 section 7).
			edns = false
			if query, err = packQuestion(q.host.name, qtype, false); err != nil {
				return err
			}
			id = uint16(rand.Uint32())
			binary.BigEndian.PutUint16(query, id)
			sendAt = begin
		default:
			a.fill(l)
			return nil
		}
	}
}

// nextSend is when the packet after the first sent ones is due, zero when none is.
func (r *round) nextSend(q question, sent int, begin time.Time) time.Time {
	if sent >= len(r.timing.DNSSends) {
		return time.Time{}
	}
	at := begin.Add(r.timing.DNSSends[sent])
	if q.limited {
		at = r.linkLocal.reserve(at)
	}
	return at
}

// askTCP repeats the question over TCP after a truncated answer.
func (r *round) askTCP(ctx context.Context, q question, l *Lookup, query []byte, id, qtype uint16) error {
	// Until an answer came over TCP, every failure is "truncated, and TCP failed".
	l.Cause = DNSNoTCP
	fail := func(err error) error {
		_, l.Errno = Classify(err, PhaseResolve)
		if ctx.Err() != nil {
			l.Cause = DNSTimeout // for cut to judge: TCP did not have its time
		}
		return fmt.Errorf("truncated answer over UDP, then over TCP: %w", err)
	}
	deadline := time.Now().Add(r.timing.DNSTCP)
	dialing, cancel := context.WithDeadline(ctx, deadline)
	conn, err := new(net.Dialer).DialContext(dialing, "tcp", l.Server.String())
	cancel()
	if err != nil {
		return fail(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(deadline); err != nil {
		return fail(err)
	}
	defer interrupt(ctx, conn)()

	// One write for length and message: some servers want them in one segment.
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(query)), uint16(len(query)))
	if _, err := conn.Write(append(framed, query...)); err != nil {
		return fail(err)
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return fail(err)
	}
	msg := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, msg); err != nil {
		return fail(err)
	}
	a, err := parseAnswer(msg, id, q.host.name, qtype)
	if err == nil && a.truncated {
		err = fmt.Errorf("%w: truncated over TCP", errNotAnswer)
	}
	if err != nil {
		l.Cause = DNSMalformed
		return err
	}
	l.Cause = ""
	a.fill(l)
	return nil
}

// interrupt makes everything that waits on conn return when ctx ends. The
// function it returns takes that back.
func interrupt(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		// The only error is that the connection is closed, and then nothing waits.
		_ = conn.SetDeadline(time.Unix(1, 0))
	})
}

// questions lists what to ask about name: each server in turn, A before AAAA.
func questions(servers []netip.AddrPort, ipv6 bool) []lookupSlot {
	var slots []lookupSlot
	for _, s := range servers {
		slots = append(slots, lookupSlot{Lookup: Lookup{Server: s, Type: "A"}})
		if ipv6 {
			slots = append(slots, lookupSlot{Lookup: Lookup{Server: s, Type: "AAAA"}})
		}
	}
	return slots
}
