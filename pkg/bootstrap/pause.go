package bootstrap

import (
	"context"
	"math/rand/v2"
	"reflect"
	"time"
)

// pause waits for the next round. It ends early when the network changes, the
// gate is opened by hand, or user scripts finish. It returns false when ctx ended.
func (r *run) pause(ctx context.Context, failures int, scripts ScriptState) bool {
	now := time.Now()
	d := backoff(now.Sub(r.out.Started), failures, rand.Float64()) //nolint:gosec // jitter, not a secret
	if scripts.Pending && (r.out.Verdict.Pass || fatalInput(r.problems)) {
		d = grace // only the scripts are waited for; their end is seen below
	}
	r.out.NextRound = now.Add(d)
	r.publish()
	r.Extend(d + roundCap + grace)
	timer := time.NewTimer(d)
	defer timer.Stop()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-r.Changes:
			if s, err := r.Network(ctx); err == nil && !reflect.DeepEqual(s, r.out.Network) {
				return true
			}
		case now := <-ticker.C:
			if n%statusTick == 1 {
				r.Status(StatusLine(r.out, now))
			}
			if g, err := r.Host.GateState(); err == nil && g.Open {
				return true
			}
			if s, err := r.Scripts(ctx); scripts.Pending && (err != nil || !s.Pending) {
				return true
			}
		}
	}
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
	return max(250*time.Millisecond, time.Duration(random*float64(d)))
}
