package bootstrap

import (
	"slices"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// carried returns the results of a round without experiments, with what earlier
// ones showed of targets that fail in the same way at the same addresses. A name
// that rotates among addresses and fails in the same way keeps its evidence whole.
func carried(old, now probe.Report) probe.Report {
	now.Results = slices.Clone(now.Results)
	for i, is := range now.Results {
		was, ok := old.Result(is.Target)
		if !ok || is.Pending || failure(was) != failure(is) || !sameAddresses(was, is) {
			continue
		}
		at := func(p probe.Path, res probe.Result) int {
			return slices.IndexFunc(res.Paths, func(o probe.Path) bool { return o.Address == p.Address })
		}
		if slices.ContainsFunc(is.Paths, func(p probe.Path) bool { return at(p, was) < 0 }) {
			now.Results[i] = was
			continue
		}
		if len(is.Compared) == 0 {
			is.Compared = was.Compared
		}
		if is.Direct == nil {
			is.Direct = was.Direct
		}
		is.Paths = slices.Clone(is.Paths)
		for j := range is.Paths {
			p, before := &is.Paths[j], was.Paths[at(is.Paths[j], was)]
			if pathFailure(*p) != pathFailure(before) {
				continue
			}
			if len(p.Experiments) == 0 {
				p.Experiments = before.Experiments
			}
			p.Steps = reverified(p.Steps, before)
		}
		now.Results[i] = is
	}
	return now
}

// reverified gives the handshake among steps what is known of its chain at
// another clock's time.
func reverified(steps []probe.Step, before probe.Path) []probe.Step {
	was, ok := before.Step(probe.PhaseTLS)
	if !ok || was.TLS == nil || was.TLS.Reverified == nil {
		return steps
	}
	steps = slices.Clone(steps)
	for i := range steps {
		if is := steps[i].TLS; is != nil && is.Reverified == nil {
			info := *is
			info.Reverified = was.TLS.Reverified
			steps[i].TLS = &info
		}
	}
	return steps
}

// meanwhile returns a snapshot of a round, in which a target that failed before keeps
// what is known of it until an address answers or all is known again: it may well be
// one for which nobody waits any more, and then it is told why it fails.
func meanwhile(old, snapshot probe.Report) probe.Report {
	snapshot.Results = slices.Clone(snapshot.Results)
	for i, is := range snapshot.Results {
		if was, ok := old.Result(is.Target); ok && is.Pending && !was.Pending && !passes(is) && !passes(was) {
			snapshot.Results[i] = was
		}
	}
	return snapshot
}
