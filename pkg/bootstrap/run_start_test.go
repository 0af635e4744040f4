package bootstrap_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// A kubelet whose start job failed is started again until it was up once; one
// that was up and is stopped is left alone.
func TestRunStartsAgain(t *testing.T) {
	t.Parallel()
	failed := bootstrap.UnitResult{Unit: "kubelet.service", Job: "dependency", ActiveState: "inactive", SubState: "dead", Result: "success", ConditionMet: true}
	t.Run("after a failed dependency", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		healthy := m.kubelet
		m.kubelet = failed
		synctest.Test(t, func(t *testing.T) {
			d := m.deps()
			d.Host = starter{m, func() {
				if m.starts == 4 {
					m.kubelet = healthy
				}
			}}
			out := bootstrap.Run(t.Context(), d, quick)
			if took := time.Since(out.Started); out.Stage != bootstrap.StageDone || m.starts != 4 || took < 35*time.Second || took > 40*time.Second || m.ready != 1 {
				t.Errorf("stage %s, %d starts in %s, ready %d", out.Stage, m.starts, took, m.ready)
			}
		})
	})
	t.Run("not after a stop by hand", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		synctest.Test(t, func(t *testing.T) {
			m.after(2*time.Second, func() { m.kubelet = failed })
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			out := bootstrap.Run(ctx, m.deps(), quick)
			if m.starts != 1 || !strings.HasPrefix(out.Status, "ended, the kubelet is left alone") {
				t.Errorf("%d starts, status %q", m.starts, out.Status)
			}
		})
	})
}

// starter lets something happen at each start.
type starter struct {
	*machine
	starting func()
}

// Start starts.
func (s starter) Start(ctx context.Context, unit string) bootstrap.UnitResult {
	s.machine.Start(ctx, unit)
	s.set(s.starting)
	return s.Inspect(ctx, unit)
}

// A kubelet whose healthz is elsewhere cannot be asked; that it stays up is enough.
func TestRunHiddenHealthz(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]string{
		"port":    "config: {healthzPort: 10999}",
		"off":     "config: {healthzPort: 0}",
		"address": "config: {healthzBindAddress: 10.20.1.50}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := healthyMachine(t)
			m.kubelet.Healthy = false
			m.extra = confFile("apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec: {kubelet: {" + config + "}}\n")
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if out := bootstrap.Run(ctx, m.deps(), quick); out.Stage != bootstrap.StageDone {
					t.Errorf("stage %s: %+v", out.Stage, out.Verdict)
				}
			})
		})
	}
}
