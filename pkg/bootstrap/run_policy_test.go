package bootstrap_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// prep is a PrepConfig of this machine.
func prep(spec string) []bootstrap.Source {
	return confFile("apiVersion: nodeprep.io/v1alpha1\nkind: PrepConfig\nspec: " + spec + "\n")
}

// In observe mode the kubelet starts once its files are there, whatever is not
// measured yet, and what would have held it is told.
func TestRunObserves(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.broken["ecr.api"], m.broken["apiserver"] = probe.TCPTimeout, probe.TCPRefused
	m.extra = prep("{mode: observe}")
	synctest.Test(t, func(t *testing.T) {
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		if at := out.Gate.At.Sub(out.Started); out.Stage != bootstrap.StageDone || out.Exit != 0 || at > 0 || m.writes != 1 {
			t.Errorf("stage %s exit %d, gate after %s, %d writes", out.Stage, out.Exit, at, m.writes)
		}
		would := out.Verdict.WouldBlock()
		if len(out.Verdict.Blocking()) != 0 || len(would) != 2 || !strings.HasPrefix(out.Status, "kubelet started after") {
			t.Fatalf("status %q: %+v", out.Status, out.Verdict)
		}
		for _, f := range would {
			if f.Severity != bootstrap.Warning || !strings.Contains(f.AllowedBy, "observe") {
				t.Errorf("%+v", f)
			}
		}
		var told time.Time
		for _, o := range m.published {
			if len(o.Verdict.WouldBlock()) > 0 && told.IsZero() {
				told = o.Updated
			}
		}
		if at := told.Sub(out.Started); at > 4*time.Second {
			t.Errorf("what would have held the kubelet was told after %s", at)
		}
		if len(m.marks) != 0 {
			t.Error("joined without an API server")
		}
	})
}

// With invalid input there is nothing to start, in observe mode as in any.
func TestRunObservesNothing(t *testing.T) {
	t.Parallel()
	for name, spec := range map[string]string{
		"observe": "{mode: observe}", "enforce": "{enforce: [NP-NET]}", "waive": "{waive: [{code: NP-CFG-101, reason: none of ours}]}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := healthyMachine(t)
			m.extra = prep(spec)
			m.metadata = func() (bootstrap.Metadata, error) { return bootstrap.Metadata{Instance: testInstance()}, nil }
			synctest.Test(t, func(t *testing.T) {
				out := bootstrap.Run(t.Context(), m.deps(), quick)
				if out.Stage != bootstrap.StageFailed || out.Exit != 10 || m.starts != 0 || out.Gate.Open || len(out.Verdict.Blocking()) == 0 {
					t.Errorf("stage %s exit %d starts %d: %+v", out.Stage, out.Exit, m.starts, out.Verdict)
				}
			})
		})
	}
	t.Run("without metadata", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.extra = prep("{mode: observe, giveUpAfter: 2m}")
		m.metadata = func() (bootstrap.Metadata, error) {
			return bootstrap.Metadata{}, &bootstrap.MetadataError{Method: "PUT", Path: "/latest/api/token", Phase: probe.PhaseConnect, Err: context.DeadlineExceeded}
		}
		synctest.Test(t, func(t *testing.T) {
			out := bootstrap.Run(t.Context(), m.deps(), quick)
			if b := out.Verdict.Blocking(); m.starts != 0 || len(b) != 1 || b[0].Code.Area() != "IMD" {
				t.Errorf("starts %d: %+v", m.starts, out.Verdict)
			}
		})
	})
}

// What may block is what enforce lists; the rest stays visible.
func TestRunEnforces(t *testing.T) {
	t.Parallel()
	for spec, opens := range map[string]bool{
		"{enforce: [NP-DNS]}":             true,
		"{enforce: [NP-DNS, NP-NET]}":     false,
		"{enforce: [NP-DNS, NP-NET-105]}": false,
		"{enforce: [NP-NET-104]}":         true,
	} {
		t.Run(spec, func(t *testing.T) {
			t.Parallel()
			m := healthyMachine(t)
			m.broken["ecr.api"] = probe.TCPTimeout
			m.extra = prep(spec)
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				out := bootstrap.Run(ctx, m.deps(), quick)
				fs := out.Verdict.Findings
				if len(fs) != 1 || fs[0].Code != bootstrap.NET105 || out.Gate.Open != opens || fs[0].Blocks == opens || fs[0].WouldBlock != opens {
					t.Fatalf("gate %+v: %+v", out.Gate, fs)
				}
				if opens && !strings.HasPrefix(fs[0].AllowedBy, "enforce lists only NP-") {
					t.Errorf("allowed by %q", fs[0].AllowedBy)
				}
			})
		})
	}
}

// A waived code starts the kubelet and stays visible with its reason. One whose
// last day ends while the node is blocked by something else blocks from then on.
func TestRunWaives(t *testing.T) {
	t.Parallel()
	const waiver = "{waive: [{code: NP-NET-105, reason: the endpoint is being rebuilt, until: 2000-01-01}]}"
	t.Run("in time", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.broken["ecr.api"] = probe.TCPTimeout
		m.extra = prep(waiver)
		synctest.Test(t, func(t *testing.T) { // begins on 2000-01-01
			out := bootstrap.Run(t.Context(), m.deps(), quick)
			w := out.Verdict.Waived
			if out.Stage != bootstrap.StageDone || len(out.Verdict.Findings) != 0 || len(w) != 1 || !w[0].WouldBlock || w[0].Blocks {
				t.Fatalf("stage %s: %+v", out.Stage, out.Verdict)
			}
			if w[0].AllowedBy != "waived until 2000-01-01: the endpoint is being rebuilt" {
				t.Errorf("allowed by %q", w[0].AllowedBy)
			}
		})
	})
	t.Run("over", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.broken["ecr.api"], m.broken["apiserver"] = probe.TCPTimeout, probe.TCPRefused
		m.extra = prep(waiver)
		synctest.Test(t, func(t *testing.T) {
			m.after(25*time.Hour, func() { delete(m.broken, "apiserver") })
			m.after(26*time.Hour, func() { delete(m.broken, "ecr.api") })
			out := bootstrap.Run(t.Context(), m.deps(), quick)
			if at := out.Gate.At.Sub(out.Started); at < 26*time.Hour || at > 26*time.Hour+5*time.Minute {
				t.Errorf("gate after %s", at)
			}
			for _, o := range m.published {
				day := o.Updated.Sub(out.Started) < 24*time.Hour
				for _, f := range o.Verdict.Blocking() {
					if f.Code == bootstrap.NET105 && day {
						t.Fatalf("blocked by a waived code after %s", o.Updated.Sub(out.Started))
					}
				}
				if len(o.Verdict.Waived) > 0 && o.Updated.Sub(out.Started) > 24*time.Hour+5*time.Minute {
					t.Fatalf("waived after %s", o.Updated.Sub(out.Started))
				}
			}
		})
	})
	t.Run("written while blocked", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.broken["ecr.api"] = probe.TCPTimeout
		synctest.Test(t, func(t *testing.T) {
			m.after(10*time.Minute, func() { m.extra = prep(waiver) })
			out := bootstrap.Run(t.Context(), m.deps(), quick)
			if at := out.Gate.At.Sub(out.Started); at < 10*time.Minute || at > 10*time.Minute+40*time.Second || len(out.Verdict.Waived) != 1 {
				t.Errorf("gate after %s: %+v", at, out.Verdict)
			}
		})
	})
}

// What only the default needs ask for holds the node as long as the policy says,
// what somebody listed for ever.
func TestRunAssumedHold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec, broken string
		opens        time.Duration // 0: not within ten minutes
	}{
		"default":            {"{}", "ecr.api", 0},
		"a duration":         {"{assumedHold: 5m}", "ecr.api", 5 * time.Minute},
		"none":               {"{assumedHold: 0s}", "ecr.api", 5 * time.Second},
		"listed":             {"{assumedHold: 5m, needs: [vpc-cni, image-pull]}", "ecr.api", 0},
		"the API server":     {"{assumedHold: 5m}", "apiserver", 0},
		"shorter and rejoin": {"{assumedHold: 1m}", "ecr.api", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := healthyMachine(t)
			m.broken[c.broken] = probe.TCPTimeout
			m.extra = prep(c.spec)
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				out := bootstrap.Run(ctx, m.deps(), quick)
				if c.opens == 0 {
					if out.Gate.Open {
						t.Errorf("opened after %s: %+v", out.Gate.At.Sub(out.Started), out.Verdict)
					}
					return
				}
				if at := out.Gate.At.Sub(out.Started); !out.Gate.Open || at > c.opens || at < c.opens-5*time.Second {
					t.Errorf("gate %+v after %s", out.Gate, at)
				}
				f := out.Verdict.Findings
				if len(f) != 1 || !f[0].WouldBlock || f[0].Blocks || !strings.HasPrefix(f[0].AllowedBy, "assumedHold ") {
					t.Errorf("findings %+v", f)
				}
			})
		})
	}
}

// A reboot during an ECR brownout is no outage: a node that joined before starts
// degraded after rejoinHold. A first boot waits, and so does another instance,
// another cluster, another CA.
func TestRunRejoins(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(m *machine)
		opens time.Duration
	}{
		"joined before":            {func(*machine) {}, 2 * time.Minute},
		"first boot":               {func(m *machine) { m.joined = bootstrap.Marker{} }, 0},
		"image of another machine": {func(m *machine) { m.joined.InstanceID = "i-0ffffffffffffffff" }, 0},
		"another cluster":          {func(m *machine) { m.joined.Cluster = "other" }, 0},
		"another CA":               {func(m *machine) { m.joined.CASHA256 = strings.Repeat("0", 64) }, 0},
		"full gate":                {func(m *machine) { m.extra = prep("{rejoinHold: forever}") }, 0},
		"API server":               {func(m *machine) { m.broken["apiserver"] = probe.TCPTimeout }, 0},
		"a minute":                 {func(m *machine) { m.extra = prep("{rejoinHold: 1m}") }, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := healthyMachine(t)
			synctest.Test(t, func(t *testing.T) {
				if first := bootstrap.Run(t.Context(), m.deps(), quick); first.Stage != bootstrap.StageDone || len(m.marks) != 1 {
					t.Fatalf("first boot: %s, marks %v", first.Stage, m.marks)
				}
				m.gate = false
				m.broken["ecr.api"] = probe.TCPTimeout
				c.spoil(m)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				out := bootstrap.Run(ctx, m.deps(), quick)
				if c.opens == 0 {
					if out.Gate.Open {
						t.Errorf("opened after %s: %+v", out.Gate.At.Sub(out.Started), out.Verdict)
					}
					return
				}
				if at := out.Gate.At.Sub(out.Started); !out.Gate.Open || at > c.opens || at < c.opens-7*time.Second {
					t.Errorf("gate %+v after %s", out.Gate, at)
				}
				f := out.Verdict.Findings
				if len(f) != 1 || !f[0].WouldBlock || !strings.Contains(f[0].AllowedBy, "joined the cluster before") || !out.Plan.Rejoin {
					t.Errorf("rejoin %v, findings %+v", out.Plan.Rejoin, f)
				}
				if len(m.marks) != 1 {
					t.Error("marked again")
				}
			})
		})
	}
}

// Once the hold of one target is over, only the others are waited for; and from the
// first to the last it is told why the one fails. In another network that is not known
// before the round is over.
func TestRunRejoinsWhenTheRestHeals(t *testing.T) {
	t.Parallel()
	for _, moved := range []bool{false, true} {
		m := healthyMachine(t)
		synctest.Test(t, func(t *testing.T) {
			bootstrap.Run(t.Context(), m.deps(), quick)
			m.gate, m.published = false, nil
			m.broken["ecr.api"], m.broken["apiserver"] = probe.TCPTimeout, probe.TCPTimeout
			m.extra = prep("{rejoinHold: 1s}")
			m.after(4*time.Second, func() {
				delete(m.broken, "apiserver")
				if moved {
					m.state.Routes = m.state.Routes[:1]
				}
			})
			out := bootstrap.Run(t.Context(), m.deps(), quick)
			if at := out.Gate.At.Sub(out.Report.Started); out.Round < 2 || at > time.Second != moved {
				t.Errorf("moved %v: gate %s after the beginning of round %d", moved, at, out.Round)
			}
			known := false
			for _, o := range m.published {
				i := slices.IndexFunc(o.Verdict.Findings, func(f bootstrap.Finding) bool { return f.Code == bootstrap.NET105 })
				if known = known || i >= 0; known && i < 0 {
					t.Fatalf("moved %v: forgotten after %s in stage %s: %+v", moved, o.Updated.Sub(o.Started), o.Stage, o.Verdict)
				}
				if o.Gate.Open && (!known || !o.Verdict.Findings[i].WouldBlock) {
					t.Fatalf("moved %v: opened after %s with %+v", moved, o.Updated.Sub(o.Started), o.Verdict)
				}
			}
		})
	}
}

// A hold that is over when a cause is first known holds nobody, and raises no alarm.
// Before it is known there is none.
func TestRunHoldsNoLongerThanTheFirstRound(t *testing.T) {
	t.Parallel()
	for _, chatty := range []bool{false, true} {
		m := healthyMachine(t)
		m.broken["ecr.api"], m.chatty = probe.TCPTimeout, chatty
		m.extra = prep("{assumedHold: 1s}")
		synctest.Test(t, func(t *testing.T) {
			out := bootstrap.Run(t.Context(), m.deps(), quick)
			if at := out.Gate.At.Sub(out.Started); at != 3200*time.Millisecond || len(out.Verdict.WouldBlock()) != 1 {
				t.Errorf("gate after %s: %+v", at, out.Verdict)
			}
			for _, o := range m.published {
				if o.Round == 1 && o.Stage != bootstrap.StageProbe && len(o.Verdict.Blocking()) > 0 {
					t.Errorf("blocked after %s: %+v", o.Updated.Sub(o.Started), o.Verdict)
				}
			}
		})
	}
}

// The hold counts from the first of the failures that go on.
func TestRunRejoinsAfterSeveralFailures(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	synctest.Test(t, func(t *testing.T) {
		bootstrap.Run(t.Context(), m.deps(), quick)
		m.gate = false
		m.broken["ecr.api"], m.broken["apiserver"] = probe.TCPTimeout, probe.TCPRefused
		m.after(time.Minute, func() { delete(m.broken, "ecr.api") })
		m.after(3*time.Minute, func() { m.broken["ecr.api"] = probe.TCPTimeout })
		m.after(4*time.Minute, func() { delete(m.broken, "apiserver") })
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		if at := out.Gate.At.Sub(out.Started); at < 6*time.Minute || at > 6*time.Minute+31*time.Second {
			t.Errorf("gate after %s: %+v", at, out.Verdict)
		}
	})
}
