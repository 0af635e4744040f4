package bootstrap_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// Later rounds ask what fails alone. A name for the experiment with another one comes
// from the targets that passed before; without it the verdict would change although
// nothing did.
func TestRunNamesForExperiments(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.broken["ecr.api"] = probe.TLSTimeout
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		d := m.deps()
		var names [][]string
		inner := d.Probe
		d.Probe = func(ctx context.Context, s netcfg.State, targets []probe.Target, e probe.Experiments, progress func(probe.Report)) probe.Report {
			if e.SecondSNI {
				names = append(names, e.Names)
			}
			return inner(ctx, s, targets, e, progress)
		}
		out := bootstrap.Run(ctx, d, quick)
		failing, _ := out.Plan.Target("ecr.api")
		if len(names) < 3 {
			t.Fatalf("%d rounds with experiments", len(names))
		}
		for i, n := range names[1:] {
			if len(n) == 0 || slices.Contains(n, failing.Host) {
				t.Errorf("round %d: names %v", i+2, n)
			}
		}
	})
}
