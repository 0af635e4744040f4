package bootstrap_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// machine is a fake of everything Run touches: plain data, changed by tests.
type machine struct {
	mu       sync.Mutex
	metadata func() (bootstrap.Metadata, error)
	extra    []bootstrap.Source
	scripts  bool // cloud-final still runs
	broken   map[string]probe.Cause
	slow     map[string]time.Duration // further addresses that answer late
	gate     bool
	kubelet  bootstrap.UnitResult

	rounds    [][]string // target names of each round
	writes    int
	starts    int
	ready     int
	published []bootstrap.Outcome
}

// set changes the fake while a run is under way.
func (m *machine) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// healthyMachine passes everything.
func healthyMachine(t *testing.T) *machine {
	t.Helper()
	ud := nodeConfig(t)
	return &machine{
		broken: map[string]probe.Cause{}, slow: map[string]time.Duration{},
		metadata: func() (bootstrap.Metadata, error) {
			return bootstrap.Metadata{Instance: testInstance(), UserData: ud}, nil
		},
		kubelet: bootstrap.UnitResult{Unit: "kubelet.service", Job: "done", ActiveState: "active", SubState: "running", Result: "success", ConditionMet: true, Healthy: true},
	}
}

func testInstance() bootstrap.Instance {
	return bootstrap.Instance{
		ID: "i-0123456789abcdef0", Type: "m5.large", Architecture: "x86_64", AccountID: "111122223333",
		Region: "us-west-2", Zone: "us-west-2a", DNSSuffix: "amazonaws.com", MAC: "02:00:0a:14:01:32",
		LocalHostname: "ip-10-20-1-50.us-west-2.compute.internal", LocalIPv4: netip.MustParseAddr("10.20.1.50"),
		VPC: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}, Subnet: []netip.Prefix{netip.MustParsePrefix("10.20.1.0/24")},
		Role: "node",
	}
}

// nodeConfig is user data for a cluster with a new CA.
func nodeConfig(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return fmt.Appendf(nil, `apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  cluster:
    name: demo
    apiServerEndpoint: https://0123456789ABCDEF0123456789ABCDEF.gr7.us-west-2.eks.amazonaws.com
    certificateAuthority: %s
    cidr: 172.20.0.0/16
`, base64.StdEncoding.EncodeToString(b))
}

// deps wires the fake.
func (m *machine) deps() bootstrap.Deps {
	return bootstrap.Deps{
		Metadata: func(context.Context) (bootstrap.Metadata, error) {
			m.mu.Lock()
			f := m.metadata
			m.mu.Unlock()
			return f()
		},
		Machine: func(context.Context) (bootstrap.Machine, error) {
			return bootstrap.Machine{CPUs: 2, MemoryMiB: 8192, Binary: "/usr/bin/nodeprep", BootID: "boot"}, nil
		},
		Network: func(context.Context) (netcfg.State, error) { return testNetwork(), nil },
		Sources: func(ud *bootstrap.Source) ([]bootstrap.Source, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			var out []bootstrap.Source
			if ud != nil {
				out = append(out, *ud)
			}
			return append(out, m.extra...), nil
		},
		Probe: m.probe,
		Scripts: func(context.Context) (bootstrap.ScriptState, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			return bootstrap.ScriptState{Pending: m.scripts, Unit: "cloud-final.service"}, nil
		},
		Write: func(files []bootstrap.File) ([]bootstrap.WrittenFile, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.writes++
			var out []bootstrap.WrittenFile
			for _, f := range files {
				out = append(out, bootstrap.WrittenFile{Path: f.Path, Changed: true})
			}
			return out, nil
		},
		Host:    m,
		Publish: func(o bootstrap.Outcome) { m.mu.Lock(); m.published = append(m.published, o); m.mu.Unlock() },
		Status:  func(string) {},
		Extend:  func(time.Duration) {},
		Ready:   func() { m.mu.Lock(); m.ready++; m.mu.Unlock() },
	}
}

// OpenGate opens the fake gate.
func (m *machine) OpenGate() error { m.set(func() { m.gate = true }); return nil }

// GateState reads the fake gate.
func (m *machine) GateState() (bootstrap.Gate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.gate {
		return bootstrap.Gate{}, nil
	}
	return bootstrap.Gate{Open: true, By: bootstrap.GateOverride}, nil
}

// Start counts and answers as scripted.
func (m *machine) Start(context.Context, string) bootstrap.UnitResult {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.starts++
	return m.kubelet
}

// Inspect answers as scripted.
func (m *machine) Inspect(context.Context, string) bootstrap.UnitResult {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kubelet
}

func testNetwork() netcfg.State {
	return netcfg.State{
		Links: []netcfg.Link{{Index: 2, Name: "eth0", MAC: "02:00:0a:14:01:32", MTU: 9001, Up: true, Running: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.20.1.50/24")}}},
		Routes: []netcfg.Route{
			{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.20.1.1"), Link: 2, Table: 254, Type: "unicast"},
			{Destination: netip.MustParsePrefix("10.20.1.0/24"), Link: 2, Table: 254, Type: "unicast"},
		},
		DNS: netcfg.DNS{Servers: []netip.AddrPort{netip.MustParseAddrPort("10.20.0.2:53")}, File: "/etc/resolv.conf"},
	}
}

// probe answers every target with two private addresses, as scripted.
func (m *machine) probe(_ context.Context, s netcfg.State, targets []probe.Target, progress func(probe.Report)) probe.Report {
	report, late := m.measure(s, targets)
	if late > 0 && progress != nil {
		time.Sleep(300 * time.Millisecond)
		progress(report)
	}
	time.Sleep(max(0, late-300*time.Millisecond))
	report.Took = probe.Duration(time.Since(report.Started))
	report.Results = slices.Clone(report.Results)
	for i := range report.Results {
		report.Results[i].Pending = false
	}
	return report
}

// measure makes the report of one round as scripted, and says how long it takes.
func (m *machine) measure(s netcfg.State, targets []probe.Target) (probe.Report, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	report := probe.Report{Started: time.Now()}
	var names []string
	var late time.Duration
	for i, t := range targets {
		names = append(names, t.Name)
		res := probe.Result{Target: t.Name, Host: t.Host, Port: t.Port}
		var addrs []netip.Addr
		for subnet := 1; subnet <= 2; subnet++ {
			a := netip.AddrFrom4([4]byte{10, 20, byte(subnet), byte(100 + i)})
			addrs = append(addrs, a)
			steps := []probe.Step{{Phase: probe.PhaseConnect, Took: probe.Duration(time.Millisecond)}}
			switch {
			case m.broken[t.Name] != "":
				steps[0].Cause = m.broken[t.Name]
				steps[0].Took = probe.Duration(3200 * time.Millisecond)
				late = max(late, 3200*time.Millisecond)
			case m.slow[t.Name] > 0 && subnet == 2:
				res.Pending = true
				late = max(late, m.slow[t.Name])
			default:
				steps = append(steps, probe.Step{Phase: probe.PhaseTLS})
				if len(t.Requests) > 0 {
					steps = append(steps, probe.Step{Phase: probe.PhaseHTTP, HTTP: &probe.HTTPInfo{Method: "GET", Path: "/readyz", Status: 200, Body: "ok"}})
				}
			}
			if !res.Pending || subnet != 2 {
				res.Paths = append(res.Paths, probe.Path{Address: netip.AddrPortFrom(a, t.Port), Servers: s.DNS.Servers, Steps: steps})
			}
		}
		res.Lookups = []probe.Lookup{{Server: s.DNS.Servers[0], Type: "A", RCode: "NOERROR", Addresses: addrs, Sent: 1}}
		report.Results = append(report.Results, res)
	}
	m.rounds = append(m.rounds, names)
	return report, late
}

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
