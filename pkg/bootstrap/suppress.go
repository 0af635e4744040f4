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

// An explainer knows which of the candidates found explains which.
type explainer struct {
	// causes of each code, over any number of edges of the table.
	causes map[Code][]*candidate
	// covers has the targets of each cause.
	covers map[*candidate]map[*targetView]bool
}

func newExplainer(found []*candidate) explainer {
	byCode := map[Code][]*candidate{}
	for _, c := range found {
		byCode[c.code] = append(byCode[c.code], c)
	}
	e := explainer{map[Code][]*candidate{}, map[*candidate]map[*targetView]bool{}}
	for code, cs := range byCode {
		for _, s := range reach(code) {
			if len(byCode[s]) > 0 {
				e.causes[s] = append(e.causes[s], cs...)
			}
		}
	}
	for _, cs := range e.causes {
		for _, c := range cs {
			if e.covers[c] == nil {
				e.covers[c] = make(map[*targetView]bool, len(c.targets))
				for _, t := range c.targets {
					e.covers[c][t] = true
				}
			}
		}
	}
	return e
}

// A loss is a target of a candidate, nil for none, and the cause that explains it.
type loss struct {
	target *targetView
	cause  *candidate
}

// losses are what the candidate loses to causes.
func (e explainer) losses(c *candidate) []loss {
	targets := c.targets
	if len(targets) == 0 {
		targets = []*targetView{nil} // only a global cause explains what is about no target
	}
	var out []loss
	for _, t := range targets {
		if by := e.explanation(c.code, t); by != nil {
			out = append(out, loss{t, by})
		}
	}
	return out
}

// explanation returns a cause that explains the code for target t.
func (e explainer) explanation(code Code, t *targetView) *candidate {
	var best *candidate
	for _, c := range e.causes[code] {
		if (c.global || e.covers[c][t]) && (best == nil || c.code < best.code) {
			best = c
		}
	}
	return best
}

// root follows explanations to the first cause.
func (e explainer) root(l loss) *candidate {
	c := l.cause
	for {
		up := e.explanation(c.code, l.target)
		if up == nil {
			return c
		}
		c = up // ends: the table's test proves that the graph has no circle
	}
}

// suppress hides what other candidates explain: a candidate loses the targets
// for which a cause is found whose row lists the candidate's code, directly or
// over other codes. One that loses all of them is no finding any more; the
// cause remembers what it explains.
func suppress(found []*candidate) []*candidate {
	e := newExplainer(found)
	// All losses are computed before any is applied, so that the order of the
	// candidates makes no difference.
	lost := make([][]loss, len(found))
	for i, c := range found {
		lost[i] = e.losses(c)
	}
	var roots []*candidate
	for i, c := range found {
		gone := map[*targetView]bool{}
		for _, l := range lost[i] {
			gone[l.target] = true
			root := e.root(l)
			root.explains = append(root.explains, symptom{c.code, l.target})
		}
		if n := len(lost[i]); n > 0 && n >= len(c.targets) {
			continue
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
