package bootstrap

import (
	"cmp"
	"net/netip"
	"slices"
)

// A candidate is a cause that a rule found, before it is known whether another
// cause explains it.
type candidate struct {
	code    Code
	targets []*targetView
	// addresses concerned: of the targets, or of DNS servers.
	addresses []netip.Addr
	because   string
	fields    []string // for the templates: name, value, name, value …
	remedy    string   // template in place of the table's, empty for none
	not       []RuledOut
	// confidence and severity in place of the table's; a confidence only lowers.
	confidence Confidence
	severity   Severity
	// needsAll says that a pending result could still disprove the cause.
	needsAll bool
	// force blocks although no target fails by it, warn never blocks.
	force, warn bool
	// global causes explain symptoms of every target, others those of their own.
	global   bool
	explains []symptom
}

type symptom struct {
	code   Code
	target *targetView
}

// suppress hides what other candidates explain: a candidate loses the targets
// for which a cause is found whose row lists the candidate's code, directly or
// over other codes. One that loses all of them is no finding any more; the
// cause remembers what it explains.
func suppress(found []*candidate) []*candidate {
	byCode := map[Code][]*candidate{}
	for _, c := range found {
		byCode[c.code] = append(byCode[c.code], c)
	}
	// What each present code explains, over any number of edges.
	causes := map[Code][]*candidate{}
	for code, cs := range byCode {
		for _, s := range reach(code) {
			if len(byCode[s]) > 0 {
				causes[s] = append(causes[s], cs...)
			}
		}
	}
	covers := map[*candidate]map[*targetView]bool{}
	for _, cs := range causes {
		for _, c := range cs {
			if covers[c] == nil {
				covers[c] = make(map[*targetView]bool, len(c.targets))
				for _, t := range c.targets {
					covers[c][t] = true
				}
			}
		}
	}
	type loss struct {
		target *targetView
		cause  *candidate
	}
	// All losses are computed before any is applied, so that the order of the
	// candidates makes no difference.
	lost := map[*candidate][]loss{}
	for _, c := range found {
		targets := c.targets
		if len(targets) == 0 {
			targets = []*targetView{nil} // what is about no target only global causes explain
		}
		for _, t := range targets {
			if by := explanation(causes[c.code], covers, t); by != nil {
				lost[c] = append(lost[c], loss{t, by})
			}
		}
	}
	var roots []*candidate
	for _, c := range found {
		for _, l := range lost[c] {
			root := rootOf(l.cause, l.target, causes, covers)
			root.explains = append(root.explains, symptom{c.code, l.target})
		}
		if n := len(lost[c]); n > 0 && n >= len(c.targets) {
			continue
		}
		gone := map[*targetView]bool{}
		for _, l := range lost[c] {
			gone[l.target] = true
		}
		c.targets = slices.DeleteFunc(slices.Clone(c.targets), func(t *targetView) bool { return gone[t] })
		roots = append(roots, c)
	}
	for _, c := range roots {
		slices.SortFunc(c.explains, func(a, b symptom) int {
			return cmp.Or(cmp.Compare(a.code, b.code), cmp.Compare(a.target.name(), b.target.name()))
		})
		c.explains = slices.Compact(c.explains)
	}
	return roots
}

// explanation returns a cause among cs that explains target t: of several the one
// with the first code, so that a verdict is always the same.
func explanation(cs []*candidate, covers map[*candidate]map[*targetView]bool, t *targetView) *candidate {
	var best *candidate
	for _, c := range cs {
		if (c.global || covers[c][t]) && (best == nil || c.code < best.code) {
			best = c
		}
	}
	return best
}

// rootOf follows explanations of the target to the first cause.
func rootOf(c *candidate, t *targetView, causes map[Code][]*candidate, covers map[*candidate]map[*targetView]bool) *candidate {
	for {
		up := explanation(causes[c.code], covers, t)
		if up == nil {
			return c
		}
		c = up // ends: the table's test proves that the graph has no circle
	}
}

// reach returns the codes that the code explains, over any number of edges.
func reach(code Code) []Code {
	var out []Code
	var visit func(Code)
	visit = func(c Code) {
		info, _ := c.Info()
		for _, s := range info.Suppresses {
			if !slices.Contains(out, s) {
				out = append(out, s)
				visit(s)
			}
		}
	}
	visit(code)
	return out
}
