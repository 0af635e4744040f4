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
	// earlyVerdict is when a round that is not over yet is judged for the first time. The
	// first round shows what it finds for as long again.
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
	early = early && !r.dnsBlocked // a repair of DNS has to be seen by the stub, too
	r.askClock(ctx)
	if len(r.out.Report.Results) > 0 && !r.out.Verdict.Pass && r.opt.Watch == 0 && r.verdict(r.out.Report).Pass {
		r.write() // by a hold that is over, a waiver, a mode: nothing has to be measured for that
	} else if r.ask(ctx, early) {
		return
	}
	r.flush(ctx)
	v := r.verdict(r.out.Report)
	if old := r.outdated(time.Now()); v.Pass && len(old) > 0 && ctx.Err() == nil && r.out.Plan.Policy.Mode != ModeObserve {
		// What passed too long ago opens no gate.
		if r.measure(ctx, old, r.allExperiments(), early) {
			return
		}
		v = r.verdict(r.out.Report)
	}
	if ctx.Err() != nil && r.out.Round > 1 {
		return
	}
	looked := r.look(ctx, r.out.Report)
	if told := r.takeClock(!v.Pass || r.opt.Once); looked || told {
		v = r.verdict(r.out.Report)
	}
	r.judge(v)
}

// ask measures what is due and reports whether it returned early.
func (r *run) ask(ctx context.Context, early bool) bool {
	targets, few := r.due(time.Now())
	if len(targets) == 0 {
		r.write()
		return false
	}
	if r.out.Stage == StageInput {
		r.turn(StageProbe) // published once it lasts
	}
	if !few {
		r.full = time.Now()
		return r.measure(ctx, targets, r.allExperiments(), early)
	}
	before, e := r.out.Report, r.bareExperiments()
	if one, ok := r.renewal(targets); ok {
		targets, e = one, r.allExperiments()
	}
	r.measure(ctx, targets, e, false)
	if ctx.Err() != nil || !r.changed(before, targets) {
		return false
	}
	// What was last seen of the others is no evidence against them any more.
	r.full = time.Now()
	return r.measure(ctx, r.open(r.full), r.allExperiments(), early)
}

// measure probes targets and reports whether it returned early.
func (r *run) measure(ctx context.Context, targets []probe.Target, e probe.Experiments, early bool) bool {
	r.Extend(probe.RoundBudget(len(targets)) + grace)
	snapshots := make(chan probe.Report, 1)
	final := make(chan probed, 1)
	state, began := r.out.Network, time.Now()
	go func() {
		p := probed{experiments: e}
		defer func() {
			p.panicked = recover()
			final <- p
		}()
		p.report = r.Probe(ctx, state, targets, e, latest(snapshots))
	}()
	r.write()
	if early && r.out.Plan.Policy.Mode == ModeObserve && r.openedEarly(final, r.out.Report) {
		return true // nothing that is measured holds the kubelet
	}

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
		report := merged(r.out.Report, meanwhile(r.out.Report, snapshot))
		if early && r.openedEarly(final, report) {
			return true
		}
		if r.out.Round == 1 && time.Since(began) < 2*earlyVerdict {
			// Shown while there is nothing better; a later round shows what it found
			// once it is over, lest causes come and go.
			r.look(ctx, report)
			r.out.Verdict = r.verdict(report)
		}
	}
}

// openedEarly judges a round that goes on, and reports whether that is enough.
func (r *run) openedEarly(final chan probed, report probe.Report) bool {
	v := r.verdict(report)
	if v.Pass {
		r.out.Report, r.late = report, final
		r.judge(v)
	}
	return v.Pass
}

// probed is how a round's probing ended; a panic in it becomes one of the run.
type probed struct {
	report      probe.Report
	experiments probe.Experiments // that it was allowed to make
	panicked    any
}

// take merges what was probed.
func (r *run) take(p probed) {
	if p.panicked != nil {
		panic(p.panicked)
	}
	now := time.Now()
	if bare(p.experiments) {
		p.report = carried(r.out.Report, p.report)
	} else {
		r.noteExperiments(p.report, now)
	}
	r.noteRound(p, now)
	r.merge(p.report)
	r.out.Report.Clock = r.readings(now)
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
	now := time.Now()
	v := Judge(r.out.Plan, report, r.out.Network, r.out.History, now)
	if r.instance == nil {
		v.Pass = false
	}
	v = explainByInput(joinVerdicts(r.out.Plan.Policy.waived(Reject(r.problems), now), v))
	if r.writeErr != nil {
		v = joinVerdicts(unwritable(r.writeErr), v)
	}
	sortFindings(v.Findings)
	sortFindings(v.Waived)
	return v
}

// judge records the verdict of a round.
func (r *run) judge(v Verdict) {
	now := time.Now()
	if sameCauses(r.out.Verdict, v) {
		r.same++
	} else {
		r.same = 0
	}
	r.dnsBlocked = blockedByDNS(v)
	r.out.Verdict, r.out.Exit = v, v.ExitCode()
	failing := newView(r.out.Plan, r.out.Report, r.out.Network, r.out.History, now).unpassed(v)
	r.out.History = r.out.History.add(v, now).targets(failing, v.Pending, r.out.Report.Started, now)
}
