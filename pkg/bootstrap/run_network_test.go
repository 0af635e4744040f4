package bootstrap_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// A change of the network ends a pause, but a route that flaps makes no flood.
func TestRunNetworkChanges(t *testing.T) {
	t.Parallel()
	// A change in a pause is noticed at once, one in the middle of a round when it
	// is over: what it measures then is of the network before.
	for name, inRound := range map[string]bool{"in a pause": false, "in a round": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := healthyMachine(t)
			m.broken["ecr.api"] = probe.TCPTimeout
			synctest.Test(t, func(t *testing.T) {
				m.changes = make(chan struct{}, 1)
				var changed time.Time
				change := func() {
					changed = time.Now()
					m.state.Hostname = "changed"
					delete(m.broken, "ecr.api")
					m.changes <- struct{}{}
				}
				d := m.deps()
				d.Probe = func(ctx context.Context, s netcfg.State, targets []probe.Target, e probe.Experiments, progress func(probe.Report)) probe.Report {
					if len(m.rounds) == 100 && inRound {
						m.after(time.Second, change) // 2.2 s before its end
					}
					return m.probe(ctx, s, targets, e, progress)
				}
				d.Publish = func(o bootstrap.Outcome) {
					if pausing := !o.NextRound.IsZero() && time.Until(o.NextRound) > time.Second; pausing && o.Round > 100 && !inRound && changed.IsZero() {
						changed = time.Now()
						m.after(500*time.Millisecond, change)
					}
				}
				out := bootstrap.Run(t.Context(), d, quick)
				limit := 110 * time.Millisecond
				if inRound {
					limit += 2200 * time.Millisecond
				}
				if late := out.Gate.At.Sub(changed); changed.IsZero() || late > limit {
					t.Errorf("gate %s after the change", late)
				}
			})
		})
	}
	t.Run("all the time", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.broken["ecr.api"] = probe.TCPRefused
		synctest.Test(t, func(t *testing.T) {
			m.changes = make(chan struct{}, 1)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var flapping sync.WaitGroup
			flapping.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					time.Sleep(30 * time.Millisecond)
					m.set(func() { m.state.Hostname = fmt.Sprint(i) })
					select {
					case m.changes <- struct{}{}:
					default:
					}
				}
			})
			bootstrap.Run(ctx, m.deps(), quick)
			flapping.Wait()
			if n := len(m.rounds); n > 50 {
				t.Errorf("%d rounds in a minute", n)
			}
		})
	})
	t.Run("no more", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.broken["ecr.api"] = probe.TCPRefused
		synctest.Test(t, func(t *testing.T) {
			m.changes = make(chan struct{})
			close(m.changes) // the kernel ended the subscription
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			d := m.deps()
			network := d.Network
			d.Network = func(ctx context.Context) (netcfg.State, error) {
				if m.read > 1000 {
					cancel()
				}
				return network(ctx)
			}
			out := bootstrap.Run(ctx, d, quick)
			if took := time.Since(out.Started); took < time.Minute || m.read > len(m.rounds)+1 {
				t.Errorf("after %s the network was read %d times in %d rounds", took, m.read, len(m.rounds))
			}
		})
	})
}
