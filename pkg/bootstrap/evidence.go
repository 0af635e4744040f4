package bootstrap

import (
	"bytes"
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
	out := probe.Report{Started: now.Started, Took: now.Took, Results: slices.Clone(old.Results)}
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

// due chooses what a round asks: everything that did not pass on every address
// or that a finding names (an answer may be complete and still wrong), and what
// passed too long ago. While no DNS server answers anything, one name,
// the canary, is asked in place of all: thousands of blocked nodes must not be a
// flood.
func (r *run) due(now time.Time) (targets []probe.Target, canary bool) {
	silent := len(r.out.Report.Results) > 0
	blamed := map[string]bool{}
	for _, f := range r.out.Verdict.Findings {
		for _, name := range f.Targets {
			blamed[name] = true
		}
	}
	for _, t := range r.out.Plan.Targets {
		res, ok := r.out.Report.Result(t.Name)
		silent = silent && ok && unanswered(res)
		if !ok || !clean(res) || blamed[t.Name] || now.Sub(r.measured[t.Name]) > evidenceLasts {
			targets = append(targets, t.Target)
		}
	}
	if silent && len(targets) > 1 && now.Sub(r.measured[targets[0].Name]) <= evidenceLasts {
		return targets[:1], true
	}
	return targets, false
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
		slices.EqualFunc(a.Requests, b.Requests, func(a, b probe.Request) bool { return a.Method == b.Method && a.Path == b.Path })
}

// clean reports whether every lookup and path of a result passed.
func clean(res probe.Result) bool {
	for _, l := range res.Lookups {
		if l.Cause != "" && l.Cause != probe.DNSNoData {
			return false
		}
	}
	for _, p := range res.Paths {
		if !p.OK() {
			return false
		}
	}
	return len(res.Paths) > 0 && !res.Pending
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
