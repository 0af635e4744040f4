package bootstrap

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// StatusLine is the one line of systemctl status: what is being waited for and
// why, at the given time.
func StatusLine(o Outcome, now time.Time) string {
	waited := since(now.Sub(o.Started))
	blocking := o.Verdict.Blocking()
	switch o.Stage {
	case StageDone, StageConfirm:
		return started(o)
	case StageStart:
		return "starting the kubelet" + degraded(o.Verdict)
	case StageFailed:
		return ended(o)
	case StageScripts:
		return "passed; waiting for user scripts (cloud-final)" + waited
	case StageInput:
		if len(blocking) == 0 && !o.Gate.Open {
			return "reading metadata, user data and network state" + waited
		}
	case StageProbe:
	}
	if o.Gate.Open {
		return "the gate was opened by hand; the kubelet's files wait for" + waited + ": " + headline(blocking) + nextRound(o, now)
	}
	if len(blocking) > 0 {
		return "blocked" + waited + ": " + headline(blocking) + nextRound(o, now)
	}
	if len(o.Verdict.Pending) > 0 {
		return "probing" + waited + ": waiting for " + enumerate(o.Verdict.Pending)
	}
	return "probing" + waited
}

// ended describes a run that ended before its time.
func ended(o Outcome) string {
	what := "ended, kubelet not started: "
	if o.Gate.Open {
		what = "ended, the kubelet is left alone: "
	}
	switch blocking := o.Verdict.Blocking(); {
	case len(blocking) > 0:
		return what + headline(blocking)
	case o.Exit == ExitGaveUp:
		return what + "giveUpAfter passed"
	default:
		return what + o.Err
	}
}

// started describes a kubelet that was started, or not.
func started(o Outcome) string {
	switch {
	case o.Gate.Open && o.Gate.By == GateOverride:
		return "kubelet started by override: the gate was opened by hand" + degraded(o.Verdict)
	case !o.Gate.Open && o.Verdict.Pass:
		return "passed" + degraded(o.Verdict)
	case !o.Gate.Open:
		return "blocked: " + headline(o.Verdict.Blocking())
	case o.Kubelet.ActiveState != "active":
		return "kubelet was started but does not stay up" + degraded(o.Verdict)
	default:
		return "kubelet started after " + o.Gate.At.Sub(o.Started).Round(time.Millisecond).String() + degraded(o.Verdict)
	}
}

// headline is Headline for a reader who waits to hear something.
func headline(fs []Finding) string { return cmp.Or(Headline(fs), "nothing is known yet") }

// degraded names what a verdict that passed has against the node: what only the
// policy lets pass, and warnings.
func degraded(v Verdict) string {
	lists := []struct {
		name     string
		findings []Finding
	}{{"would block", nil}, {"waived", v.Waived}, {"warnings", nil}}
	for _, f := range v.Findings {
		i := 2
		if f.WouldBlock {
			i = 0
		}
		lists[i].findings = append(lists[i].findings, f)
	}
	var out []string
	for _, l := range lists {
		var codes []string
		for _, f := range l.findings {
			codes = append(codes, strings.Join(nonEmpty(string(f.Code), enumerateUpTo(8, f.Targets)), " "))
		}
		if len(codes) > 0 {
			out = append(out, "; "+l.name+": "+enumerateUpTo(8, codes))
		}
	}
	return strings.Join(out, "")
}

// nextRound says when the next round begins.
func nextRound(o Outcome, now time.Time) string {
	if o.NextRound.IsZero() {
		return ""
	}
	d := o.NextRound.Sub(now).Round(time.Second)
	if d < time.Second {
		return "; next try now"
	}
	return fmt.Sprintf("; next try in %s", d)
}

// since prints a waiting time that is worth mentioning.
func since(d time.Duration) string {
	if d < time.Second {
		return ""
	}
	return " " + d.Round(time.Second).String()
}
