package probe

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// What one round may have under way at the same time. Probing must neither
// flood the network nor grow with the number of targets.
const (
	maxConnects   = 256 // pending connects
	maxHandshakes = 16  // TLS handshakes; they cost CPU
	maxRequests   = 64  // connections with an HTTP exchange
	maxQuestions  = 128 // DNS questions per server, so that a dead one delays no other
	// maxUnshaken holds further connects while so many connections wait for
	// their handshake: a server may close one that says nothing for long.
	maxUnshaken = 64
)

// targetsPerRound is the number of targets that Timing.Round is meant for.
const targetsPerRound = 64

// A Timing is the budget of each step. The zero value of a field means its
// default. Waiting for a slot counts against the round, never against a step.
type Timing struct {
	// DNSSends are the times of the UDP packets of one question, counted from
	// the first: 0, 0.25, 0.75 and 1.75 s.
	DNSSends []time.Duration
	// DNS is when a question is given up: 3 s.
	DNS time.Duration
	// DNSTCP is the further budget of the repetition over TCP: 1.5 s.
	DNSTCP time.Duration
	// Connect is the budget of one TCP connect: 3.2 s, time for three SYNs of
	// any kernel and for the EHOSTUNREACH of an address that answers no ARP.
	Connect time.Duration
	// TLS is the budget of one handshake: 3 s. Busy servers take that long, and the
	// kubelet waits 10 s for them.
	TLS time.Duration
	// HTTP is the budget of one request and its answer: 2 s.
	HTTP time.Duration
	// Progress is the least time between two calls of progress: 50 ms. Each
	// call costs a copy of what is known.
	Progress time.Duration
	// Round is the budget of a whole round of up to 64 targets: 6 s. Every
	// further 64 targets begun add as much.
	Round time.Duration
}

func (t Timing) withDefaults() Timing {
	if len(t.DNSSends) == 0 {
		t.DNSSends = []time.Duration{0, 250 * time.Millisecond, 750 * time.Millisecond, 1750 * time.Millisecond}
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.DNS, 3 * time.Second},
		{&t.DNSTCP, 1500 * time.Millisecond},
		{&t.Connect, 3200 * time.Millisecond},
		{&t.TLS, 3 * time.Second},
		{&t.HTTP, 2 * time.Second},
		{&t.Progress, 50 * time.Millisecond},
		{&t.Round, 6 * time.Second},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return t
}

// RoundBudget is the time that a round of n targets may take by default: 6 s for
// up to 64, and as much for each further 64 begun.
func RoundBudget(n int) time.Duration { return Timing{}.withDefaults().round(n) }

// round is the budget for n targets.
func (t Timing) round(n int) time.Duration {
	return t.Round * time.Duration(max(1, (n+targetsPerRound-1)/targetsPerRound))
}

// A Prober measures whether targets can be reached. Its fields must not change
// while Run runs; Run may be called from several goroutines. A Prober must not
// be copied after its first use.
type Prober struct {
	// Servers are the DNS servers with their port, usually 53; each is asked for
	// every name, one that is listed twice once. Without any, only address
	// literals can be reached and the other results are empty.
	Servers []netip.AddrPort
	// IPv6 asks for AAAA records beside A.
	IPv6 bool
	// Roots are the roots for targets that carry none of their own; nil means
	// the system's, which are read when the first target needs them.
	Roots *x509.CertPool
	// Timing holds the budgets.
	Timing Timing
	// Experiments are what a round may measure beside the targets.
	Experiments Experiments

	linkLocal bucket // shared by all rounds
}

// errRoundOver ends the steps of a round that took its whole budget.
var errRoundOver = fmt.Errorf("the round is over: %w", context.DeadlineExceeded)

// Run probes the targets once, everything at the same time, and returns when
// every step has ended: after 6 s at the latest for up to 64 targets, or when
// ctx ends. Results come in the order of targets; where something must wait,
// earlier targets go first.
//
// A step that the end of the round cut short is a timeout whose Took says how
// long was waited; one that the end of ctx cut short, or kept from beginning,
// is Canceled. Either way its result stays Pending.
//
// While it runs, progress, unless nil, is called from one goroutine with what is
// known so far, whenever that grew but at most every Timing.Progress, and never after Run
// returned. Each Report is a snapshot that later ones do not change; its slices of
// results, lookups, paths, experiments and steps belong to the receiver, what is below them
// is shared and must not be modified.
func (p *Prober) Run(ctx context.Context, targets []Target, progress func(Report)) Report {
	timing := p.Timing.withDefaults()
	started := time.Now()
	ctx, cancel := context.WithDeadlineCause(ctx, started.Add(timing.round(len(targets))), errRoundOver)
	defer cancel()
	r := newRound(ctx, p, timing, started, targets)

	var reporter sync.WaitGroup
	finished := make(chan struct{})
	if progress != nil {
		reporter.Go(func() { r.report(progress, finished) })
	}
	r.begin(ctx)
	r.wait(ctx)
	close(finished)
	reporter.Wait()
	report := r.snapshot()
	report.Ended = ctx.Err() == nil || roundOver(ctx)
	return report
}

// ended is the reason that steps are cut short, for their Err.
func ended(ctx context.Context) error {
	if roundOver(ctx) {
		return errRoundOver
	}
	return ctx.Err()
}

// roundOver reports whether ctx ended because the round took its budget.
func roundOver(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errRoundOver) }

// cut corrects the cause of a step that the end of ctx may have cut short, and
// reports whether it did. An answer that came in time stays one.
func cut(ctx context.Context, cause Cause) (Cause, bool) {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		<-ctx.Done() // a socket's timer may be a moment ahead of the context's
	}
	if ctx.Err() == nil {
		return cause, false
	}
	switch cause {
	case DNSTimeout, TCPTimeout, TLSTimeout, HTTPTimeout, Canceled:
	default:
		return cause, false
	}
	if roundOver(ctx) {
		return cause, true
	}
	return Canceled, true
}
