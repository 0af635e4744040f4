package bootstrap

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// MetadataTarget names the metadata service in a Report. It is a gate target
// that no plan lists: without it there is no plan.
const MetadataTarget = "metadata"

// apiServerName is the API server's target and service.
const apiServerName = "apiserver"

// Judge says whether the kubelet may start, and if not, which causes keep it.
// It is pure: equal arguments give equal verdicts.
//
// The report may be partial. What is under way is never counted as failed: a
// cause that could still be disproved by a pending result is not claimed, and
// its targets are listed as pending instead. A blocking target is always one
// of: passed, failing as a finding explains that would block, held for long
// enough, or pending.
//
// A target passes in quorum mode when one address of any IP family that the
// node has answers as it should: programs on the node fall back from one
// family to the other (RFC 8305), so that neither is needed by itself. The
// addresses that count are those of the DNS server that decides for the node:
// the first in the list that answers the name at all, since a resolver asks
// the next one only after silence or a server's failure, never after NXDOMAIN.
//
// History makes two differences: a role that stays absent for a minute is no
// longer expected to appear by itself, and a target that failed for as long as
// the policy lets it hold the node does not hold it any more.
func Judge(p Plan, r probe.Report, s netcfg.State, h History, now time.Time) Verdict {
	v := newView(p, r, s, h, now)
	var found []*candidate
	for _, rule := range rules {
		found = append(found, rule(v)...)
	}
	if v.partial {
		found = slices.DeleteFunc(found, func(c *candidate) bool { return c.needsAll })
	}
	if !v.partial {
		found = append(found, unexplained(v, found)...)
	}
	found = suppress(found)
	dropContradictions(found)

	findings := make([]Finding, 0, len(found))
	for _, c := range found {
		findings = append(findings, v.finding(c))
	}
	return v.ruled(findings)
}

// Reject is the verdict on input that cannot be used. Warnings alone pass.
func Reject(problems []Problem) Verdict {
	v := Verdict{Pass: true}
	for _, p := range problems {
		info, _ := p.Code.Info()
		f := Finding{
			Code: p.Code, Title: info.Title, Severity: Fatal, Confidence: Proven,
			Because:     strings.Join(nonEmpty(p.Path, p.Message), ": "),
			Remedy:      p.Remedy,
			Consequence: info.Consequence,
			Blocks:      !p.Warning,
			Problem:     &p,
		}
		if p.Origin != "" {
			f.Because += " (" + p.Origin + ")"
		}
		if f.Remedy == "" {
			f.Remedy = fill(info.Remedy, pairs("path", cmp.Or(p.Path, "the field"), "origin", cmp.Or(p.Origin, "the place named above")))
		}
		if p.Warning {
			f.Severity = Warning
		} else {
			v.Pass = false
		}
		v.Findings = append(v.Findings, f)
	}
	sortFindings(v.Findings)
	return v
}

// dropContradictions takes back "not this, because" where the other cause is
// found as well: for another address of the same target, say.
func dropContradictions(found []*candidate) {
	type claim struct {
		code   Code
		target *targetView
	}
	given := map[claim]bool{}
	for _, c := range found {
		for _, t := range c.targets {
			given[claim{c.code, t}] = true
		}
	}
	for _, c := range found {
		c.not = slices.DeleteFunc(c.not, func(n RuledOut) bool {
			return slices.ContainsFunc(c.targets, func(t *targetView) bool { return given[claim{n.Code, t}] })
		})
	}
}

// sortFindings orders findings: blocking before others, then by code, targets
// and text. Problems of the input keep the order in which they were found.
func sortFindings(fs []Finding) {
	slices.SortStableFunc(fs, func(a, b Finding) int {
		if a.Blocks != b.Blocks {
			if a.Blocks {
				return -1
			}
			return 1
		}
		if c := cmp.Compare(a.Code, b.Code); c != 0 || a.Problem != nil {
			return c
		}
		return cmp.Or(slices.Compare(a.Targets, b.Targets), cmp.Compare(a.Because, b.Because))
	})
}

// finding turns a candidate that survived suppression into what people read.
func (v *view) finding(c *candidate) Finding {
	info, _ := c.code.Info()
	f := Finding{
		Code: c.code, Title: info.Title, Severity: info.Severity, Confidence: info.Confidence,
		Addresses: c.addresses, Because: c.because, Not: c.not, Blocks: c.force,
	}
	if c.confidence != "" && weaker(c.confidence, f.Confidence) {
		f.Confidence = c.confidence
	}
	for _, t := range c.targets {
		f.Targets = append(f.Targets, t.Name)
		if t.Host != "" && !slices.Contains(f.Hosts, t.Host) {
			f.Hosts = append(f.Hosts, t.Host)
		}
		if t.Role.Blocks() && !t.passed && !c.warn {
			f.Blocks = true
		}
	}
	switch {
	case !f.Blocks:
		f.Severity = Warning
	case c.severity != "":
		f.Severity = c.severity
	case f.Severity == Warning: // strict mode blocks on what is a warning elsewhere
		f.Severity = Retryable
	}
	value := func(name string) (string, bool) { return v.field(c, f, name) }
	f.Remedy = fill(cmp.Or(c.remedy, info.Remedy), value)
	f.Consequence = fill(info.Consequence, value)
	for _, e := range c.explains {
		f.Explains = append(f.Explains, Symptom{Code: e.code, Target: e.target.name()})
	}
	return f
}

// weaker reports whether a claims less than b.
func weaker(a, b Confidence) bool {
	order := []Confidence{Proven, Likely, Possible}
	return slices.Index(order, a) > slices.Index(order, b)
}
