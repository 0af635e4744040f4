package bootstrap

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The policy's effect. A finding that holds the gate by its cause is let pass by
// a waiver of its code, by an enforce list without it, in observe mode, and
// when all the targets that it fails have been held for as long as the policy
// allows. It stays visible, and says by which rule.

// ruled is the verdict on what was found.
func (v *view) ruled(found []Finding) Verdict {
	verdict := Verdict{Pass: true}
	explained := map[string]bool{}
	for _, f := range found {
		if f.Blocks {
			for _, name := range f.concerned() {
				explained[name] = true
			}
			v.allow(&f)
		}
		verdict.Pass = verdict.Pass && !f.Blocks
		if w, ok := v.plan.Policy.waiver(f.Code, v.now); ok && !f.Blocks {
			f.AllowedBy = w.String()
			verdict.Waived = append(verdict.Waived, f)
			continue
		}
		verdict.Findings = append(verdict.Findings, f)
	}
	for _, t := range v.targets {
		switch {
		case !t.Role.Blocks() || t.passed && v.reachedBySystem(t):
		case explained[t.Name], v.heldEnough(t):
		default:
			verdict.Pending = append(verdict.Pending, t.Name)
			verdict.Pass = verdict.Pass && v.plan.Policy.Mode == ModeObserve && t != v.meta
		}
	}
	if len(v.plan.Targets) == 0 && (v.meta == nil || v.meta.passed) {
		// Fail closed: a node always needs its API server. What keeps the plan
		// from naming it is a problem of the input.
		verdict.Pass, verdict.Pending = false, []string{apiServerName}
	}
	sortFindings(verdict.Findings)
	sortFindings(verdict.Waived)
	return verdict
}

// unpassed names the blocking targets that do not pass and about which a verdict
// is not waiting to know.
func (v *view) unpassed(verdict Verdict) []string {
	var out []string
	for _, t := range v.targets {
		if t.Role.Blocks() && !t.passed && !slices.Contains(verdict.Pending, t.Name) {
			out = append(out, t.Name)
		}
	}
	return out
}

// reachedBySystem reports whether the programs of this machine reach the target
// by their own lookup, when that is asked. What answers to a probe and not to
// them starts no kubelet. Of a target behind a proxy they need no address: what the
// lookup gives is evidence about NO_PROXY alone.
func (v *view) reachedBySystem(t *targetView) bool {
	if !t.System || t.Proxy != "" {
		return true
	}
	s := t.res.System
	return s != nil && s.Cause == "" && s.Err == "" && s.Path != nil && s.Path.OK()
}

// concerned are the targets that fail by the finding's cause.
func (f Finding) concerned() []string {
	names := slices.Clone(f.Targets)
	for _, s := range f.Explains {
		names = append(names, s.Target)
	}
	return names
}

// allow lets a finding that holds the gate pass when the policy says so. Without
// the metadata service there is nothing to start: no policy changes that.
func (v *view) allow(f *Finding) {
	if slices.Contains(f.concerned(), MetadataTarget) {
		return
	}
	p := v.plan.Policy
	by := ""
	if w, ok := p.waiver(f.Code, v.now); ok {
		by = w.String()
	} else if !p.enforces(f.Code) {
		by = "enforce lists only " + enumerate(p.Enforce)
	} else if p.Mode == ModeObserve {
		by = "mode observe never holds the kubelet"
	} else {
		by = v.holdsOver(f)
	}
	if by != "" {
		f.Blocks, f.WouldBlock, f.AllowedBy, f.Severity = false, true, by, Warning
	}
}

// holdsOver says which holds are over when the finding fails no blocking target
// but such as were held long enough; empty when it still holds.
func (v *view) holdsOver(f *Finding) string {
	var over []string
	for _, t := range v.targets {
		if !t.Role.Blocks() || t.passed || !slices.Contains(f.Targets, t.Name) {
			continue
		}
		h, ok := v.plan.hold(t.Target)
		if !ok || !v.heldEnough(t) {
			return ""
		}
		if why := h.String(); !slices.Contains(over, why) {
			over = append(over, why)
		}
	}
	return strings.Join(over, "; ")
}

// heldEnough reports whether the target has failed for as long as it may hold
// the node. One that is still being asked has not: whoever starts without it is told
// why it fails.
func (v *view) heldEnough(t *targetView) bool {
	h, ok := v.plan.hold(t.Target)
	if !ok || t.passed || !t.settled {
		return false
	}
	since := v.started
	if seen, known := v.history[targetKey(t.Name)]; known {
		since = seen.First
	}
	return !since.IsZero() && v.now.Sub(since) >= h.limit
}

// A hold is how long a target may hold the node, and why no longer.
type hold struct {
	field string
	limit time.Duration
	why   string
}

// String says that the hold is over.
func (h hold) String() string { return fmt.Sprintf("%s %s is over: %s", h.field, h.limit, h.why) }

// hold is the shortest hold of a target and whether it has one. What the kubelet
// needs to register holds for ever, and so does what no hold is meant for.
func (p Plan) hold(t Target) (hold, bool) {
	var hs []hold
	if t.Role != RoleReady {
		return hold{}, false
	}
	if t.Assumed && p.Policy.AssumedHold >= 0 {
		hs = append(hs, hold{"assumedHold", time.Duration(p.Policy.AssumedHold), "only the default needs ask for the target"})
	}
	if p.Rejoin && p.Policy.RejoinHold >= 0 {
		hs = append(hs, hold{"rejoinHold", time.Duration(p.Policy.RejoinHold), "this node has joined the cluster before"})
	}
	if len(hs) == 0 {
		return hold{}, false
	}
	return slices.MinFunc(hs, func(a, b hold) int { return cmp.Compare(a.limit, b.limit) }), true
}

// nextRelease is when the next target that fails stops holding the node, and
// whether there is one.
func (p Plan) nextRelease(h History, now time.Time) (time.Time, bool) {
	var ends []time.Time
	for _, t := range p.Targets {
		limit, ok := p.hold(t)
		seen, failing := h[targetKey(t.Name)]
		if !ok || !failing {
			continue
		}
		if at := seen.First.Add(limit.limit); at.After(now) {
			ends = append(ends, at)
		}
	}
	if len(ends) == 0 {
		return time.Time{}, false
	}
	return slices.MinFunc(ends, time.Time.Compare), true
}

// targetKey is the key of a target's failure in a History.
func targetKey(name string) string { return "target " + name }

// enforces reports whether a code may block.
func (p Policy) enforces(c Code) bool {
	return len(p.Enforce) == 0 || slices.Contains(p.Enforce, string(c)) || slices.Contains(p.Enforce, "NP-"+c.Area())
}

// waiver is the waiver of a code that counts at the given time, and whether
// there is one.
func (p Policy) waiver(c Code, now time.Time) (Waiver, bool) {
	for _, w := range p.Waive {
		if w.Code == c && !w.expired(now) {
			return w, true
		}
	}
	return Waiver{}, false
}

// expired reports whether the last day is over. A day that is none has been over
// for ever.
func (w Waiver) expired(now time.Time) bool {
	if w.Until == "" {
		return false
	}
	last, err := time.Parse(time.DateOnly, w.Until)
	return err != nil || !now.Before(last.AddDate(0, 0, 1))
}

// String is the waiver as findings show it.
func (w Waiver) String() string {
	if w.Until == "" {
		return "waived: " + w.Reason
	}
	return "waived until " + w.Until + ": " + w.Reason
}

// waived moves the warnings about the input whose code is waived out of the way.
// What makes the input unusable cannot be waived: there would be no files.
func (p Policy) waived(v Verdict, now time.Time) Verdict {
	kept := v.Findings[:0:0]
	for _, f := range v.Findings {
		if w, ok := p.waiver(f.Code, now); ok && !f.Blocks {
			f.AllowedBy = w.String()
			v.Waived = append(v.Waived, f)
			continue
		}
		kept = append(kept, f)
	}
	v.Findings = kept
	return v
}
