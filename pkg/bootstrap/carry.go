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
	for i := range now.Results {
		is := &now.Results[i]
		was, ok := old.Result(is.Target)
		switch {
		case !ok || failure(was) != failure(*is) || !sameAddresses(was, *is):
		case slices.ContainsFunc(is.Paths, func(p probe.Path) bool { return pathTo(was.Paths, p.Address) < 0 }):
			*is = was
		default:
			carry(was, is)
		}
	}
	return now
}

// carry adds to a result what experiments showed before.
func carry(was probe.Result, is *probe.Result) {
	is.Compared, is.Direct = was.Compared, was.Direct
	is.Paths = slices.Clone(is.Paths)
	for i := range is.Paths {
		p, before := &is.Paths[i], was.Paths[pathTo(was.Paths, is.Paths[i].Address)]
		if pathFailure(*p) == pathFailure(before) {
			p.Experiments = before.Experiments
			p.Steps = reverified(p.Steps, before)
		}
	}
	for _, p := range was.Paths {
		if p.Reference {
			is.Paths = append(is.Paths, p)
		}
	}
	slices.SortFunc(is.Paths, func(a, b probe.Path) int { return a.Address.Compare(b.Address) })
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
