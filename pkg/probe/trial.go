package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// What one round spends on experiments with single addresses.
const (
	// maxTrials lets each handshake under way have its three, so that trials keep
	// pace with what stalls. They hardly cost CPU: most wait as their handshake does.
	maxTrials = 3 * maxHandshakes
	// maxTried and maxTriedOfTarget are addresses with trials of their handshake, of
	// the round and of one target. What stops more than that stops these too.
	maxTried         = 64
	maxTriedOfTarget = 2
	maxUDPTests      = 4 // of the round, and one of a target
	// trialConnect is time for a second SYN: the first connection was made, after all.
	trialConnect = 1200 * time.Millisecond
	// trialTLS is shorter than the handshake's own budget: a slow server still answers in
	// that, and then the trials do not count.
	trialTLS = 1500 * time.Millisecond
)

// trials are what a round knows of its experiments on single addresses. All but the
// queue is guarded by round.mu.
type trials struct {
	queue  queue[*trial]
	tried  map[*target]int // addresses with trials of their handshake
	total  int             // of all targets
	tested map[*target]bool
}

// A trial is an Experiment on the address of a path, under way. All but what it is made
// of is guarded by round.mu.
type trial struct {
	path *path
	kind Kind
	name string // of KindSecondSNI

	steps   []Step
	pending bool
	dropped bool               // nobody wants the result any more
	stop    context.CancelFunc // once begun
}

// lateHandshake starts trials once p's handshake, which begins now, is late and nothing
// came from the peer: by then the ClientHello was sent again. It costs nothing else.
func (r *round) lateHandshake(p *path) *time.Timer {
	begun, conn := len(p.steps), p.conn
	return time.AfterFunc(lateAfter, func() {
		if conn.received.Load() {
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(p.steps) == begun && p.pending {
			r.tryHandshakeLocked(p, true)
		}
	})
}

// settleLocked starts the trials that p's newest step calls for, and drops those that it
// has made pointless.
func (r *round) settleLocked(p *path, s Step, pending bool) {
	switch {
	case pending:
		// Cut short: nothing was learned.
	case s.Phase == PhaseTLS && s.Cause == TLSTimeout:
		r.tryHandshakeLocked(p, true)
	case s.Phase == PhaseTLS && (s.Cause == TLSReset || s.Cause == TLSClosed):
		r.tryHandshakeLocked(p, false)
	case s.Cause == "" || s.Phase == PhaseTLS:
		// The peer has answered, only late.
		for _, t := range p.trials {
			t.dropped = true
			if t.stop != nil {
				t.stop()
			}
		}
		p.trials = nil
	}
}

// tryHandshakeLocked starts those trials of p's handshake that are allowed and were not
// started. A clamp heals no connection that is cut.
func (r *round) tryHandshakeLocked(p *path, stalled bool) {
	t, e := p.target, r.experiments
	first := len(p.trials) == 0
	switch {
	case t.proxy != nil, p.reference, r.open == 0,
		first && (r.trials.total == maxTried || r.trials.tried[t] == maxTriedOfTarget):
		return
	}
	var wanted []*trial
	want := func(kind Kind, name string) {
		if !slices.ContainsFunc(p.trials, func(t *trial) bool { return t.kind == kind }) {
			wanted = append(wanted, &trial{path: p, kind: kind, name: name, pending: true})
		}
	}
	if e.MSSClamp && stalled {
		want(KindMSSClamp, "")
	}
	if e.SmallHello {
		want(KindSmallHello, "")
	}
	if e.SecondSNI {
		if name := r.otherNameLocked(t); name != "" {
			want(KindSecondSNI, name)
		}
	}
	if len(wanted) == 0 {
		return
	}
	if first {
		if r.trials.tried == nil {
			r.trials.tried = make(map[*target]int)
		}
		r.trials.total++
		r.trials.tried[t]++
	}
	r.tryLocked(wanted...)
}

// testUDPLocked sends a datagram to the address of p, whose connect is late.
func (r *round) testUDPLocked(p *path) {
	t := p.target
	if !r.experiments.UDPTest || p.reference || t.around || r.open == 0 || r.trials.tested[t] || len(r.trials.tested) == maxUDPTests {
		return
	}
	if r.trials.tested == nil {
		r.trials.tested = make(map[*target]bool)
	}
	r.trials.tested[t] = true
	r.tryLocked(&trial{path: p, kind: KindUDPTest, pending: true})
}

// tryLocked queues trials of one path.
func (r *round) tryLocked(wanted ...*trial) {
	for _, t := range wanted {
		t.path.trials = append(t.path.trials, t)
		r.open++
		r.trials.queue.add(t.path.target.index, t)
	}
	r.growLocked()
}

// otherNameLocked is the server name of another target, one that was answered if there
// is any, else one that answered before, else one that did not fail. Empty without any.
func (r *round) otherNameLocked(t *target) string {
	const failed, unknown, answered = 1, 2, 3
	best, name := 0, ""
	for _, other := range r.targets {
		if !other.TLS || strings.EqualFold(other.Host, t.Host) {
			continue
		}
		if _, err := netip.ParseAddr(other.Host); err == nil {
			continue // an address is not sent as a name (RFC 6066 section 3)
		}
		rank := unknown
		for _, p := range other.paths {
			for _, s := range p.steps {
				switch {
				case s.Phase == PhaseTLS && s.Cause == "":
					rank = answered
				case s.Cause != "":
					rank = min(rank, failed)
				}
			}
			if rank == answered {
				break
			}
		}
		if rank > best {
			best, name = rank, other.Host
		}
		if best == answered {
			return name
		}
	}
	for _, before := range r.experiments.Names {
		if !strings.EqualFold(before, t.Host) {
			return before
		}
	}
	return name
}

// try makes one trial.
func (r *round) try(ctx context.Context, t *trial) {
	defer r.end()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.mu.Lock()
	t.stop = cancel
	dropped := t.dropped
	r.mu.Unlock()
	if dropped || ctx.Err() != nil {
		return // it stays pending
	}
	s := Step{Phase: PhaseConnect}
	if t.kind == KindUDPTest {
		s.Phase = PhaseUDP
	}
	begin := time.Now()
	var conn *connection
	defer func() {
		conn.close()
		if v := recover(); v != nil {
			s.At, s.Took = r.since(begin), Duration(time.Since(begin))
			s.Cause, s.Err = Other, fmt.Sprint("panic: ", v)
			r.trialStep(t, s, true, false)
		}
	}()
	address := t.path.address.String()
	if t.kind == KindUDPTest {
		r.endTrialStep(ctx, t, s, begin, nil, sendNothing(ctx, address))
		return
	}
	conn, err := r.dialTrial(ctx, begin, t.kind, address)
	if !r.endTrialStep(ctx, t, s, begin, conn, err) {
		return
	}
	begin, s.Phase = time.Now(), PhaseTLS
	err = r.shakeTrial(ctx, begin, t, conn)
	s.TLS = r.tlsInfo(conn, err)
	if conn.answered(err) {
		err = nil
	}
	r.endTrialStep(ctx, t, s, begin, conn, err)
}

// endTrialStep records the step that began then and ended with err, and reports whether
// another one follows.
func (r *round) endTrialStep(ctx context.Context, t *trial, s Step, begin time.Time, conn *connection, err error) bool {
	s.At, s.Took = r.since(begin), Duration(time.Since(begin))
	pending := false
	if err != nil {
		s.Err = err.Error()
		s.Cause, s.Errno = Classify(err, s.Phase)
		s.Cause, pending = cut(ctx, s.Cause)
		if pending {
			s.Err = fmt.Sprintf("cut short: %v", ended(ctx))
		}
		s.TCP = conn.failed(s.Cause)
	}
	last := err != nil || s.Phase != PhaseConnect
	r.trialStep(t, s, last, pending)
	return !last
}

// trialStep appends a step to a trial; last says that none follows.
func (r *round) trialStep(t *trial, s Step, last, pending bool) {
	r.mu.Lock()
	t.steps = append(t.steps, s)
	t.pending = pending || !last
	if !t.dropped {
		r.growLocked()
	}
	r.mu.Unlock()
}

// dialTrial connects for a trial of the given kind.
func (r *round) dialTrial(ctx context.Context, begin time.Time, kind Kind, address string) (*connection, error) {
	dialer := net.Dialer{KeepAlive: -1}
	if kind == KindMSSClamp {
		dialer.Control = clamp
	}
	dialing, cancel := context.WithDeadline(ctx, begin.Add(min(r.timing.Connect, trialConnect)))
	defer cancel()
	conn, err := dialer.DialContext(dialing, "tcp", address)
	if err != nil {
		return nil, err
	}
	return newConnection(ctx, conn), nil
}

// shakeTrial does the handshake of a trial. Nothing is verified and nothing is sent
// after it: it is only asked whether the peer answers.
func (r *round) shakeTrial(ctx context.Context, begin time.Time, t *trial, conn *connection) error {
	var asked bool
	config := r.tlsConfig(t.path.target, &asked)
	config.InsecureSkipVerify = true
	switch t.kind {
	case KindSmallHello:
		// The first has a key share in the ClientHello, the others cost two bytes each: a
		// FIPS endpoint knows nothing but them.
		config.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384}
	case KindSecondSNI:
		config.ServerName = t.name
	case KindMSSClamp, KindUDPTest:
	}
	err := conn.SetDeadline(begin.Add(min(r.timing.TLS, trialTLS)))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	conn.tls = tls.Client(conn, config)
	return conn.tls.HandshakeContext(context.WithoutCancel(ctx))
}

// answered reports whether the peer said something that ended the handshake with err:
// an alert is as good an answer as a certificate.
func (c *connection) answered(err error) bool {
	if err == nil {
		return true
	}
	switch cause, _ := Classify(err, PhaseTLS); cause {
	case TLSTimeout, TLSReset, TLSClosed, Canceled:
		return false
	default:
		return c.received.Load()
	}
}

// sendNothing sends an empty datagram. Whether somebody receives it is not asked: a
// firewall of this machine refuses it to the sender.
func sendNothing(ctx context.Context, address string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", address)
	if err != nil {
		return err
	}
	_, err = conn.Write(nil)
	return errors.Join(err, conn.Close())
}

// experiments copies the trials of p in the order of their kinds. The round is locked.
func (p *path) experiments() (made []Experiment, pending bool) {
	for _, t := range p.trials {
		made = append(made, Experiment{Kind: t.kind, Name: t.name, Pending: t.pending, Steps: slices.Clone(t.steps)})
		pending = pending || t.pending
	}
	slices.SortFunc(made, func(a, b Experiment) int { return strings.Compare(string(a.Kind), string(b.Kind)) })
	return made, pending
}
