package bootstrap_test

import (
	"context"
	"fmt"
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

// perRound adds up what was asked in each round that began in the steady state.
func (m *machine) perRound(from time.Time) map[int]question {
	rounds := map[int]question{}
	for _, q := range m.asked {
		sum, known := rounds[q.round]
		if !known {
			sum = question{at: q.at, round: q.round, bare: true}
		}
		sum.cost += q.cost
		sum.bare = sum.bare && q.bare
		sum.names = append(sum.names, q.names...)
		rounds[q.round] = sum
	}
	for i, q := range rounds {
		if q.at.Before(from) {
			delete(rounds, i)
		}
	}
	return rounds
}

// endpoints are n endpoints of the user's own.
func endpoints(n int, role bootstrap.Role) string {
	var b strings.Builder
	b.WriteString("{endpoints: [")
	for i := range n {
		fmt.Fprintf(&b, "{name: own%d, host: own%d.example.com, role: %s}, ", i, i, role)
	}
	return b.String() + "]}"
}

// A blocked node makes at most ten questions and connections a round, for hours, and
// every failing target has its turn.
func TestRunBlockedIsPolite(t *testing.T) {
	t.Parallel()
	all := []string{"apiserver", "ec2", "ecr.api", "ecr.dkr", "s3"}
	for name, c := range map[string]struct {
		spoil func(m *machine)
		turns int // rounds within which every failing target is asked again
	}{
		"one endpoint":      {func(m *machine) { m.broken["ecr.api"] = probe.TCPTimeout }, 1},
		"the API server":    {func(m *machine) { m.broken["apiserver"] = probe.TCPTimeout }, 1},
		"DNS":               {func(m *machine) { m.silent = true }, 5},
		"everything silent": {func(m *machine) { m.breakAll(probe.TCPTimeout, all...) }, 5},
		"everything refused": {func(m *machine) {
			m.breakAll(probe.TCPRefused, all...)
		}, 5},
		"a cause for each": {func(m *machine) {
			for i, cause := range []probe.Cause{probe.TCPTimeout, probe.TCPRefused, probe.TCPReset, probe.TCPHostUnreachable} {
				m.broken[all[i]] = cause
			}
		}, 8},
		"thirty of one's own": {func(m *machine) {
			m.extra = prep(endpoints(30, bootstrap.RoleReady))
			for i := range 30 {
				m.broken[fmt.Sprintf("own%d", i)] = probe.TCPRefused
			}
		}, 30},
		"thirty that only warn": {func(m *machine) {
			m.extra = prep(endpoints(30, bootstrap.RoleWorkload))
			m.broken["apiserver"] = probe.TCPRefused
			for i := range 30 {
				m.broken[fmt.Sprintf("own%d", i)] = probe.TCPRefused
			}
		}, 40},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := healthyMachine(t)
			c.spoil(m)
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour+boot)
				defer cancel()
				out := bootstrap.Run(ctx, m.deps(), quick)
				rounds := m.perRound(began.Add(boot))
				total, experiments := 0, 0
				last := map[string]int{}
				first := 1 << 30
				for _, q := range rounds {
					total += q.cost
					first = min(first, q.round)
					if !q.bare {
						if experiments++; len(q.names) > 1 {
							t.Errorf("round %d made experiments of %v", q.round, q.names)
						}
					}
					if q.cost > 10 {
						t.Errorf("round %d cost %d: %v", q.round, q.cost, q.names)
					}
				}
				if len(rounds) < 60 || total > 10*len(rounds) {
					t.Errorf("%d questions in %d rounds", total, len(rounds))
				}
				for i := first; i < first+len(rounds); i++ {
					for _, name := range rounds[i].names {
						if from, ok := last[name]; ok && i-from > c.turns {
							t.Errorf("%s was asked in round %d and again in %d", name, from, i)
						}
						last[name] = i
					}
				}
				for _, f := range out.Verdict.Blocking() {
					for _, target := range f.Targets {
						if last[target] == 0 {
							t.Errorf("%s was never asked again", target)
						}
					}
				}
				t.Logf("%d questions in %d rounds of an hour, %d with experiments", total, len(rounds), experiments)
			})
		})
	}
}

const boot = 2 * time.Minute

func (m *machine) breakAll(cause probe.Cause, names ...string) {
	for _, n := range names {
		m.broken[n] = cause
	}
}

// Also within the boot a node that fails in the same way for the third time is polite.
func TestRunSameThrice(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.breakAll(probe.TCPTimeout, "apiserver", "ec2", "ecr.api", "ecr.dkr", "s3")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), boot)
		defer cancel()
		bootstrap.Run(ctx, m.deps(), quick)
		for i, names := range m.rounds {
			if full := len(names) == 5; full != (i < 4) {
				t.Errorf("call %d asked %v", i, names)
			}
		}
	})
}

// Experiments are made once, kept while the target fails in the same way at the same
// addresses, and repeated after ten minutes or when the failure changes.
func TestRunKeepsExperiments(t *testing.T) {
	t.Parallel()
	kept := func(o bootstrap.Outcome) bool {
		res, _ := o.Report.Result("ecr.api")
		return len(res.Paths) == 2 && !slices.ContainsFunc(res.Paths, func(p probe.Path) bool { return len(p.Experiments) == 0 })
	}
	t.Run("in the same way", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.broken["ecr.api"] = probe.TCPTimeout
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			bootstrap.Run(ctx, m.deps(), quick)
			n := 0
			for _, q := range m.asked {
				if !q.bare {
					n++
				}
			}
			if n < 4 || n > 9 { // three at boot, then one each ten minutes
				t.Errorf("%d of %d rounds made experiments", n, len(m.asked))
			}
			for _, o := range m.published[len(m.published)/2:] {
				if !kept(o) {
					t.Fatalf("lost after %s", o.Updated.Sub(o.Started))
				}
			}
		})
	})
	t.Run("in another way", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.broken["ecr.api"] = probe.TCPTimeout
		synctest.Test(t, func(t *testing.T) {
			m.after(5*time.Minute, func() { m.broken["ecr.api"] = probe.TCPReset })
			ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
			defer cancel()
			out := bootstrap.Run(ctx, m.deps(), quick)
			last := m.asked[0].at
			for _, q := range m.asked {
				if !q.bare {
					last = q.at
				}
			}
			if at := last.Sub(out.Started); at < 5*time.Minute || !kept(out) {
				t.Errorf("last experiments after %s", at)
			}
		})
	})
	t.Run("not of what heals", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.breakAll(probe.TCPTimeout, "ecr.api", "ec2")
		synctest.Test(t, func(t *testing.T) {
			m.after(5*time.Minute, func() { delete(m.broken, "ecr.api") })
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
			defer cancel()
			out := bootstrap.Run(ctx, m.deps(), quick)
			if res, _ := out.Report.Result("ecr.api"); !res.Paths[0].OK() || len(res.Paths[0].Experiments) > 0 {
				t.Errorf("%+v", res.Paths)
			}
		})
	})
}

// A repair of the cause is noticed in the next round, one of a single target
// of n in n rounds; then everything is asked again at once.
func TestRunNoticesRepairs(t *testing.T) {
	t.Parallel()
	names := []string{"ec2", "ecr.api", "ecr.dkr", "s3"}
	t.Run("of the cause", func(t *testing.T) {
		t.Parallel()
		m := healthyMachine(t)
		m.breakAll(probe.TCPTimeout, names...)
		synctest.Test(t, func(t *testing.T) {
			m.after(20*time.Minute, func() { clear(m.broken) })
			out := bootstrap.Run(t.Context(), m.deps(), quick)
			if at := out.Gate.At.Sub(out.Started); at < 20*time.Minute || at > 20*time.Minute+34*time.Second {
				t.Errorf("gate after %s", at)
			}
		})
	})
	for _, healed := range names {
		t.Run("of "+healed, func(t *testing.T) {
			t.Parallel()
			m := healthyMachine(t)
			m.breakAll(probe.TCPTimeout, names...)
			synctest.Test(t, func(t *testing.T) {
				m.after(20*time.Minute, func() { delete(m.broken, healed) })
				ctx, cancel := context.WithTimeout(t.Context(), 29*time.Minute)
				defer cancel()
				bootstrap.Run(ctx, m.deps(), quick)
				for _, o := range m.published {
					if res, _ := o.Report.Result(healed); len(res.Paths) > 0 && res.Paths[0].OK() {
						if at := o.Updated.Sub(o.Started); at > 20*time.Minute+4*34*time.Second {
							t.Errorf("noticed after %s", at)
						}
						return
					}
				}
				t.Error("never noticed")
			})
		})
	}
}

// Old evidence opens no gate: what passed before is asked again when the last
// cause heals.
func TestRunRenewsEvidence(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.broken["ecr.api"] = probe.TCPTimeout
	synctest.Test(t, func(t *testing.T) {
		m.after(20*time.Minute, func() { m.broken["ec2"] = probe.TCPTimeout; delete(m.broken, "ecr.api") })
		m.after(25*time.Minute, func() { delete(m.broken, "ec2") })
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		if at := out.Gate.At.Sub(out.Started); at < 25*time.Minute || at > 25*time.Minute+34*time.Second {
			t.Errorf("gate after %s", at)
		}
	})
}

// Names whose public addresses rotate are no news each round, and what was tried of
// them is kept.
func TestRunRotatingAddresses(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.broken["s3"] = probe.TCPTimeout
	synctest.Test(t, func(t *testing.T) {
		d := m.deps()
		n := byte(0)
		d.Probe = func(ctx context.Context, s netcfg.State, targets []probe.Target, e probe.Experiments, progress func(probe.Report)) probe.Report {
			report := m.probe(ctx, s, targets, e, progress)
			for i, res := range report.Results {
				if res.Target == "s3" {
					n += 2
					report.Results[i].Paths = rotated(res.Paths, n)
				}
			}
			return report
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		out := bootstrap.Run(ctx, d, quick)
		for _, q := range m.perRound(out.Started.Add(boot)) {
			if q.cost > 10 || len(q.names) > 1 {
				t.Errorf("round %d asked %v", q.round, q.names)
			}
		}
		if res, _ := out.Report.Result("s3"); len(res.Paths) != 2 || len(res.Paths[0].Experiments) == 0 {
			t.Errorf("%+v", res)
		}
	})
}

// What references say of a name counts while its own servers fail in the same way,
// also where they gave addresses that were connected to, or a lookup takes until the
// round is over.
func TestRunKeepsReferences(t *testing.T) {
	t.Parallel()
	for name, pending := range map[string]bool{"all said": false, "cut short": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := healthyMachine(t)
			synctest.Test(t, func(t *testing.T) {
				d := m.deps()
				d.Probe = func(ctx context.Context, s netcfg.State, targets []probe.Target, e probe.Experiments, progress func(probe.Report)) probe.Report {
					report := m.probe(ctx, s, targets, e, progress)
					if i := slices.IndexFunc(report.Results, func(res probe.Result) bool { return res.Target == "ecr.api" }); i >= 0 {
						report.Results[i] = notForwarded(report.Results[i], e.References)
						report.Results[i].Pending = pending
					}
					return report
				}
				ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
				defer cancel()
				out := bootstrap.Run(ctx, d, quick)
				for _, q := range m.asked {
					if !q.bare && q.at.Sub(out.Started) > boot {
						t.Errorf("after %s %v were asked with experiments", q.at.Sub(out.Started), q.names)
					}
				}
				for _, o := range m.published[len(m.published)/2:] {
					res, _ := o.Report.Result("ecr.api")
					if len(res.Compared) == 0 || len(res.Paths) != 1 || !res.Paths[0].Reference {
						t.Fatalf("after %s: %+v", o.Updated.Sub(o.Started), res)
					}
				}
			})
		})
	}
}

// notForwarded is a result as that of a name which only the references know.
func notForwarded(res probe.Result, references []netip.AddrPort) probe.Result {
	known, server := res.Paths[0].Address, res.Lookups[0].Server
	res.Lookups = []probe.Lookup{{Server: server, Type: "A", Cause: probe.DNSNXDomain, RCode: "NXDOMAIN", Sent: 1}}
	res.Paths = nil
	for _, server := range references {
		res.Compared = append(res.Compared, probe.Lookup{Server: server, Type: "A", RCode: "NOERROR", Addresses: []netip.Addr{known.Addr()}, Sent: 1})
	}
	if len(references) > 0 {
		res.Paths = []probe.Path{{Address: known, Reference: true, Servers: references, Steps: []probe.Step{{Phase: probe.PhaseConnect}}}}
	}
	return res
}

// Where no experiment is allowed none is repeated, and every round asks a target for
// each cause.
func TestRunWithoutExperiments(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.extra = prep(`{experiments: {compareDNS: "off", directPath: "off", secondSNI: false, smallHello: false, mssClamp: false, udpTest: false}}`)
	m.broken["ec2"], m.broken["ecr.api"] = probe.TCPTimeout, probe.TCPRefused
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
		defer cancel()
		out := bootstrap.Run(ctx, m.deps(), quick)
		for i, q := range m.perRound(out.Started.Add(boot)) {
			if !q.bare || len(q.names) != 2 {
				t.Errorf("round %d asked %v", i, q.names)
			}
		}
	})
}
