package bootstrap_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// check are the options of nodeprep check.
var check = bootstrap.Options{Version: "test", RunID: "run", Once: true, NoWrite: true, NoStart: true}

// A check of some targets probes and judges those alone.
func TestRunSomeTargets(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		targets []string
		exit    int
		probed  int
	}{
		"the healthy one": {[]string{"ec2"}, 0, 1},
		"the broken one":  {[]string{"ecr.api"}, 16, 1},
		"both":            {[]string{"ecr.api", "ec2"}, 16, 2},
		"a wrong name":    {[]string{"ec2", "ecr"}, bootstrap.ExitUsage, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := healthyMachine(t)
			m.broken["ecr.api"] = probe.TCPRefused
			synctest.Test(t, func(t *testing.T) {
				o := check
				o.Targets = c.targets
				out := bootstrap.Run(t.Context(), m.deps(), o)
				if out.Exit != c.exit || len(m.rounds) != 1 || len(m.rounds[0]) != c.probed || len(out.Plan.Targets) != c.probed {
					t.Errorf("exit %d (%s), probed %v", out.Exit, out.Err, m.rounds)
				}
				if len(m.marks) > 0 || m.starts > 0 || m.writes > 0 {
					t.Error("a check changed the machine")
				}
			})
		})
	}
}

// A check that watches asks everything again and again, whatever passes.
func TestRunWatches(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.broken["ecr.api"] = probe.TCPRefused
	synctest.Test(t, func(t *testing.T) {
		m.after(time.Minute, func() { delete(m.broken, "ecr.api") })
		ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Minute, bootstrap.SignalError{Signal: "interrupt", Exit: bootstrap.ExitInterrupted})
		defer cancel()
		o := check
		o.Watch = 5 * time.Second
		out := bootstrap.Run(ctx, m.deps(), o)
		if out.Exit != bootstrap.ExitInterrupted || m.starts != 0 || m.writes != 0 {
			t.Errorf("exit %d, %d starts", out.Exit, m.starts)
		}
		if n := len(m.rounds); n < 100 || n > 120 {
			t.Errorf("%d rounds in ten minutes", n)
		}
		for _, names := range m.rounds {
			if len(names) != 5 {
				t.Fatalf("asked %v", names)
			}
		}
		healed := false
		for _, o := range m.published {
			if at := o.Updated.Sub(out.Started); o.Verdict.Pass && at < time.Minute || !o.Verdict.Pass && healed && o.Round > 12 && at > 70*time.Second {
				t.Errorf("pass %v after %s", o.Verdict.Pass, at)
			} else if o.Verdict.Pass {
				healed = true
			}
		}
		if !healed {
			t.Error("the repair was not seen")
		}
	})
}

// The marker of a node that joined is written when the kubelet stayed up for the
// settle time and an API server answers, and by nothing that starts no kubelet.
func TestRunMarksJoined(t *testing.T) {
	t.Parallel()
	t.Run("once it settled", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		synctest.Test(t, func(t *testing.T) {
			out := bootstrap.Run(t.Context(), m.deps(), quick)
			if len(m.marks) != 1 || m.marks[0].Sub(out.Gate.At) < quick.Settle {
				t.Fatalf("marked at %v, gate at %s", m.marks, out.Gate.At)
			}
			if m.joined.InstanceID != "i-0123456789abcdef0" || m.joined.Cluster != "demo" || len(m.joined.CASHA256) != 64 || m.joined.At.IsZero() {
				t.Errorf("%+v", m.joined)
			}
			if out.Plan.Rejoin {
				t.Error("a first boot is no rejoin")
			}
		})
	})
	t.Run("not while it restarts", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.kubelet.Healthy = false
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			bootstrap.Run(ctx, m.deps(), quick)
			if len(m.marks) != 0 {
				t.Errorf("marked at %v", m.marks)
			}
		})
	})
	t.Run("not without an API server", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.broken["apiserver"] = probe.TCPTimeout
		synctest.Test(t, func(t *testing.T) {
			m.after(20*time.Second, func() { m.gate = true })
			if out := bootstrap.Run(t.Context(), m.deps(), quick); len(m.marks) != 0 || out.Stage != bootstrap.StageDone {
				t.Errorf("stage %s, marked at %v", out.Stage, m.marks)
			}
		})
	})
	for name, o := range map[string]bootstrap.Options{"not by a check": check, "not without a start": {NoStart: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := healthyMachine(t)
			synctest.Test(t, func(t *testing.T) {
				if out := bootstrap.Run(t.Context(), m.deps(), o); len(m.marks) != 0 || out.Stage != bootstrap.StageDone {
					t.Errorf("stage %s, marked at %v", out.Stage, m.marks)
				}
			})
		})
	}
	t.Run("that cannot be kept", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.joining = errors.New("/var/lib/nodeprep/joined.json: read-only file system")
		synctest.Test(t, func(t *testing.T) {
			out := bootstrap.Run(t.Context(), m.deps(), quick)
			var told []bootstrap.Code
			for _, f := range out.Verdict.Findings {
				told = append(told, f.Code)
				if f.Blocks || f.Severity != bootstrap.Warning {
					t.Errorf("%+v", f)
				}
			}
			if out.Stage != bootstrap.StageDone || out.Exit != 0 || len(told) != 2 || told[0] != bootstrap.HST102 || told[1] != bootstrap.HST101 {
				t.Errorf("stage %s exit %d, told %v", out.Stage, out.Exit, told)
			}
		})
	})
}

// A run that starts nothing ends once it passed; nothing of it goes on then.
func TestRunWithoutStart(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.slow["ec2"] = 3 * time.Second
	synctest.Test(t, func(t *testing.T) {
		out := bootstrap.Run(t.Context(), m.deps(), bootstrap.Options{NoStart: true})
		if took := time.Since(out.Started); out.Stage != bootstrap.StageDone || out.Gate.Open || took > time.Second || m.probing != 0 {
			t.Errorf("stage %s after %s, gate %+v, %d probes under way", out.Stage, took, out.Gate, m.probing)
		}
	})
}
