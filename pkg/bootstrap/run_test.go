package bootstrap_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

var quick = bootstrap.Options{Version: "test", RunID: "run", Settle: 5 * time.Second}

func TestRunHealthy(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	synctest.Test(t, func(t *testing.T) {
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		if out.Stage != bootstrap.StageDone || out.Exit != 0 || !out.Gate.Open || out.Gate.By != "nodeprep" {
			t.Fatalf("stage %s exit %d gate %+v findings %+v", out.Stage, out.Exit, out.Gate, out.Verdict)
		}
		if m.starts != 1 || m.ready != 1 || m.writes != 1 || len(m.rounds) != 1 {
			t.Errorf("starts %d ready %d writes %d rounds %d", m.starts, m.ready, m.writes, len(m.rounds))
		}
		if took := time.Since(out.Started); took < 5*time.Second || took > 8*time.Second {
			t.Errorf("settled after %s", took)
		}
	})
}

func TestRunBlockedHealsByItself(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.broken["ecr.api"] = probe.TCPTimeout
	synctest.Test(t, func(t *testing.T) {
		time.AfterFunc(10*time.Minute, func() { m.set(func() { delete(m.broken, "ecr.api") }) })
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		if out.Stage != bootstrap.StageDone {
			t.Fatalf("stage %s: %+v", out.Stage, out.Verdict)
		}
		if at := out.Gate.At.Sub(out.Started); at < 10*time.Minute || at > 10*time.Minute+45*time.Second {
			t.Errorf("gate opened after %s", at)
		}
		full := 0
		for _, round := range m.rounds {
			if len(round) == 5 {
				full++
			}
		}
		if full > 6 { // the first, and one each two minutes that renew old evidence
			t.Errorf("%d of %d rounds asked everything", full, len(m.rounds))
		}
		for _, o := range m.published {
			if o.Gate.Open && len(o.Verdict.Blocking()) > 0 {
				t.Errorf("gate open while blocked: %+v", o.Verdict)
			}
		}
		if m.starts != 1 {
			t.Errorf("kubelet started %d times", m.starts)
		}
	})
}

func TestRunOpensBeforeSlowAddresses(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.slow["ec2"] = 3 * time.Second
	synctest.Test(t, func(t *testing.T) {
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		if out.Stage != bootstrap.StageDone || out.Gate.At.Sub(out.Started) > time.Second {
			t.Errorf("stage %s, gate after %s", out.Stage, out.Gate.At.Sub(out.Started))
		}
	})
}

func TestRunGateByHand(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.broken["apiserver"] = probe.TCPTimeout
	synctest.Test(t, func(t *testing.T) {
		time.AfterFunc(20*time.Second, func() { m.set(func() { m.gate = true }) })
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		if out.Gate.By != bootstrap.GateOverride || out.Stage != bootstrap.StageDone || m.starts != 1 {
			t.Errorf("gate %+v stage %s starts %d", out.Gate, out.Stage, m.starts)
		}
		if len(out.Verdict.Findings) == 0 {
			t.Error("the override hid the finding")
		}
		confirming := 0
		for _, o := range m.published {
			if o.Stage == bootstrap.StageConfirm {
				confirming++
			}
		}
		if confirming > 2 {
			t.Errorf("%d outcomes were published while nothing changed", confirming)
		}
	})
}

func TestRunWaitsForScripts(t *testing.T) {
	t.Parallel()
	for name, configured := range map[string]bool{"that configure": true, "in vain": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := healthyMachine(t)
			ud := nodeConfig(t)
			m.metadata = func() (bootstrap.Metadata, error) { return bootstrap.Metadata{Instance: testInstance()}, nil }
			m.scripts = true
			synctest.Test(t, func(t *testing.T) {
				time.AfterFunc(90*time.Second, func() {
					m.set(func() {
						m.scripts = false
						if configured {
							m.extra = []bootstrap.Source{{Name: "/etc/eks/nodeadm.d/10.yaml", Data: ud}}
						}
					})
				})
				out := bootstrap.Run(t.Context(), m.deps(), quick)
				if configured && (out.Stage != bootstrap.StageDone || m.starts != 1) {
					t.Errorf("stage %s, findings %+v", out.Stage, out.Verdict.Findings)
				}
				if !configured && (out.Stage != bootstrap.StageFailed || out.Exit != 10 || m.writes != 0 || m.starts != 0) {
					t.Errorf("stage %s exit %d writes %d starts %d", out.Stage, out.Exit, m.writes, m.starts)
				}
				if took := time.Since(out.Started); took < 90*time.Second || took > 100*time.Second {
					t.Errorf("ended after %s", took)
				}
			})
		})
	}
}

func TestRunLateMetadata(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	good := m.metadata
	m.metadata = func() (bootstrap.Metadata, error) {
		return bootstrap.Metadata{}, &bootstrap.MetadataError{Method: "PUT", Path: "/latest/api/token", Phase: probe.PhaseConnect, Err: fmt.Errorf("dial: %w", syscall.ECONNREFUSED)}
	}
	synctest.Test(t, func(t *testing.T) {
		time.AfterFunc(5*time.Second, func() { m.set(func() { m.metadata = good }) })
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		if out.Stage != bootstrap.StageDone {
			t.Fatalf("stage %s %+v", out.Stage, out.Verdict)
		}
		if got := m.published[2].Verdict.Blocking(); len(got) != 1 || got[0].Code != bootstrap.IMD101 {
			t.Errorf("while it was refused: %+v", got)
		}
		if _, ok := out.Report.Result(bootstrap.MetadataTarget); ok {
			t.Error("the failed reading is still in the report")
		}
	})
}

func TestRunKubeletThatDies(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	healthy := m.kubelet
	m.kubelet = bootstrap.UnitResult{Unit: "kubelet.service", Job: "done", ActiveState: "activating", SubState: "auto-restart", Result: "exit-code", ExitStatus: 1, Restarts: 1, ConditionMet: true}
	synctest.Test(t, func(t *testing.T) {
		time.AfterFunc(time.Minute, func() { m.set(func() { m.kubelet = healthy }) })
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		var seen bool
		for _, o := range m.published {
			for _, f := range o.Verdict.Findings {
				seen = seen || f.Code == bootstrap.RUN102
			}
		}
		if !seen || m.ready != 1 || out.Exit != 0 {
			t.Errorf("RUN-102 seen %v, ready %d, exit %d", seen, m.ready, out.Exit)
		}
	})
}

func TestRunEnds(t *testing.T) {
	t.Parallel()
	t.Run("on a signal", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.broken["apiserver"] = probe.TCPTimeout
		synctest.Test(t, func(t *testing.T) {
			stop := errors.New("terminated")
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(20*time.Second, func() { cancel(stop) })
			out := bootstrap.Run(ctx, m.deps(), quick)
			if out.Exit != 143 || out.Stage != bootstrap.StageFailed || m.starts != 0 {
				t.Errorf("exit %d stage %s starts %d", out.Exit, out.Stage, m.starts)
			}
		})
	})
	t.Run("on the interrupt key", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.broken["apiserver"] = probe.TCPTimeout
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() {
				cancel(bootstrap.SignalError{Signal: "interrupt", Exit: bootstrap.ExitInterrupted})
			})
			if out := bootstrap.Run(ctx, m.deps(), quick); out.Exit != 130 || out.Err != "ended by signal: interrupt" {
				t.Errorf("exit %d: %s", out.Exit, out.Err)
			}
		})
	})
	t.Run("on a panic while probing", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		synctest.Test(t, func(t *testing.T) {
			d := m.deps()
			d.Probe = func(context.Context, netcfg.State, []probe.Target, probe.Experiments, func(probe.Report)) probe.Report {
				panic("lost")
			}
			out := bootstrap.Run(t.Context(), d, quick)
			if out.Exit != 1 || len(out.Verdict.Findings) != 1 || out.Verdict.Findings[0].Code != bootstrap.INT001 || m.starts != 0 {
				t.Errorf("exit %d findings %+v", out.Exit, out.Verdict.Findings)
			}
		})
	})
	t.Run("on a panic", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		synctest.Test(t, func(t *testing.T) {
			d := m.deps()
			d.Sources = func(*bootstrap.Source) ([]bootstrap.Source, error) { panic("lost") }
			out := bootstrap.Run(t.Context(), d, quick)
			if out.Exit != 1 || len(out.Verdict.Findings) != 1 || out.Verdict.Findings[0].Code != bootstrap.INT001 {
				t.Errorf("exit %d findings %+v", out.Exit, out.Verdict.Findings)
			}
		})
	})
	t.Run("when it may give up", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.broken["apiserver"] = probe.TCPTimeout
		m.extra = []bootstrap.Source{{Name: "/etc/nodeprep/conf.d/10.yaml", Data: []byte("apiVersion: nodeprep.io/v1alpha1\nkind: PrepConfig\nspec: {giveUpAfter: 10m}\n")}}
		synctest.Test(t, func(t *testing.T) {
			out := bootstrap.Run(t.Context(), m.deps(), quick)
			if took := time.Since(out.Started); out.Exit != 75 || took < 10*time.Minute || took > 11*time.Minute {
				t.Errorf("exit %d after %s", out.Exit, took)
			}
		})
	})
	t.Run("after one round of check", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.broken["ecr.api"] = probe.TCPTimeout
		synctest.Test(t, func(t *testing.T) {
			out := bootstrap.Run(t.Context(), m.deps(), bootstrap.Options{Once: true, NoWrite: true, NoStart: true})
			if out.Exit != 16 || m.writes != 0 || len(m.rounds) != 1 {
				t.Errorf("exit %d writes %d rounds %d: %+v", out.Exit, m.writes, len(m.rounds), out.Verdict)
			}
		})
	})
}
