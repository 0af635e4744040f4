package bootstrap_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// What answers to nodeprep's own questions and not to the machine's resolver starts
// no kubelet, and is said.
func TestRunSystemHolds(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.stub = probe.DNSNXDomain
	synctest.Test(t, func(t *testing.T) {
		m.after(10*time.Minute, func() { m.stub = "" })
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		if at := out.Gate.At.Sub(out.Started); at < 10*time.Minute || at > 10*time.Minute+34*time.Second {
			t.Errorf("gate after %s", at)
		}
		// Once for what the cache may hold, and once when it is over: other names may be in it.
		if len(m.flushes) != 2 || m.flushes[0].Sub(out.Started) > time.Second || m.flushes[1].Sub(out.Started) < 10*time.Minute {
			t.Errorf("flushed at %v", m.flushes)
		}
		for _, o := range m.published {
			if o.Verdict.Pass && o.Updated.Sub(out.Started) < 10*time.Minute && o.Stage == bootstrap.StageProbe {
				t.Fatal("passed meanwhile")
			}
		}
	})
}

// A cache that holds on to a failure that is over is emptied, once, before the
// gate opens; then the machine's own way is looked at again.
func TestRunFlushes(t *testing.T) {
	t.Parallel()
	for name, heals := range map[string]bool{"and heals": true, "in vain": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := healthyMachine(t)
			m.silent, m.stub = true, probe.DNSServFail
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				if heals {
					m.flushing = func() {
						if time.Since(began) >= time.Minute {
							m.stub = ""
						}
					}
				}
				m.after(time.Minute, func() { m.silent = false })
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				out := bootstrap.Run(ctx, m.deps(), quick)
				if len(m.flushes) != 1 || m.flushes[0].Sub(began) < time.Minute {
					t.Errorf("flushed at %v", m.flushes)
				}
				if at := out.Gate.At.Sub(out.Started); out.Gate.Open != heals || heals && at > time.Minute+8*time.Second {
					t.Errorf("gate %+v", out.Gate)
				}
				if last := m.rounds[len(m.rounds)-1]; heals && !slices.Equal(last, []string{"apiserver"}) {
					t.Errorf("the last question was %v", last)
				}
			})
		})
	}
	t.Run("not without cause", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.broken["ecr.api"] = probe.TCPTimeout
		synctest.Test(t, func(t *testing.T) {
			m.after(time.Minute, func() { delete(m.broken, "ecr.api") })
			if out := bootstrap.Run(t.Context(), m.deps(), quick); len(m.flushes) != 0 || out.Stage != bootstrap.StageDone {
				t.Errorf("stage %s, flushed at %v", out.Stage, m.flushes)
			}
		})
	})
}

// Behind a proxy nobody needs the API server's name: that this machine does not know it
// holds nothing, empties no cache, and is no reason to ask again.
func TestRunSystemBehindProxy(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.stub = probe.DNSNXDomain
	m.broken["ec2"] = probe.TCPTimeout
	synctest.Test(t, func(t *testing.T) {
		m.after(time.Minute, func() { delete(m.broken, "ec2") })
		d := m.deps()
		d.Machine = func(context.Context) (bootstrap.Machine, error) {
			env := bootstrap.Environment{HTTPSProxy: "http://10.20.0.80:3128"}
			return bootstrap.Machine{CPUs: 2, MemoryMiB: 8192, Environments: map[bootstrap.Consumer]bootstrap.Environment{
				bootstrap.ConsumerKubelet: env, bootstrap.ConsumerContainerd: env,
			}}, nil
		}
		d.Probe = func(ctx context.Context, s netcfg.State, targets []probe.Target, e probe.Experiments, progress func(probe.Report)) probe.Report {
			report := m.probe(ctx, s, targets, e, progress)
			for i, res := range report.Results {
				for j, p := range res.Paths {
					if targets[i].Proxy != "" && p.OK() {
						report.Results[i].Paths[j].Steps = slices.Insert(p.Steps, 1, probe.Step{Phase: probe.PhaseProxy})
					}
				}
				if res.System != nil {
					res.System.Path = nil
				}
			}
			return report
		}
		out := bootstrap.Run(t.Context(), d, quick)
		if len(m.flushes) != 0 || out.Stage != bootstrap.StageDone || len(out.Verdict.Findings) != 0 {
			t.Errorf("stage %s, flushed at %v, %+v", out.Stage, m.flushes, out.Verdict.Findings)
		}
		times := 0
		for _, q := range m.asked {
			if slices.Contains(q.names, "apiserver") {
				times++
			}
		}
		if len(m.asked) < 3 || times != 1 {
			t.Errorf("the API server was asked in %d of %d rounds", times, len(m.asked))
		}
	})
}

// A quorum opens the gate while slow addresses are measured, but not before the
// machine's own way to the API server is known; what is slow is reported later.
func TestRunEarlyWaitsForSystem(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode   string
		system time.Duration // after which the machine's own way is known
		opens  time.Duration
	}{
		"at once":         {"quorum", 0, 300 * time.Millisecond},
		"after a second":  {"quorum", time.Second, time.Second},
		"strict":          {"strict", 0, 3 * time.Second},
		"strict and slow": {"strict", 3500 * time.Millisecond, 3500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := healthyMachine(t)
			m.extra = prep("{mode: " + c.mode + "}")
			synctest.Test(t, func(t *testing.T) {
				d := m.deps()
				d.Probe = slowSystem(m, c.system)
				out := bootstrap.Run(t.Context(), d, quick)
				if at := out.Gate.At.Sub(out.Started); out.Stage != bootstrap.StageDone || at < c.opens-100*time.Millisecond || at > c.opens+100*time.Millisecond {
					t.Errorf("stage %s, gate after %s: %+v", out.Stage, at, out.Verdict)
				}
				res, _ := out.Report.Result("ec2")
				if len(res.Paths) != 2 || res.Pending {
					t.Errorf("the slow address is not reported: %+v", res)
				}
			})
		})
	}
}

// slowSystem measures a second address of ec2 for three seconds and the machine's own
// way for as long as given.
func slowSystem(m *machine, system time.Duration) func(context.Context, netcfg.State, []probe.Target, probe.Experiments, func(probe.Report)) probe.Report {
	return func(_ context.Context, s netcfg.State, targets []probe.Target, e probe.Experiments, progress func(probe.Report)) probe.Report {
		report, _ := m.measure(s, targets)
		began := time.Now()
		known := func(at time.Duration) probe.Report {
			part := report
			part.Results = slices.Clone(report.Results)
			for i := range part.Results {
				res := &part.Results[i]
				if res.Target == "ec2" && at < 3*time.Second {
					res.Paths, res.Pending = res.Paths[:1], true
				}
				if res.System != nil && at < system {
					res.System, res.Pending = nil, true
				}
			}
			return part
		}
		for _, at := range []time.Duration{20 * time.Millisecond, system, 3 * time.Second} {
			time.Sleep(at - time.Since(began))
			progress(known(time.Since(began)))
		}
		report.Took = probe.Duration(time.Since(began))
		return report
	}
}

// What failed is looked up in the kernel's tables before it is judged, nothing while
// all is well.
func TestRunLooks(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.broken["ecr.api"] = probe.TCPTimeout
	synctest.Test(t, func(t *testing.T) {
		m.after(time.Minute, func() { delete(m.broken, "ecr.api") })
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		var blocked []bootstrap.Outcome
		for _, o := range m.published {
			if len(o.Verdict.Blocking()) > 0 {
				blocked = append(blocked, o)
			}
		}
		for _, o := range blocked[1:] {
			var got []string
			for _, d := range o.Network.Destinations {
				got = append(got, d.Address.String())
			}
			if want := "10.20.1.102 10.20.2.102 10.20.1.100 10.20.2.100"; strings.Join(got, " ") != want {
				t.Fatalf("looked at %v, want %s", got, want)
			}
		}
		if len(out.Network.Destinations) > 0 {
			t.Errorf("left behind: %v", out.Network.Destinations)
		}
		for _, addrs := range m.looks {
			if len(addrs) == 0 || len(addrs) > 64 || !slices.Contains(addrs, netip.MustParseAddr("10.20.1.102")) {
				t.Errorf("looked at %v", addrs)
			}
		}
		n := len(m.rounds)
		void := 0
		for _, names := range m.rounds {
			if len(names) == 5 {
				void++
			}
		}
		if void > 5 {
			t.Errorf("%d of %d rounds asked everything: looking is no change of the network", void, n)
		}
	})
}

// The counter of dropped packets is judged by its growth since the run began.
func TestRunCountsDroppedPackets(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.silent = true
	m.state.LinkLocalDropped = 1000
	synctest.Test(t, func(t *testing.T) {
		m.after(2*time.Second, func() { m.state.LinkLocalDropped = 1007 })
		m.after(20*time.Second, func() { m.silent = false })
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		var seen []uint64
		for _, o := range m.published {
			if n := len(seen); n == 0 || seen[n-1] != o.Network.LinkLocalDropped {
				seen = append(seen, o.Network.LinkLocalDropped)
			}
		}
		if !slices.Equal(seen, []uint64{0, 7}) || out.Stage != bootstrap.StageDone {
			t.Errorf("stage %s, counted %v", out.Stage, seen)
		}
		for _, o := range m.published {
			if b := o.Verdict.Blocking(); len(b) > 0 && o.Round == 1 && o.Network.LinkLocalDropped == 0 && o.Updated.Sub(out.Started) > 3*time.Second {
				t.Error("the first round's drops are not seen in it")
			}
		}
	})
}

// The metadata service's clock is in every report; time servers are asked when there
// is a reason to doubt this machine's clock, and no gate waits for them.
func TestRunClock(t *testing.T) {
	t.Parallel()
	behind := probe.ClockReading{Source: "metadata", Offset: probe.Duration(3 * time.Hour), Within: probe.Duration(time.Second)}
	right := behind
	right.Offset = 0
	ntp := probe.ClockReading{Source: "ntp 169.254.169.123", Offset: probe.Duration(3 * time.Hour), Within: probe.Duration(time.Millisecond)}
	for name, c := range map[string]struct {
		meta   probe.ClockReading
		synced bootstrap.ClockState
		asked  int
	}{
		"right":            {right, bootstrap.ClockState{Known: true, Synchronized: true}, 0},
		"nothing known":    {right, bootstrap.ClockState{}, 0},
		"not synchronised": {right, bootstrap.ClockState{Known: true}, 1},
		"behind":           {behind, bootstrap.ClockState{Known: true, Synchronized: true}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := healthyMachine(t)
			m.clock, m.synced = &c.meta, c.synced
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				m.servers = func() []probe.ClockReading {
					asked++
					time.Sleep(time.Second)
					return []probe.ClockReading{ntp}
				}
				out := bootstrap.Run(t.Context(), m.deps(), quick)
				if at := out.Gate.At.Sub(out.Started); at > 300*time.Millisecond || asked != c.asked {
					t.Errorf("gate after %s, %d questions", at, asked)
				}
				want := []probe.ClockReading{c.meta}
				if c.asked > 0 {
					want = append(want, ntp)
				}
				if !slices.Equal(out.Report.Clock, want) || out.Plan.Clock != c.synced {
					t.Errorf("readings %+v, state %+v", out.Report.Clock, out.Plan.Clock)
				}
			})
		})
	}
	t.Run("switched off", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.clock = &behind
		m.extra = prep("{experiments: {ntp: false}}")
		synctest.Test(t, func(t *testing.T) {
			m.servers = func() []probe.ClockReading { t.Error("asked"); return nil }
			bootstrap.Run(t.Context(), m.deps(), quick)
		})
	})
	t.Run("while blocked", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.clock = &behind
		m.broken["ecr.api"] = probe.TCPRefused
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			m.servers = func() []probe.ClockReading { asked++; return []probe.ClockReading{ntp} }
			m.after(time.Hour, func() { delete(m.broken, "ecr.api") })
			out := bootstrap.Run(t.Context(), m.deps(), quick)
			if asked < 20 || asked > 31 || len(out.Report.Clock) != 2 {
				t.Errorf("%d questions in an hour, readings %+v", asked, out.Report.Clock)
			}
		})
	})
	t.Run("synchronised later", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.synced = bootstrap.ClockState{Known: true, Service: true}
		m.broken["ecr.api"] = probe.TCPRefused
		synctest.Test(t, func(t *testing.T) {
			m.after(time.Minute, func() { m.synced.Synchronized = true })
			m.after(5*time.Minute, func() { delete(m.broken, "ecr.api") })
			if out := bootstrap.Run(t.Context(), m.deps(), quick); !out.Plan.Clock.Synchronized || out.Stage != bootstrap.StageDone {
				t.Errorf("stage %s, clock %+v", out.Stage, out.Plan.Clock)
			}
		})
	})
	t.Run("a panic is no end", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.clock = &behind
		synctest.Test(t, func(t *testing.T) {
			m.servers = func() []probe.ClockReading { panic("lost") }
			if out := bootstrap.Run(t.Context(), m.deps(), quick); out.Stage != bootstrap.StageDone {
				t.Errorf("stage %s: %s", out.Stage, out.Err)
			}
		})
	})
}
