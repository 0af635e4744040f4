package host

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// The size of a block on the console.
const (
	consoleLines  = 15
	consoleWidth  = 79
	consolePrefix = "nodeprep: "
	consoleBody   = consoleWidth - len(consolePrefix)
	consoleText   = consoleBody - 7 // behind a label
)

// ConsoleBlock returns what the console shows of o: at most 15 lines of at most
// 79 ASCII characters, one line when there is nothing to repair, none before
// anything is known.
func ConsoleBlock(o bootstrap.Outcome) []string {
	switch p := phaseOf(o); p {
	case phaseUnknown, phaseStopped:
		return nil
	case phaseBlocked, phaseFailed, phaseUnstable:
		return blockedBlock(o, p)
	default:
		return []string{consoleLine(passedLine(o, p))}
	}
}

// ConsoleHeartbeat is the line that says that the kubelet is still held back.
func ConsoleHeartbeat(o bootstrap.Outcome, now time.Time) string {
	blocking := o.Verdict.Blocking()
	if len(blocking) == 0 {
		return consoleLine("waiting " + clock(now.Sub(o.Started)) + "  " + o.Status)
	}
	return consoleLine("still NOT JOINING " + clock(now.Sub(o.Started)) + "  " + bootstrap.Headline(blocking))
}

func passedLine(o bootstrap.Outcome, p phase) string {
	what, then, start := "PASSED", "", "starting kubelet"
	degraded := len(o.Verdict.WouldBlock()) > 0
	switch {
	case degraded:
		what, start = "LET PASS", "starting" // leaves room for the cause
	case o.Plan.Policy.Mode == bootstrap.ModeObserve:
		what = "OBSERVE" // nothing was waited for
	}
	switch p {
	case phaseScripts:
		then = "waiting for user scripts"
	case phaseOverride:
		what, then = "OVERRIDE", "opened by hand"
	case phaseRunning:
		what, then = "OK", "kubelet runs"
		if degraded {
			what, then = "DEGRADED", "runs"
		}
	default:
		switch {
		case starting(o):
			then = start
		case o.Stage == bootstrap.StageDone:
			then = "the gate stays closed"
		}
	}
	if all := slices.Concat(o.Verdict.WouldBlock(), o.Verdict.Findings); len(all) > 0 {
		n := len(o.Verdict.Findings)
		for _, f := range o.Verdict.Waived {
			if f.WouldBlock {
				n++
			}
		}
		then = strings.Join(nonEmpty(then, string(all[0].Code)+andMore(n-1)), "; ")
	}
	return strings.Join(nonEmpty(what+" "+clock(o.Updated.Sub(o.Started)), o.Plan.Instance.ID, then), "  ")
}

// blockedBlock is at most 15 lines: rules 2, head, cause and where 3, also 2, fine,
// next, more; what is left of them goes to fix and else.
func blockedBlock(o bootstrap.Outcome, p phase) []string {
	rule := consolePrefix + strings.Repeat("=", consoleBody)
	head := "NODE NOT JOINING"
	if p == phaseUnstable {
		head = "KUBELET UNSTABLE"
	}
	b := block{rule, consoleLine(strings.Join(nonEmpty(
		head, o.Plan.Instance.ID, o.Plan.Instance.Zone, "after "+clock(o.Updated.Sub(o.Started)),
	), "  "))}
	blocking := causes(o, p)
	rest := blockEnd(o, p, blocking)
	if len(blocking) == 0 {
		b.add("cause", cmp.Or(o.Err, "nodeprep ended before it knew"), 3)
		return slices.Concat(b, rest, []string{rule})
	}
	f := blocking[0]
	above := len(b)
	b.add("cause", fmt.Sprintf("%s (%s) %s", f.Code, cmp.Or(string(f.Confidence), "?"), f.Title), 2)
	b.add("where", where(f), 3-(len(b)-above))
	room := consoleLines - len(b) - len(rest) - 1
	above = len(b)
	b.add("fix", remedy(f), room-1)
	b.add("else", f.Consequence, room-(len(b)-above))
	return slices.Concat(b, rest, []string{rule})
}

// blockEnd is what follows the first cause.
func blockEnd(o bootstrap.Outcome, p phase, blocking []bootstrap.Finding) block {
	var b block
	for i, f := range blocking[min(1, len(blocking)):] {
		if i == 1 && len(blocking) > 3 {
			b.add("also", count(len(blocking)-2)+" more causes: nodeprep report", 1)
			break
		}
		b.add("also", f.Summary(), 1)
	}
	b.add("fine", fine(o), 1)
	b.add("next", next(o, p), 1)
	b.add("more", "journalctl -u kubelet -x | nodeprep report | run "+clip(o.RunID, 8, ""), 1)
	return b
}

// block is the lines of a block so far.
type block []string

// add appends text behind a label, wrapped into at most n lines.
func (b *block) add(label, text string, n int) {
	for _, l := range wrap(ascii(text), consoleText, n) {
		*b = append(*b, fmt.Sprintf("%s%-7s%s", consolePrefix, label, l))
		label = ""
	}
}

// consoleLine is one whole line of the console.
func consoleLine(s string) string {
	return clip(consolePrefix+asciiSpaced(s), consoleWidth, "...")
}

// asciiSpaced is ascii that keeps the double blanks between columns.
func asciiSpaced(s string) string {
	parts := strings.Split(s, "  ")
	for i := range parts {
		parts[i] = ascii(parts[i])
	}
	return strings.Join(parts, "  ")
}

// where is what a cause is about: targets or the place in the input, then
// addresses, or hosts when there are none.
func where(f bootstrap.Finding) string {
	parts := append([]string(nil), f.Subject()...)
	if f.Problem != nil && f.Problem.Origin != "" {
		parts = append(parts, f.Problem.Origin)
	}
	for _, a := range f.Addresses {
		parts = append(parts, a.String())
	}
	if len(f.Addresses) == 0 {
		parts = append(parts, f.Hosts...)
	}
	return strings.Join(parts, " ")
}

// remedy is what to change. An example that belongs to it, on lines of its own,
// has no room here.
func remedy(f bootstrap.Finding) string {
	text, _, more := strings.Cut(f.Remedy, "\n")
	if !more {
		return text
	}
	return strings.TrimRight(text, ":") + " (nodeprep report shows how)."
}

// fine lists the targets that have a path that works, and how many of how many.
// A target that is a cause is not among them: something may well answer there,
// a web page for the API server, say.
func fine(o bootstrap.Outcome) string {
	var out []string
	for _, res := range o.Report.Results {
		if slices.ContainsFunc(o.Verdict.Blocking(), func(f bootstrap.Finding) bool { return slices.Contains(f.Targets, res.Target) }) {
			continue
		}
		ok := 0
		for _, p := range res.Paths {
			if p.OK() {
				ok++
			}
		}
		if ok > 0 {
			out = append(out, fmt.Sprintf("%s(%d/%d)", res.Target, ok, len(res.Paths)))
		}
	}
	return strings.Join(out, " ")
}

// next is what happens without anybody doing anything.
func next(o bootstrap.Outcome, p phase) string {
	switch {
	case p == phaseUnstable:
		return "keeps watching; systemd restarts the kubelet as its unit says"
	case p != phaseFailed:
		return "keeps probing; the node joins by itself once this is fixed"
	case o.Exit == bootstrap.ExitGaveUp:
		return "gave up (exit 75); try again: systemctl restart nodeprep"
	default:
		return fmt.Sprintf("ended (exit %d); once fixed: systemctl restart nodeprep", o.Exit)
	}
}

func nonEmpty(parts ...string) []string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return out
}
