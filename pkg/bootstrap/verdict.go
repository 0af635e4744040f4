package bootstrap

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// joinVerdicts puts two verdicts together: it passes when both do.
func joinVerdicts(a, b Verdict) Verdict {
	return Verdict{
		Pass:     a.Pass && b.Pass,
		Findings: append(append([]Finding(nil), a.Findings...), b.Findings...),
		Waived:   append(append([]Finding(nil), a.Waived...), b.Waived...),
		Pending:  append(append([]string(nil), a.Pending...), b.Pending...),
	}
}

// explainByInput folds what a mistake in the input explains into the finding of
// that mistake: an endpoint of another region has a name that does not resolve
// here. A warning that explains what blocks is what blocks.
func explainByInput(v Verdict) Verdict {
	for i := range v.Findings {
		cause := &v.Findings[i]
		if cause.Problem == nil {
			continue
		}
		info, _ := cause.Code.Info()
		for j := range v.Findings {
			effect := &v.Findings[j]
			if !slices.Contains(info.Suppresses, effect.Code) {
				continue
			}
			for _, t := range effect.Targets {
				cause.Explains = append(cause.Explains, Symptom{Code: effect.Code, Target: t})
			}
			if effect.Blocks {
				cause.Blocks, cause.Severity = true, Fatal
			}
			effect.Code = ""
		}
	}
	v.Findings = slices.DeleteFunc(v.Findings, func(f Finding) bool { return f.Code == "" })
	return v
}

// add counts the findings of a verdict.
func (h History) add(v Verdict, now time.Time) History {
	next := make(History, len(h)+len(v.Findings))
	maps.Copy(next, h)
	for _, f := range v.Findings {
		s, ok := next[f.Key()]
		if !ok {
			s.First = now
		}
		s.Last = now
		s.Times++
		next[f.Key()] = s
	}
	return next
}

// targets keeps since when each of the failing targets has not passed: at the
// latest since the given time. Of pending ones nothing new is known; the others
// passed.
func (h History) targets(failing, pending []string, since, now time.Time) History {
	maps.DeleteFunc(h, func(key string, _ Seen) bool {
		name, ok := strings.CutPrefix(key, targetKey(""))
		return ok && !slices.Contains(failing, name) && !slices.Contains(pending, name)
	})
	for _, name := range failing {
		s, known := h[targetKey(name)]
		if !known {
			s.First = since
			if since.IsZero() {
				s.First = now
			}
		}
		s.Last = now
		s.Times++
		h[targetKey(name)] = s
	}
	return h
}

// sameCauses reports whether two verdicts block, and by the same causes.
func sameCauses(a, b Verdict) bool {
	return len(a.Blocking()) > 0 && slices.EqualFunc(a.Blocking(), b.Blocking(), func(f, g Finding) bool { return f.Key() == g.Key() })
}

// blockedByDNS reports whether a cause of the area DNS blocks.
func blockedByDNS(v Verdict) bool {
	return slices.ContainsFunc(v.Blocking(), func(f Finding) bool { return f.Code.Area() == "DNS" })
}

// sameFindings reports whether two verdicts would read alike.
func sameFindings(a, b Verdict) bool {
	return slices.EqualFunc(a.Findings, b.Findings, func(f, g Finding) bool { return f.Key() == g.Key() && f.Because == g.Because })
}

// unwritable is the verdict of a file of the kubelet's, or the gate, that cannot
// be written.
func unwritable(err error) Verdict {
	info, _ := HST101.Info()
	said := strings.ReplaceAll(err.Error(), "\n", "; ")
	return Verdict{Findings: []Finding{{
		Code: HST101, Title: info.Title, Severity: info.Severity, Confidence: info.Confidence, Blocks: true,
		Because: said, Remedy: fill(info.Remedy, pairs("detail", said)), Consequence: info.Consequence,
	}}}
}

// internalError is the verdict of a fault of nodeprep's own.
func internalError(what string) Verdict {
	info, _ := INT001.Info()
	return Verdict{Findings: []Finding{{
		Code: INT001, Title: info.Title, Severity: Fatal, Confidence: Proven, Blocks: true,
		Because: what, Remedy: info.Remedy, Consequence: info.Consequence,
	}}}
}

// bootRace is how long after the start of a run a machine may still be coming up.
const bootRace = 4 * time.Second

// ComingUp reports whether all that blocks at the given time is what a machine
// that has just booted grows out of by itself: a link, an address, a route, the
// metadata service. It is shown in the status and the report, and is no alarm yet.
func (o Outcome) ComingUp(now time.Time) bool {
	blocking := o.Verdict.Blocking()
	return len(blocking) > 0 && o.Stage != StageFailed && now.Sub(o.Started) < bootRace &&
		!slices.ContainsFunc(blocking, func(f Finding) bool {
			return !slices.Contains([]Code{LNK101, LNK102, LNK104, IMD101, IMD102}, f.Code)
		})
}
