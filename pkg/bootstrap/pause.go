package bootstrap

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

const (
	// shortestPause and firstWake are how long a pause lasts at least, and how
	// soon the first change of the network ends one. Each further change in a row
	// doubles that: a route that flaps must not make a flood.
	shortestPause = 250 * time.Millisecond
	firstWake     = 100 * time.Millisecond
	// scriptsCap is how long systemd may take to say what cloud-final does.
	scriptsCap = 5 * time.Second
)

// pause waits for the next round. It ends early when the network changes, the
// gate is opened by hand, or user scripts finish. It returns false when ctx ended.
func (r *run) pause(ctx context.Context, failures int, scripts ScriptState) bool {
	now := time.Now()
	d := backoff(now.Sub(r.out.Started), failures, rand.Float64()) //nolint:gosec // jitter, not a secret
	if scripts.Pending && (r.out.Verdict.Pass || fatalInput(r.problems)) {
		d = grace // only the scripts are waited for; their end is seen below
	}
	if limit := time.Duration(r.out.Plan.Policy.GiveUpAfter); limit > 0 {
		d = max(shortestPause, min(d, limit-now.Sub(r.out.Started)))
	}
	if at, ok := r.out.Plan.nextRelease(r.out.History, now); ok && at.Sub(now) < d+probe.RoundBudget(len(r.out.Plan.Targets)) {
		d = max(shortestPause, at.Sub(now)) // the kubelet need not wait for a round's end, too
	}
	if r.opt.Watch > 0 {
		d = r.opt.Watch
	}
	r.out.NextRound = now.Add(d)
	r.publish()
	r.Extend(d + probe.RoundBudget(len(r.out.Plan.Targets)) + grace)
	timer := time.NewTimer(d)
	defer timer.Stop()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	changes, changed := r.Changes, false
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			if !changed {
				r.woken = 0
			}
			return true
		case _, open := <-changes:
			if !open {
				r.Changes, changes = nil, nil // the kernel ended it; the rounds go on
				continue
			}
			s, err := r.Network(ctx)
			if err != nil || s.Same(r.out.Network) {
				continue
			}
			wake := firstWake << min(r.woken, 10)
			r.woken++
			changed, changes = true, nil
			if waited := time.Since(now); wake-waited < d-waited {
				timer.Reset(max(0, wake-waited))
			}
		case now := <-ticker.C:
			if n%statusTick == 1 {
				r.Status(StatusLine(r.out, now))
			}
			if g, err := r.Host.GateState(); err == nil && g.Open && !r.out.Gate.Open && !r.opt.NoStart {
				return true
			}
			if scripts.Pending && !r.userScripts(ctx).Pending {
				return true
			}
		}
	}
}

// userScripts asks what cloud-final does. While systemd cannot be asked at boot,
// scripts may well be running.
func (r *run) userScripts(ctx context.Context) ScriptState {
	asking, cancel := context.WithTimeout(ctx, scriptsCap)
	defer cancel()
	s, err := r.Scripts(asking)
	if err != nil {
		return ScriptState{Pending: time.Since(r.out.Started) < boot, State: err.Error()}
	}
	return s
}

// backoff is the capped exponential backoff with full jitter between rounds:
// after `failures` failed rounds and `elapsed` since the start, for a random
// number in [0, 1). It is at least a quarter of a second, at most 5 s in the
// first two minutes, 30 s in the first half hour and 120 s after that.
func backoff(elapsed time.Duration, failures int, random float64) time.Duration {
	limit := 5 * time.Second
	switch {
	case elapsed > 30*time.Minute:
		limit = 2 * time.Minute
	case elapsed > boot:
		limit = 30 * time.Second
	}
	d := limit
	if failures < 16 {
		d = min(limit, time.Second<<failures)
	}
	return max(shortestPause, time.Duration(random*float64(d)))
}
