package bootstrap

import (
	"context"
	"slices"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

const (
	roundCap = 6 * time.Second // a round of up to 64 targets
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

	exitInput       = 10
	exitGaveUp      = 75
	exitInterrupted = 143
)

// round probes what is not known to pass, writes the files beside it, and
// judges. It returns as soon as the verdict passes, although slow addresses may
// still be under way; their results are collected after the start.
func (r *run) round(ctx context.Context) {
	targets := dueTargets(r.out.Plan.Targets, r.out.Report, r.measured, time.Now())
	if len(targets) == 0 {
		r.write()
		r.judge(r.out.Report)
		return
	}
	if r.out.Stage == StageInput {
		r.enter(StageProbe)
	}
	snapshots := make(chan probe.Report, 1)
	final := make(chan probe.Report, 1)
	state := r.out.Network
	go func() { final <- r.Probe(ctx, state, targets, latest(snapshots)) }()
	r.write()

	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case report := <-final:
			r.merge(report)
			r.judge(r.out.Report)
			return
		case report := <-snapshots:
			r.judge(merged(r.out.Report, report))
			if r.out.Verdict.Pass && !r.opt.Once {
				r.out.Report = merged(r.out.Report, report)
				r.late = final
				return
			}
		case now := <-ticker.C:
			r.Status(StatusLine(r.out, now))
		}
	}
}

// latest returns a progress function that keeps only the newest snapshot of a
// round and none of its first moments.
func latest(snapshots chan probe.Report) func(probe.Report) {
	return func(s probe.Report) {
		if time.Since(s.Started) < earlyVerdict {
			return
		}
		select {
		case <-snapshots:
		default:
		}
		snapshots <- s
	}
}

// judge judges a report together with the problems of the input.
func (r *run) judge(report probe.Report) {
	now := time.Now()
	v := Judge(r.out.Plan, report, r.out.Network, r.out.History, now)
	if r.instance == nil {
		v.Pass = false
	}
	r.out.Verdict = explainByInput(joinVerdicts(Reject(r.problems), v))
	if r.writeErr != nil {
		r.out.Verdict = joinVerdicts(internalError("files could not be written: "+r.writeErr.Error()), r.out.Verdict)
	}
	r.out.Exit = r.out.Verdict.ExitCode()
	r.out.History = r.out.History.add(r.out.Verdict, now)
}

// merge takes the results of a round over those of earlier rounds.
func (r *run) merge(report probe.Report) {
	if r.measured == nil {
		r.measured = map[string]time.Time{}
	}
	for _, res := range report.Results {
		r.measured[res.Target] = report.Started.Add(time.Duration(report.Took))
	}
	r.out.Report = merged(r.out.Report, report)
}

// forget drops the result of a target that needs no more asking.
func (r *run) forget(target string) {
	kept := r.out.Report
	kept.Results = nil
	for _, res := range r.out.Report.Results {
		if res.Target != target {
			kept.Results = append(kept.Results, res)
		}
	}
	r.out.Report = kept
}

// merged returns old with every result that now has replaced or added. Results
// keep their places, so that one report reads like the next.
func merged(old, now probe.Report) probe.Report {
	out := probe.Report{Started: now.Started, Took: now.Took, Results: slices.Clone(old.Results)}
	places := make(map[string]int, len(old.Results))
	for i, res := range old.Results {
		places[res.Target] = i
	}
	for _, res := range now.Results {
		if i, known := places[res.Target]; known {
			out.Results[i] = res
		} else {
			out.Results = append(out.Results, res)
		}
	}
	return out
}

// dueTargets chooses what a round asks: everything that did not pass on every
// address, and what passed too long ago. While no DNS server answers anything,
// one name is asked in place of all: thousands of blocked nodes must not be a flood.
func dueTargets(all []Target, report probe.Report, measured map[string]time.Time, now time.Time) []probe.Target {
	var due []probe.Target
	silent := len(report.Results) > 0
	for _, t := range all {
		res, ok := report.Result(t.Name)
		silent = silent && ok && unanswered(res)
		if !ok || !clean(res) || now.Sub(measured[t.Name]) > evidenceLasts {
			due = append(due, t.Target)
		}
	}
	if silent && len(due) > 1 && now.Sub(measured[due[0].Name]) <= evidenceLasts {
		return due[:1]
	}
	return due
}

// clean reports whether every lookup and path of a result passed.
func clean(res probe.Result) bool {
	for _, l := range res.Lookups {
		if l.Cause != "" && l.Cause != probe.DNSNoData {
			return false
		}
	}
	for _, p := range res.Paths {
		if !p.OK() {
			return false
		}
	}
	return len(res.Paths) > 0 && !res.Pending
}

// unanswered reports whether no DNS server sent anything back.
func unanswered(res probe.Result) bool {
	for _, l := range res.Lookups {
		if l.Cause != probe.DNSTimeout {
			return false
		}
	}
	return len(res.Lookups) > 0
}

// alreadyOpen reports whether the gate is open, by hand or by an earlier run of
// this boot, and records it.
func (r *run) alreadyOpen() bool {
	g, err := r.Host.GateState()
	if err != nil || !g.Open || r.opt.NoStart {
		return false
	}
	g.At = time.Now()
	r.out.Gate = g
	return true
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
