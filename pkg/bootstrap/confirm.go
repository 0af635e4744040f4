package bootstrap

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Values of Gate.By.
const (
	GateNodeprep = "nodeprep" // this run, or an earlier one of the same boot
	GateOverride = "override" // somebody made the file by hand
)

const (
	// confirmTick is how often a started kubelet is looked at, and confirmCap how
	// long one look may take.
	confirmTick = 500 * time.Millisecond
	confirmCap  = 5 * time.Second
	// restartPause is the time between two starts of a kubelet that was never up.
	restartPause = 10 * time.Second
)

// confirm tells systemd that the kubelet was started, then watches it until it
// stayed up and healthy for the settle time. A kubelet that does not stay up is
// a finding; it is watched until it does, and never stopped. Nobody else starts
// again one whose start job failed, by a dependency, say: that is done here, until
// it was up once.
func (r *run) confirm(ctx context.Context) {
	unit := r.out.Kubelet.Unit
	r.enter(StageConfirm)
	ready := false
	up := time.Time{} // since when the kubelet has been up without a restart
	restarts := r.out.Kubelet.Restarts
	started := time.Now()
	ticker := time.NewTicker(confirmTick)
	defer ticker.Stop()
	for {
		before := r.out.Verdict
		r.collectLate(ctx)
		k, now := r.out.Kubelet, time.Now()
		if !ready && k.ActiveState == "active" {
			r.Ready()
			ready = true
		}
		switch {
		case k.ActiveState != "active" || k.Restarts != restarts:
			up, restarts = time.Time{}, k.Restarts
			r.kubeletFinding(now)
		case up.IsZero():
			up = now
		case now.Sub(up) >= r.opt.Settle && (k.Healthy || r.hidden) && r.late == nil:
			r.dropFinding(RUN102)
			r.markJoined()
			r.end(StageDone, 0)
			return
		}
		if !sameFindings(before, r.out.Verdict) {
			r.publish()
		}
		r.Extend(grace)
		select {
		case <-ctx.Done():
			r.interrupted(ctx)
			return
		case <-ticker.C:
		}
		if down := k.ActiveState != "active" && k.ActiveState != "activating"; down && !ready && time.Since(started) >= restartPause {
			r.startUnit(ctx, unit)
			started = time.Now()
			continue
		}
		r.inspect(ctx, unit)
	}
}

// hidesHealth reports whether the configuration moves the kubelet's healthz from
// where it is by default, or turns it off: then it cannot be asked.
func hidesHealth(k Kubelet) bool {
	moved := func(field string, usual ...string) bool {
		v, ok := k.Config[field]
		return ok && !slices.Contains(usual, fmt.Sprint(v))
	}
	return moved("healthzPort", "10248") || moved("healthzBindAddress", "", "127.0.0.1", "0.0.0.0", "::") ||
		slices.ContainsFunc(k.Flags, func(f string) bool { return strings.HasPrefix(strings.TrimLeft(f, "-"), "healthz-") })
}

// inspect looks at a unit. What its start job said stays known.
func (r *run) inspect(ctx context.Context, unit string) {
	ctx, cancel := context.WithTimeout(ctx, confirmCap)
	defer cancel()
	job := r.out.Kubelet.Job
	r.out.Kubelet = r.Host.Inspect(ctx, unit)
	if r.out.Kubelet.Job == "" && r.out.Kubelet.ActiveState != "active" {
		r.out.Kubelet.Job = job
	}
}

// collectLate takes the results of a round that went on after its verdict passed,
// and of time servers, for which no gate waits.
func (r *run) collectLate(ctx context.Context) {
	news := r.takeClock(false)
	select {
	case p := <-r.late:
		r.late = nil
		r.take(p)
		r.look(ctx, r.out.Report)
		news = true
	default:
	}
	if !news || r.late != nil {
		return
	}
	v := r.verdict(r.out.Report)
	for _, f := range r.out.Verdict.Findings {
		if f.Code == RUN102 { // which no measurement takes back
			v.Findings = append([]Finding{f}, v.Findings...)
		}
	}
	r.judge(v)
}

// kubeletFinding records that the kubelet does not stay up.
func (r *run) kubeletFinding(now time.Time) {
	k := r.out.Kubelet
	info, _ := RUN102.Info()
	seen := []string{}
	add := func(name, value string) {
		if value != "" {
			seen = append(seen, name+" "+value)
		}
	}
	add("job", k.Job)
	add("state", strings.Trim(k.ActiveState+"/"+k.SubState, "/"))
	add("result", k.Result)
	if k.ExitStatus != 0 {
		add("exit status", fmt.Sprint(k.ExitStatus))
	}
	if k.Restarts > 0 {
		add("restarts", fmt.Sprint(k.Restarts))
	}
	if !k.ConditionMet && k.Err == "" {
		add("condition", "not met")
	}
	add("error", k.Err)
	r.dropFinding(RUN102)
	f := Finding{
		Code: RUN102, Title: info.Title, Severity: Retryable, Confidence: Proven, Blocks: false,
		Targets: []string{k.Unit},
		Because: k.Unit + ": " + strings.Join(seen, ", "),
		Remedy:  "Read the last lines of `journalctl -u " + k.Unit + "`; what the kubelet prints there is what to change.", Consequence: info.Consequence,
	}
	r.out.Verdict.Findings = append([]Finding{f}, r.out.Verdict.Findings...)
	r.out.History = r.out.History.add(Verdict{Findings: []Finding{f}}, now)
	r.out.Exit = info.Exit
}

// dropFinding removes the findings of a code.
func (r *run) dropFinding(code Code) {
	var kept []Finding
	for _, f := range r.out.Verdict.Findings {
		if f.Code != code {
			kept = append(kept, f)
		}
	}
	r.out.Verdict.Findings = kept
}
