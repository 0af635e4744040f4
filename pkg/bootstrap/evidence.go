package bootstrap

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// merge takes the results of a round over those of earlier rounds.
func (r *run) merge(report probe.Report) {
	if r.measured == nil {
		r.measured = map[string]time.Time{}
	}
	for _, res := range report.Results {
		r.measured[res.Target] = report.Started.Add(time.Duration(report.Took))
	}
	r.out.Report = merged(r.out.Report, report)
}

// forget drops the result of a target that needs no more asking.
func (r *run) forget(target string) {
	kept := r.out.Report
	kept.Results = nil
	for _, res := range r.out.Report.Results {
		if res.Target != target {
			kept.Results = append(kept.Results, res)
		}
	}
	r.out.Report = kept
}

// merged returns old with every result that now has replaced or added. Results
// keep their places, so that one report reads like the next.
func merged(old, now probe.Report) probe.Report {
	out := probe.Report{Started: now.Started, Took: now.Took, Ended: now.Ended, Results: slices.Clone(old.Results), Clock: old.Clock}
	places := make(map[string]int, len(old.Results))
	for i, res := range old.Results {
		places[res.Target] = i
	}
	for _, res := range now.Results {
		if i, known := places[res.Target]; known {
			out.Results[i] = res
		} else {
			out.Results = append(out.Results, res)
		}
	}
	return out
}

// due chooses what a round asks. few says that it is less than all that is not
// known to pass: in the steady state, and while no DNS server answers anything.
func (r *run) due(now time.Time) (targets []probe.Target, few bool) {
	if r.opt.Watch > 0 {
		return r.open(now), false
	}
	var failing []probe.Target
	silent := len(r.out.Report.Results) > 0
	blamed := r.blamed()
	for _, t := range r.out.Plan.Targets {
		res, ok := r.out.Report.Result(t.Name)
		if !ok {
			return r.open(now), false
		}
		silent = silent && unanswered(res)
		if !clean(res) || blamed[t.Name] {
			failing = append(failing, t.Target)
		}
	}
	switch {
	case r.steady(now):
		return r.canaries(failing), true
	case silent && len(failing) > 1:
		return r.canaries(failing)[:1], true
	default:
		return r.open(now), false
	}
}

// open is everything that is not known to pass: what did not pass on every address
// or that a finding names (an answer may be complete and still wrong), and what
// passed too long ago.
func (r *run) open(now time.Time) []probe.Target {
	var targets []probe.Target
	blamed := r.blamed()
	for _, t := range r.out.Plan.Targets {
		res, ok := r.out.Report.Result(t.Name)
		if !ok || !clean(res) || blamed[t.Name] || now.Sub(r.measured[t.Name]) > evidenceLasts || r.opt.Watch > 0 {
			targets = append(targets, t.Target)
		}
	}
	return targets
}

// outdated is what passed too long ago to open the gate by it.
func (r *run) outdated(now time.Time) []probe.Target {
	var targets []probe.Target
	for _, t := range r.out.Plan.Targets {
		if res, ok := r.out.Report.Result(t.Name); ok && passes(res) && now.Sub(r.measured[t.Name]) > evidenceLasts {
			targets = append(targets, t.Target)
		}
	}
	return targets
}

// blamed are the targets that a finding names.
func (r *run) blamed() map[string]bool {
	names := map[string]bool{}
	for _, f := range slices.Concat(r.out.Verdict.Findings, r.out.Verdict.Waived) {
		for _, name := range f.Targets {
			names[name] = true
		}
	}
	return names
}

// void drops what was measured before something changed: all of it when the
// network did, and otherwise the results of targets that are no more what they
// were, or not at all. What was found over another DNS server, route or name
// says nothing about this one.
func (r *run) void(before netcfg.State, planned []Target) {
	moved := !before.Same(r.out.Network)
	kept := r.out.Report
	kept.Results = nil
	for _, res := range r.out.Report.Results {
		i := slices.IndexFunc(planned, func(t Target) bool { return t.Name == res.Target })
		t, ok := r.out.Plan.Target(res.Target)
		if res.Target == MetadataTarget || !moved && i >= 0 && ok && sameQuestion(planned[i].Target, t.Target) {
			kept.Results = append(kept.Results, res)
		}
	}
	r.out.Report = kept
}

// sameQuestion reports whether the answers for a are answers for b.
func sameQuestion(a, b probe.Target) bool {
	return a.Host == b.Host && a.Port == b.Port && a.TLS == b.TLS && a.Pool == b.Pool && bytes.Equal(a.Roots, b.Roots) &&
		a.Proxy == b.Proxy && a.System == b.System && a.Compare == b.Compare && slices.Equal(a.Hosts, b.Hosts) &&
		slices.EqualFunc(a.Requests, b.Requests, func(a, b probe.Request) bool { return a.Method == b.Method && a.Path == b.Path })
}

// ownPaths are the paths of a result that this machine would use, without those to
// addresses that only a reference gave.
func ownPaths(res probe.Result) []probe.Path {
	return slices.DeleteFunc(slices.Clone(res.Paths), func(p probe.Path) bool { return p.Reference })
}

// pathTo is the index of the path to an address, -1 for none.
func pathTo(paths []probe.Path, a netip.AddrPort) int {
	return slices.IndexFunc(paths, func(p probe.Path) bool { return p.Address == a })
}

// clean reports whether every lookup and path of a result passed.
func clean(res probe.Result) bool {
	for _, l := range res.Lookups {
		if l.Cause != "" && l.Cause != probe.DNSNoData {
			return false
		}
	}
	paths := ownPaths(res)
	if slices.ContainsFunc(paths, func(p probe.Path) bool { return !p.OK() }) {
		return false
	}
	if s := res.System; s != nil && !proxied(res) && (s.Cause != "" || s.Path != nil && !s.Path.OK()) {
		return false
	}
	return len(paths) > 0 && !res.Pending
}

// proxied reports whether the target was reached through a proxy. Whether this machine
// resolves its name makes no difference then.
func proxied(res probe.Result) bool {
	return slices.ContainsFunc(res.Paths, func(p probe.Path) bool {
		_, ok := p.Step(probe.PhaseProxy)
		return ok
	})
}

// unanswered reports whether no DNS server sent anything back.
func unanswered(res probe.Result) bool {
	for _, l := range res.Lookups {
		if l.Cause != probe.DNSTimeout {
			return false
		}
	}
	return len(res.Lookups) > 0
}
