package bootstrap_test

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// A question is one call of Probe.
type question struct {
	at    time.Time
	round int // by the readings of the configuration, which each round begins with
	names []string
	cost  int  // questions and connections
	bare  bool // no experiment was allowed
}

// note counts what a round asks, and makes the experiments that it may.
func (m *machine) note(report probe.Report, targets []probe.Target, e probe.Experiments) {
	q := question{at: time.Now(), round: m.refreshed, bare: !e.UDPTest}
	for i, t := range targets {
		q.names = append(q.names, t.Name)
		res := &report.Results[i]
		q.cost += len(res.Lookups) + len(res.Paths)
		if t.System {
			q.cost += 3
		}
		for j := range res.Paths {
			if res.Paths[j].Cause() != "" && e.UDPTest {
				res.Paths[j].Experiments = []probe.Experiment{{Kind: probe.KindUDPTest, Steps: []probe.Step{{Phase: probe.PhaseUDP}}}}
			}
		}
	}
	m.asked = append(m.asked, q)
}

// unfinished is a report before any of its connects was given up.
func unfinished(report probe.Report) probe.Report {
	report.Results = slices.Clone(report.Results)
	for i := range report.Results {
		res := &report.Results[i]
		res.Paths = slices.Clone(res.Paths)
		for j := range res.Paths {
			if p := &res.Paths[j]; p.Cause() == probe.TCPTimeout {
				p.Steps, p.Pending, res.Pending = nil, true, true
			}
		}
	}
	return report
}

// bySystem is what the machine's own resolver and connect say.
func (m *machine) bySystem(addrs []netip.Addr, broken probe.Cause) *probe.System {
	switch {
	case m.stub != "" || m.silent:
		return &probe.System{Cause: cmp.Or(m.stub, probe.DNSTimeout), Err: "lookup failed"}
	}
	return &probe.System{Addresses: addrs, Path: &probe.Path{
		Address: netip.AddrPortFrom(addrs[0], 443), Steps: []probe.Step{{Phase: probe.PhaseConnect, Cause: broken}},
	}}
}

// rotated gives paths other public addresses.
func rotated(paths []probe.Path, n byte) []probe.Path {
	out := slices.Clone(paths)
	for i := range out {
		out[i].Address = netip.AddrPortFrom(netip.AddrFrom4([4]byte{52, 218, 1, n + byte(i)}), 443)
	}
	return out
}
