package bootstrap

import (
	"context"
	"time"
)

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

// start starts the units of the plan, or the kubelet of a node whose gate was
// opened before there was one. The gate is open.
func (r *run) start(ctx context.Context) {
	r.enter(StageStart)
	units := r.out.Plan.Units
	if len(units) == 0 {
		units = []string{kubeletUnit}
	}
	for _, unit := range units {
		r.startUnit(ctx, unit)
	}
}

// startUnit starts a unit and records how that went.
func (r *run) startUnit(ctx context.Context, unit string) {
	r.Extend(startCap + grace)
	r.during(ctx, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, startCap)
		defer cancel()
		r.out.Kubelet = r.Host.Start(ctx, unit)
	}, func(waited time.Duration) string { return "starting " + unit + since(waited) })
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
