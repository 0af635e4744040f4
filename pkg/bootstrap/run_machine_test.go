package bootstrap_test

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"sync"
	"testing"
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
	state    netcfg.State
	changes  chan struct{}
	broken   map[string]probe.Cause   // by target or host
	webPage  bool                     // answers 200 in place of the API server
	silent   bool                     // no DNS server answers
	stub     probe.Cause              // what the machine's own resolver says in place of an answer
	chatty   bool                     // rounds report progress in their middle, too
	writing  error                    // what writing files returns
	opening  error                    // what opening the gate returns
	asking   error                    // what asking for the scripts returns
	slow     map[string]time.Duration // further addresses that answer late
	gate     bool
	kubelet  bootstrap.UnitResult

	joined   bootstrap.Marker
	joining  error // what reading and writing the marker return
	marks    []time.Time
	flushes  []time.Time
	flushing func() // what emptying the resolver's cache does
	clock    *probe.ClockReading
	servers  func() []probe.ClockReading // what time servers say
	looks    [][]netip.Addr
	synced   bootstrap.ClockState

	rounds    [][]string // target names of each round
	asked     []question
	places    map[string]int // of a target's addresses in their subnets
	refreshed int
	writes    int
	starts    int
	ready     int
	published []bootstrap.Outcome
	status    []string
	read      int // of the network's state
	probing   int // probes under way
	overlap   bool
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
		state: testNetwork(), broken: map[string]probe.Cause{}, slow: map[string]time.Duration{}, places: map[string]int{},
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
			meta, err := f()
			meta.Clock = m.clock
			return meta, err
		},
		Machine: func(context.Context) (bootstrap.Machine, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			return bootstrap.Machine{CPUs: 2, MemoryMiB: 8192, Binary: "/usr/bin/nodeprep", BootID: "boot", Clock: m.synced}, nil
		},
		Network: func(context.Context) (netcfg.State, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.read++
			return m.state, nil
		},
		Sources: func(ud *bootstrap.Source) ([]bootstrap.Source, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.refreshed++
			var out []bootstrap.Source
			if ud != nil {
				out = append(out, *ud)
			}
			return append(out, m.extra...), nil
		},
		Look: func(_ context.Context, addrs []netip.Addr) ([]netcfg.Destination, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.looks = append(m.looks, addrs)
			var out []netcfg.Destination
			for _, a := range addrs {
				out = append(out, netcfg.Destination{Address: a, Type: "unicast", Link: "eth0"})
			}
			return out, nil
		},
		Probe: m.probe,
		Clock: func(ctx context.Context, servers []netip.AddrPort) []probe.ClockReading {
			if m.servers == nil {
				return nil
			}
			return m.servers()
		},
		FlushDNS: func(context.Context) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.flushes = append(m.flushes, time.Now())
			if m.flushing != nil {
				m.flushing()
			}
			return nil
		},
		Joined: func() (bootstrap.Marker, error) { m.mu.Lock(); defer m.mu.Unlock(); return m.joined, m.joining },
		MarkJoined: func(mark bootstrap.Marker) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.marks = append(m.marks, time.Now())
			if m.joining == nil {
				m.joined = mark
			}
			return m.joining
		},
		Scripts: func(context.Context) (bootstrap.ScriptState, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			return bootstrap.ScriptState{Pending: m.scripts, Unit: "cloud-final.service"}, m.asking
		},
		Write: func(files []bootstrap.File) ([]bootstrap.WrittenFile, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.writes++
			if m.writing != nil {
				return nil, m.writing
			}
			var out []bootstrap.WrittenFile
			for _, f := range files {
				out = append(out, bootstrap.WrittenFile{Path: f.Path, Changed: true})
			}
			return out, nil
		},
		Host:    m,
		Publish: func(o bootstrap.Outcome) { m.mu.Lock(); m.published = append(m.published, o); m.mu.Unlock() },
		Status:  func(line string) { m.mu.Lock(); m.status = append(m.status, line); m.mu.Unlock() },
		Extend:  func(time.Duration) {},
		Ready:   func() { m.mu.Lock(); m.ready++; m.mu.Unlock() },
		Changes: m.changes,
	}
}

// OpenGate opens the fake gate.
func (m *machine) OpenGate() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gate = m.gate || m.opening == nil
	return m.opening
}

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

// probe answers every target with two private addresses, as scripted. What grows
// does so in the first moments, as it does in a network.
func (m *machine) probe(ctx context.Context, s netcfg.State, targets []probe.Target, e probe.Experiments, progress func(probe.Report)) probe.Report {
	m.set(func() { m.probing++; m.overlap = m.overlap || m.probing > 1 })
	defer m.set(func() { m.probing-- })
	report, late := m.measure(s, targets)
	report.Clock = e.Clock
	m.set(func() { m.note(report, targets, e) })
	began := time.Now()
	if late > 0 && progress != nil {
		time.Sleep(20 * time.Millisecond)
		progress(unfinished(report))
		if m.chatty {
			time.Sleep(280 * time.Millisecond)
			progress(unfinished(report))
		}
	}
	select {
	case <-ctx.Done():
		for i := range report.Results {
			report.Results[i].Paths = nil
			report.Results[i].Pending = true
		}
		return report
	case <-time.After(max(0, late-time.Since(began))):
	}
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
	for _, t := range targets {
		names = append(names, t.Name)
		if _, known := m.places[t.Name]; !known {
			m.places[t.Name] = len(m.places)
		}
		res := probe.Result{Target: t.Name, Host: t.Host, Port: t.Port}
		var addrs []netip.Addr
		for subnet := 1; subnet <= 2; subnet++ {
			a := netip.AddrFrom4([4]byte{10, 20, byte(subnet), byte(100 + m.places[t.Name])})
			addrs = append(addrs, a)
			steps := []probe.Step{{Phase: probe.PhaseConnect, Took: probe.Duration(time.Millisecond)}}
			broken := cmp.Or(m.broken[t.Name], m.broken[t.Host])
			switch {
			case broken != "":
				steps[0].Cause = broken
				steps[0].Took = probe.Duration(3200 * time.Millisecond)
				late = max(late, 3200*time.Millisecond)
			case m.slow[t.Name] > 0 && subnet == 2:
				res.Pending = true
				late = max(late, m.slow[t.Name])
			default:
				steps = append(steps, probe.Step{Phase: probe.PhaseTLS})
				if len(t.Requests) > 0 {
					steps = append(steps, probe.Step{Phase: probe.PhaseHTTP, HTTP: &probe.HTTPInfo{Method: "GET", Path: "/readyz", Status: 200, Body: m.readyz()}})
				}
			}
			if !res.Pending || subnet != 2 {
				res.Paths = append(res.Paths, probe.Path{Address: netip.AddrPortFrom(a, t.Port), Servers: s.DNS.Servers, Steps: steps})
			}
		}
		res.Lookups = []probe.Lookup{{Server: s.DNS.Servers[0], Type: "A", RCode: "NOERROR", Addresses: addrs, Sent: 1}}
		if t.System {
			res.System = m.bySystem(addrs, cmp.Or(m.broken[t.Name], m.broken[t.Host]))
		}
		if m.silent {
			late = 3 * time.Second
			res.Paths = nil
			res.Lookups = []probe.Lookup{{Server: s.DNS.Servers[0], Type: "A", Cause: probe.DNSTimeout, Sent: 4, Took: probe.Duration(late)}}
			if t.System {
				res.System = m.bySystem(nil, "")
			}
		}
		report.Results = append(report.Results, res)
	}
	m.rounds = append(m.rounds, names)
	return report, late
}

// readyz is the body of the API server's answer.
func (m *machine) readyz() string {
	if m.webPage {
		return "<html>"
	}
	return "ok"
}
