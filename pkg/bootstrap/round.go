package bootstrap

import (
	"context"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

const (
	startCap = 90 * time.Second
	grace    = 30 * time.Second // added to what systemd is told to expect

	// evidenceLasts is how long a passed target is not asked again while
	// others still fail.
	evidenceLasts = 2 * time.Minute

	tick       = time.Second // how often a wait looks around
	statusTick = 5           // ticks between two STATUS= lines
	// boot is the time in which a service may simply be late; retries stay quick.
	boot = 2 * time.Minute
	// earlyVerdict is when a round that is not over yet is judged for the first time.
	earlyVerdict = 250 * time.Millisecond
)

// round probes what is not known to pass, writes the files beside it, and
// judges. When early is set it returns as soon as the verdict passes, although
// slow addresses may still be under way; their results are collected after the
// start. Nothing else may probe until then.
func (r *run) round(ctx context.Context, early bool) {
	if ctx.Err() != nil {
		return
	}
	targets, canary := r.due(time.Now())
	if len(targets) == 0 {
		r.write()
	} else {
		if r.out.Stage == StageInput {
			r.turn(StageProbe) // published once it lasts
		}
		if r.measure(ctx, targets, early && !canary) {
			return
		}
		if canary && ctx.Err() == nil {
			// A server answers again: what was last seen of the other names is no
			// evidence against it.
			if rest, still := r.due(time.Now()); !still && r.measure(ctx, rest, early) {
				return
			}
		}
	}
	if ctx.Err() == nil || r.out.Round == 1 {
		r.judge(r.verdict(r.out.Report))
	}
}

// measure probes targets and reports whether it returned early.
func (r *run) measure(ctx context.Context, targets []probe.Target, early bool) bool {
	r.Extend(probe.RoundBudget(len(targets)) + grace)
	snapshots := make(chan probe.Report, 1)
	final := make(chan probed, 1)
	state, began := r.out.Network, time.Now()
	go func() {
		var p probed
		defer func() {
			p.panicked = recover()
			final <- p
		}()
		p.report = r.Probe(ctx, state, targets, r.experiments(), latest(snapshots))
	}()
	r.write()

	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	settled := time.NewTimer(earlyVerdict - time.Since(began))
	defer settled.Stop()
	var newest *probe.Report // before the first moments are over
	first := true
	for {
		var snapshot probe.Report
		select {
		case p := <-final:
			// What was cut short says less than what was known before.
			if ctx.Err() == nil || r.out.Round == 1 {
				r.take(p)
			}
			return false
		case now := <-ticker.C:
			r.Status(StatusLine(r.out, now))
			continue
		case snapshot = <-snapshots:
			if first {
				newest = &snapshot
				continue
			}
		case <-settled.C:
			first = false
			r.publish()
			if newest == nil {
				continue
			}
			snapshot = *newest
		}
		report := merged(r.out.Report, snapshot)
		switch v := r.verdict(report); {
		case v.Pass && early:
			r.out.Report, r.late = report, final
			r.judge(v)
			return true
		case r.out.Round == 1 && time.Since(began) < roundOver:
			// Shown while there is nothing better; a later round shows what it found
			// once it is over, lest causes come and go.
			r.out.Verdict = v
		}
	}
}

// probed is how a round's probing ended; a panic in it becomes one of the run.
type probed struct {
	report   probe.Report
	panicked any
}

// take merges what was probed.
func (r *run) take(p probed) {
	if p.panicked != nil {
		panic(p.panicked)
	}
	r.merge(p.report)
}

// latest returns a progress function that keeps only the newest snapshot of a
// round.
func latest(snapshots chan probe.Report) func(probe.Report) {
	return func(s probe.Report) {
		select {
		case <-snapshots:
		default:
		}
		snapshots <- s
	}
}

// verdict judges a report together with the problems of the input.
func (r *run) verdict(report probe.Report) Verdict {
	v := Judge(r.out.Plan, report, r.out.Network, r.out.History, time.Now())
	if r.instance == nil {
		v.Pass = false
	}
	v = explainByInput(joinVerdicts(Reject(r.problems), v))
	if r.writeErr != nil {
		v = joinVerdicts(unwritable(r.writeErr), v)
	}
	return v
}

// judge records the verdict of a round.
func (r *run) judge(v Verdict) {
	r.out.Verdict, r.out.Exit = v, v.ExitCode()
	r.out.History = r.out.History.add(v, time.Now())
}

// alreadyOpen reports whether the gate is open, by hand or by an earlier run of
// this boot, and the kubelet has its files or will not get any from this run.
func (r *run) alreadyOpen(scripts ScriptState) bool {
	g, err := r.Host.GateState()
	switch {
	case err != nil || r.opt.NoStart:
		return false
	case !g.Open:
		r.out.Gate = Gate{}
		return false
	case !r.out.Gate.Open:
		g.At = time.Now()
		r.out.Gate = g
	}
	if fatalInput(r.problems) {
		return !scripts.Pending
	}
	return r.instance != nil && r.writeErr == nil
}

// openGate opens the gate and reports whether it is open. A gate that cannot be
// opened is a finding, and is tried again in the next round.
func (r *run) openGate() bool {
	err := r.Host.OpenGate()
	if err == nil {
		r.out.Gate = Gate{Open: true, By: GateNodeprep, At: time.Now()}
		return true
	}
	if r.late != nil {
		r.take(<-r.late)
		r.late = nil
	}
	r.judge(joinVerdicts(unwritable(err), r.verdict(r.out.Report)))
	return false
}

// gaveUp reports whether the policy's time is over.
func (r *run) gaveUp() bool {
	limit := time.Duration(r.out.Plan.Policy.GiveUpAfter)
	return limit > 0 && time.Since(r.out.Started) >= limit
}

// during runs f beside a ticking status line. A panic in f becomes one of the
// run, which records it.
func (r *run) during(ctx context.Context, f func(context.Context), line func(waited time.Duration) string) {
	done := make(chan any, 1)
	began := time.Now()
	go func() {
		defer func() { done <- recover() }()
		f(ctx)
	}()
	ticker := time.NewTicker(statusTick * tick)
	defer ticker.Stop()
	for {
		select {
		case p := <-done:
			if p != nil {
				panic(p)
			}
			return
		case now := <-ticker.C:
			r.Status(line(now.Sub(began)))
		}
	}
}
