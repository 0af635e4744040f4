package bootstrap_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// after changes the fake once d has passed.
func (m *machine) after(d time.Duration, f func()) { time.AfterFunc(d, func() { m.set(f) }) }

// confFile is a file of a configuration directory.
func confFile(text string) []bootstrap.Source {
	return []bootstrap.Source{{Name: "/etc/nodeprep/conf.d/50.yaml", Data: []byte(text)}}
}

// codesOf are the codes of every verdict that was published while the gate was closed.
func (m *machine) codesOf() string {
	var seen []string
	for _, o := range m.published {
		for _, f := range o.Verdict.Findings {
			if c := string(f.Code); !o.Gate.Open && (len(seen) == 0 || seen[len(seen)-1] != c) {
				seen = append(seen, c)
			}
		}
	}
	return strings.Join(seen, " ")
}

// An endpoint that changes between two rounds is another one: what its target's
// name was found to be does not count.
func TestRunAsksChangedTargets(t *testing.T) {
	t.Parallel()
	const elsewhere = "FEDCBA9876543210FEDCBA9876543210.gr7.us-west-2.eks.amazonaws.com"
	endpoint := confFile("apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec: {cluster: {apiServerEndpoint: https://" + elsewhere + "}}\n")
	for name, scripts := range map[string]bool{"while blocked": false, "by user scripts": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := healthyMachine(t)
			m.scripts = scripts
			m.broken[strings.ToLower(elsewhere)], m.broken[elsewhere] = probe.TCPTimeout, probe.TCPTimeout
			if !scripts {
				m.broken["ecr.api"] = probe.TCPTimeout
			}
			synctest.Test(t, func(t *testing.T) {
				m.after(20*time.Second, func() { m.extra, m.scripts = endpoint, false; delete(m.broken, "ecr.api") })
				m.after(50*time.Second, func() { m.extra = nil })
				out := bootstrap.Run(t.Context(), m.deps(), quick)
				if at := out.Gate.At.Sub(out.Started); out.Stage != bootstrap.StageDone || at < 50*time.Second || at > 60*time.Second {
					t.Errorf("stage %s, gate after %s", out.Stage, at)
				}
				if !strings.Contains(m.codesOf(), "NP-NET-114") {
					t.Errorf("found %s", m.codesOf())
				}
			})
		})
	}
}

// What was measured in another network is no evidence in this one.
func TestRunAsksAgainWhatAnswersWrongly(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.webPage = true
	synctest.Test(t, func(t *testing.T) {
		time.AfterFunc(20*time.Second, func() { m.set(func() { m.webPage = false }) })
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		if at := out.Gate.At.Sub(out.Started); out.Stage != bootstrap.StageDone || at < 20*time.Second || at > 26*time.Second {
			t.Errorf("stage %s, gate after %s", out.Stage, at)
		}
	})
}

func TestRunAsksAgainInAnotherNetwork(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.broken["ecr.api"] = probe.TCPTimeout
	synctest.Test(t, func(t *testing.T) {
		m.after(20*time.Second, func() {
			m.state.DNS.Servers = []netip.AddrPort{netip.MustParseAddrPort("10.20.0.53:53")}
			m.silent = true
			delete(m.broken, "ecr.api")
		})
		m.after(60*time.Second, func() { m.silent = false })
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		if at := out.Gate.At.Sub(out.Started); at < 60*time.Second || at > 70*time.Second {
			t.Errorf("gate after %s", at)
		}
		if got, want := m.codesOf(), "NP-NET-105 NP-DNS-102"; got != want {
			t.Errorf("found %s, want %s", got, want)
		}
	})
}

// While DNS is silent one name is asked, and when it answers all are, at once:
// nobody is told that the server knows one name and no other.
func TestRunCanary(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.silent = true
	synctest.Test(t, func(t *testing.T) {
		m.after(time.Minute, func() { m.silent = false })
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		if at := out.Gate.At.Sub(out.Started); at < time.Minute || at > time.Minute+8*time.Second {
			t.Errorf("gate after %s", at)
		}
		if got := m.codesOf(); got != "NP-DNS-112" {
			t.Errorf("found %s", got)
		}
		one := 0
		for _, asked := range m.rounds {
			if len(asked) == 1 {
				one++
			}
		}
		if one != len(m.rounds)-2 {
			t.Errorf("%d of %d rounds asked one name, want all but the first and the last", one, len(m.rounds))
		}
	})
}

// A blocked node says the same thing all the time, also in the middle of a round.
func TestRunSaysOneThing(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.broken["ecr.api"] = probe.TCPTimeout
	m.chatty = true
	synctest.Test(t, func(t *testing.T) {
		m.after(5*time.Minute, func() { delete(m.broken, "ecr.api") })
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		blocked := false
		for _, line := range m.status {
			now := strings.Contains(line, "NP-NET-105")
			if blocked && !now && strings.HasPrefix(line, "probing") {
				t.Errorf("STATUS=%s", line)
			}
			blocked = blocked || now
		}
		if got := m.codesOf(); got != "NP-NET-105" || !blocked {
			t.Errorf("found %s, shown %v", got, blocked)
		}
		for key, seen := range out.History {
			if seen.Times > out.Round {
				t.Errorf("%s was seen %d times in %d rounds", key, seen.Times, out.Round)
			}
		}
	})
}

// While user scripts run there is no hurry: a round ends before the next begins.
func TestRunScriptsAndSlowAddresses(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.slow["ec2"] = 3 * time.Second
	m.scripts, m.chatty = true, true
	synctest.Test(t, func(t *testing.T) {
		m.after(time.Second, func() { m.scripts = false })
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		if out.Stage != bootstrap.StageDone || m.overlap {
			t.Errorf("stage %s, two probes at a time %v", out.Stage, m.overlap)
		}
	})
}

// A systemd that does not answer at boot says nothing about user scripts.
func TestRunScriptsUnknown(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.metadata = func() (bootstrap.Metadata, error) { return bootstrap.Metadata{Instance: testInstance()}, nil }
	m.asking = errors.New("no reply")
	ud := nodeConfig(t)
	synctest.Test(t, func(t *testing.T) {
		m.after(30*time.Second, func() { m.asking, m.extra = nil, []bootstrap.Source{{Name: "/etc/eks/nodeadm.d/10.yaml", Data: ud}} })
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		if at := out.Gate.At.Sub(out.Started); out.Stage != bootstrap.StageDone || at > 35*time.Second {
			t.Errorf("stage %s, gate after %s: %+v", out.Stage, at, out.Verdict)
		}
	})
}

// What cannot be written holds the gate, says so, and heals.
func TestRunUnwritable(t *testing.T) {
	t.Parallel()
	full := fmt.Errorf("write /etc/kubernetes/pki/ca.crt: %w", syscall.ENOSPC)
	for name, spoil := range map[string]func(m *machine, err error){
		"file": func(m *machine, err error) { m.writing = err },
		"gate": func(m *machine, err error) { m.opening = err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := healthyMachine(t)
			m.slow["ec2"] = 3 * time.Second
			spoil(m, full)
			synctest.Test(t, func(t *testing.T) {
				m.after(time.Minute, func() { spoil(m, nil) })
				out := bootstrap.Run(t.Context(), m.deps(), quick)
				if at := out.Gate.At.Sub(out.Started); out.Stage != bootstrap.StageDone || at < time.Minute || at > time.Minute+9*time.Second {
					t.Errorf("stage %s, gate after %s", out.Stage, at)
				}
				if got := m.codesOf(); got != "NP-HST-101" || m.starts != 1 || m.overlap || len(out.Verdict.Findings) != 0 {
					t.Errorf("found %s, started %d times, two probes at a time %v, at the end %+v", got, m.starts, m.overlap, out.Verdict.Findings)
				}
				for _, o := range m.published {
					if f := o.Verdict.Blocking(); len(f) > 0 && (o.Gate.Open || !strings.Contains(f[0].Remedy, "/etc/kubernetes/pki/ca.crt: no space left on device")) {
						t.Fatalf("gate %+v: %+v", o.Gate, f[0])
					}
				}
			})
		})
	}
}

// Who opens the gate before the metadata service is there gets the kubelet's
// files all the same.
func TestRunGateBeforeMetadata(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	good := m.metadata
	m.metadata = func() (bootstrap.Metadata, error) {
		return bootstrap.Metadata{}, &bootstrap.MetadataError{Method: "PUT", Path: "/latest/api/token", Phase: probe.PhaseConnect, Err: syscall.ECONNREFUSED}
	}
	m.gate = true
	synctest.Test(t, func(t *testing.T) {
		m.after(20*time.Second, func() {
			if m.starts > 0 {
				t.Error("started without files")
			}
			m.metadata = good
		})
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		if out.Stage != bootstrap.StageDone || m.writes != 1 || m.starts != 1 || out.Gate.By != bootstrap.GateOverride || len(m.rounds) != 1 {
			t.Errorf("stage %s, writes %d, starts %d, gate %+v, rounds %d", out.Stage, m.writes, m.starts, out.Gate, len(m.rounds))
		}
	})
}

// A file that somebody spoils while the node is blocked for another reason holds
// the gate and ends nothing.
func TestRunSpoiltConfig(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.broken["ecr.api"] = probe.TCPTimeout
	synctest.Test(t, func(t *testing.T) {
		m.after(20*time.Second, func() {
			m.extra = confFile("apiVersion: nodeprep.io/v1alpha1\nkind: PrepConfig\nspec: {mode: [\n")
			delete(m.broken, "ecr.api")
		})
		m.after(60*time.Second, func() { m.extra = nil })
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		if at := out.Gate.At.Sub(out.Started); out.Stage != bootstrap.StageDone || at < time.Minute || at > time.Minute+8*time.Second {
			t.Errorf("stage %s exit %d, gate after %s", out.Stage, out.Exit, at)
		}
		if !strings.Contains(m.codesOf(), "NP-CFG-102") {
			t.Errorf("found %s", m.codesOf())
		}
	})
}

// A signal in the middle of a round leaves the last verdict in the report.
func TestRunInterruptedKeepsVerdict(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.broken["ecr.api"] = probe.TCPTimeout
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		d := m.deps()
		d.Probe = func(ctx context.Context, s netcfg.State, targets []probe.Target, e probe.Experiments, progress func(probe.Report)) probe.Report {
			if len(m.rounds) == 2 {
				m.set(func() { m.state.Hostname = "changed" }) // voids what was measured
			}
			if len(m.rounds) == 3 {
				time.AfterFunc(time.Second, cancel)
			}
			return m.probe(ctx, s, targets, e, progress)
		}
		out := bootstrap.Run(ctx, d, quick)
		if b := out.Verdict.Blocking(); out.Exit != 143 || len(b) != 1 || b[0].Code != bootstrap.NET105 || !strings.Contains(out.Status, "NP-NET-105") {
			t.Errorf("exit %d status %q: %+v", out.Exit, out.Status, b)
		}
	})
}

// A limit on this machine counts from the beginning, also without metadata.
func TestRunGivesUpWithoutMetadata(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.extra = confFile("apiVersion: nodeprep.io/v1alpha1\nkind: PrepConfig\nspec: {giveUpAfter: 50m}\n")
	m.metadata = func() (bootstrap.Metadata, error) {
		return bootstrap.Metadata{}, &bootstrap.MetadataError{Method: "PUT", Path: "/latest/api/token", Phase: probe.PhaseConnect, Err: syscall.ECONNREFUSED}
	}
	synctest.Test(t, func(t *testing.T) {
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		if took := time.Since(out.Started); out.Exit != 75 || took < 50*time.Minute || took > 50*time.Minute+time.Second {
			t.Errorf("exit %d after %s", out.Exit, took)
		}
	})
}
