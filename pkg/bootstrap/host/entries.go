package host

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// messageLimit is the length of MESSAGE in characters; longer lines are cut by
// the pagers and terminals that people read them with.
const messageLimit = 159

// An Entry is one entry of the journal.
type Entry struct {
	Message  string
	Priority int // 0 emerg to 7 debug (syslog(3))
	// Fields are the other fields by name (systemd.journal-fields(7)).
	Fields map[string]string
}

// Priorities that entries have.
const (
	priorityCrit    = 2 // the kubelet is held back
	priorityErr     = 3 // a finding that holds it
	priorityWarning = 4
	priorityNotice  = 5 // resolved, passed
	priorityInfo    = 6
)

// States of a finding in the field NODEPREP_STATE.
const (
	stateNew      = "new"
	stateStill    = "still"
	stateResolved = "resolved"
)

// Entries returns what to write to the journal when prev has become next: one
// entry for each finding that is new, changed or resolved, and one for a verdict
// that says something else, in this order, so that the verdict is the last line.
// It returns nothing when nothing that a person must know has changed; the
// measurements of every round are in the report.
//
// A finding has changed when its severity, confidence or effect on the gate, or
// the rule that lets it pass, has, or its targets, hosts or private addresses; the rest of its text may
// carry figures that differ in every round, and public addresses rotate.
//
// Every entry has all fields that the journal catalog mentions: journalctl -x
// prints the name of a field that is missing.
func Entries(prev, next bootstrap.Outcome) []Entry {
	var out []Entry
	before, after := allFindings(prev), allFindings(next)
	old := match(before, after)
	for i, f := range before {
		if !slices.Contains(old, i) {
			out = append(out, findingEntry(next, f, stateResolved))
		}
	}
	for i, f := range after {
		switch {
		case old[i] < 0:
			out = append(out, findingEntry(next, f, stateNew))
		case !sameFinding(before[old[i]], f):
			out = append(out, findingEntry(next, f, stateStill))
		}
	}
	if e, ok := verdictEntry(prev, next); ok {
		out = append(out, e)
	}
	return out
}

// finding is a finding and whether the policy waived it.
type finding struct {
	bootstrap.Finding
	waived bool
}

func allFindings(o bootstrap.Outcome) []finding {
	var out []finding
	for _, f := range o.Verdict.Findings {
		out = append(out, finding{Finding: f})
	}
	for _, f := range o.Verdict.Waived {
		out = append(out, finding{Finding: f, waived: true})
	}
	return out
}

// match returns for each finding of after the index of the same one in before,
// or -1. A cause that has spread to another target, or left one, is the same.
func match(before, after []finding) []int {
	old := make([]int, len(after))
	taken := make([]bool, len(before))
	take := func(i int, same func(a, b bootstrap.Finding) bool) {
		for j := range before {
			if !taken[j] && same(before[j].Finding, after[i].Finding) {
				old[i], taken[j] = j, true
				return
			}
		}
	}
	for i := range after {
		old[i] = -1
		take(i, func(a, b bootstrap.Finding) bool { return identity(a) == identity(b) })
	}
	for i := range after {
		if old[i] < 0 {
			take(i, func(a, b bootstrap.Finding) bool {
				return a.Code == b.Code && slices.ContainsFunc(a.Targets, func(t string) bool { return slices.Contains(b.Targets, t) })
			})
		}
	}
	return old
}

// identity tells findings apart, also several mistakes of one kind in the input.
func identity(f bootstrap.Finding) string {
	if f.Problem == nil {
		return f.Key()
	}
	return strings.Join([]string{f.Key(), f.Problem.Origin, f.Problem.Path}, "\x00")
}

func sameFinding(a, b finding) bool {
	return a.waived == b.waived && a.Severity == b.Severity && a.Confidence == b.Confidence &&
		a.Blocks == b.Blocks && a.WouldBlock == b.WouldBlock && a.AllowedBy == b.AllowedBy &&
		slices.Equal(a.Targets, b.Targets) && slices.Equal(a.Hosts, b.Hosts) &&
		slices.Equal(private(a.Addresses), private(b.Addresses))
}

func private(addrs []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		if a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsLoopback() {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// findingEntry is the entry of one finding in the given state.
func findingEntry(o bootstrap.Outcome, f finding, state string) Entry {
	prefix, priority := "", priorityWarning
	switch {
	case state == stateResolved:
		prefix, priority = "resolved: ", priorityNotice
	case f.waived:
		prefix = "waived: "
	case f.WouldBlock:
		prefix = "would block: "
	case f.Blocks || f.Code.Area() == "RUN":
		priority = priorityErr
	}
	what, because := f.Summary(), f.Because
	if p := f.Problem; p != nil && p.Origin+p.Path != "" {
		// The place first: that is where to change something, and the message says all.
		what, because = string(f.Code)+" "+strings.Join(nonEmpty(p.Origin, p.Path, p.Message), ": "), ""
	}
	message := prefix + what
	if state != stateResolved {
		message = strings.Join(nonEmpty(message, f.AllowedBy, because), "; ")
	}
	e := newEntry(o, message, priority, f.Finding, state)
	if info, ok := f.Code.Info(); ok {
		e.Fields["MESSAGE_ID"] = info.MessageID
	}
	if state == stateResolved {
		// The code's own catalog text tells what to change.
		e.Fields["MESSAGE_ID"] = bootstrap.MessageResolved
		e.Fields["NODEPREP_REMEDY"] = "Nothing; this is resolved."
		e.Fields["NODEPREP_CONSEQUENCE"] = "None any more."
	}
	if f.Blocks || f.WouldBlock || f.Code.Area() == "RUN" {
		e.Fields["OBJECT_SYSTEMD_UNIT"] = KubeletUnit
	}
	return e
}

// verdictEntry is the entry of a verdict that differs from the one before it.
func verdictEntry(prev, next bootstrap.Outcome) (Entry, bool) {
	was, is := phaseOf(prev), phaseOf(next)
	blocking := next.Verdict.Blocking()
	switch {
	case is == phaseUnknown || is == phaseUnstable: // the finding says it all
		return Entry{}, false
	case is != phaseRunning && was == phaseUnstable:
		return Entry{}, false
	case was == is && (is != phaseBlocked || slices.Equal(keys(prev.Verdict.Blocking()), keys(blocking))):
		return Entry{}, false
	}
	took := brief(next.Updated.Sub(next.Started))
	var (
		message  string
		id       = bootstrap.MessagePassed
		priority = priorityNotice
	)
	switch is {
	case phaseBlocked:
		message, id, priority = KubeletUnit+" is held back: "+bootstrap.Headline(blocking), bootstrap.MessageBlocked, priorityCrit
	case phaseFailed:
		message = "nodeprep ended with exit " + count(next.Exit) + ", " + KubeletUnit + " not started: " +
			cmp.Or(bootstrap.Headline(blocking), cmp.Or(next.Err, next.Status))
		id, priority = failedMessage(next.Exit), priorityCrit
	case phaseStopped:
		message, id = "nodeprep was stopped after "+took+", "+KubeletUnit+" not started", bootstrap.MessageProgress
	case phaseScripts:
		message = "environment passed after " + took + "; " + KubeletUnit + " waits for the user scripts"
	case phasePassed:
		message = passedMessage(next, took)
		if starting(next) {
			message += "; starting " + KubeletUnit
		}
	case phaseOverride:
		message = "the gate was opened by hand after " + took + "; starting " + KubeletUnit
		if len(blocking) > 0 {
			message += " in spite of " + bootstrap.Headline(blocking)
		}
		id, priority = bootstrap.MessageOverride, priorityWarning
	case phaseRunning:
		message = KubeletUnit + " was started and stayed up; done after " + took
		if would := next.Verdict.WouldBlock(); len(would) > 0 {
			message += ", in spite of " + bootstrap.Headline(would)
		}
		id, priority = bootstrap.MessageConfirmed, priorityInfo
	case phaseUnknown, phaseUnstable:
	}
	e := newEntry(next, message, priority, first(blocking), stateNew)
	e.Fields["MESSAGE_ID"] = id
	e.Fields["OBJECT_SYSTEMD_UNIT"] = KubeletUnit
	return e, true
}

// passedMessage says why the verdict passes: a kubelet that only the policy lets
// start has no environment that passed.
func passedMessage(o bootstrap.Outcome, took string) string {
	would := o.Verdict.WouldBlock()
	switch {
	case len(would) > 0:
		return "the policy lets pass after " + took + " what would block: " + bootstrap.Headline(would)
	case o.Plan.Policy.Mode == bootstrap.ModeObserve:
		return "nothing is waited for in mode observe after " + took
	default:
		return "environment passed after " + took
	}
}

// failedMessage is the MESSAGE_ID of a run that ended with an exit code.
func failedMessage(exit int) string {
	switch exit {
	case bootstrap.ExitInternal:
		return bootstrap.MessageFailed
	case bootstrap.ExitGaveUp:
		return bootstrap.MessageGaveUp
	default:
		return bootstrap.MessageBlocked
	}
}

// HeartbeatEntry says that the kubelet is still held back.
func HeartbeatEntry(o bootstrap.Outcome, now time.Time) Entry {
	why, id := bootstrap.Headline(o.Verdict.Blocking()), bootstrap.MessageHeartbeat
	if why == "" {
		why, id = o.Status, bootstrap.MessageInput
	}
	e := newEntry(o, KubeletUnit+" held back for "+clock(now.Sub(o.Started))+", round "+count(o.Round)+": "+why,
		priorityNotice, first(o.Verdict.Blocking()), stateStill)
	e.Fields["MESSAGE_ID"] = id
	e.Fields["OBJECT_SYSTEMD_UNIT"] = KubeletUnit
	return e
}

// newEntry is an entry with every field of the catalog.
func newEntry(o bootstrap.Outcome, message string, priority int, f bootstrap.Finding, state string) Entry {
	addrs := make([]string, len(f.Addresses))
	for i, a := range f.Addresses {
		addrs[i] = a.String()
	}
	return Entry{
		Message:  clip(oneLine(message), messageLimit, "…"),
		Priority: priority,
		Fields: map[string]string{
			"SYSLOG_IDENTIFIER":    "nodeprep",
			"DOCUMENTATION":        documentation(f.Code),
			"NODEPREP_CODE":        cmp.Or(string(f.Code), "none"),
			"NODEPREP_AREA":        cmp.Or(f.Code.Area(), "none"),
			"NODEPREP_SEVERITY":    cmp.Or(string(f.Severity), "none"),
			"NODEPREP_CONFIDENCE":  cmp.Or(string(f.Confidence), "none"),
			"NODEPREP_STATE":       state,
			"NODEPREP_TARGET":      cmp.Or(strings.Join(f.Subject(), " "), "none"),
			"NODEPREP_HOST":        cmp.Or(strings.Join(f.Hosts, " "), "none"),
			"NODEPREP_ADDR":        cmp.Or(strings.Join(addrs, " "), "none"),
			"NODEPREP_BECAUSE":     cmp.Or(f.Because, "nothing was found"),
			"NODEPREP_EVIDENCE":    cmp.Or(f.Because, "nothing was found"), // its name in the catalog
			"NODEPREP_REMEDY":      cmp.Or(f.Remedy, "nothing"),
			"NODEPREP_CONSEQUENCE": cmp.Or(f.Consequence, "none"),
			"NODEPREP_RUN_ID":      cmp.Or(o.RunID, "none"),
			"NODEPREP_ROUND":       count(o.Round),
		},
	}
}

// documentation is where a code is explained: the pages that the package
// installs, because a node that needs them often has no way to the internet.
func documentation(c bootstrap.Code) string {
	const pages = "file:///usr/share/doc/nodeprep/"
	if c == "" {
		return pages + "operations.md"
	}
	return pages + "codes/" + string(c) + ".md"
}

func first(fs []bootstrap.Finding) bootstrap.Finding {
	if len(fs) == 0 {
		return bootstrap.Finding{}
	}
	return fs[0]
}

func count(n int) string { return strconv.Itoa(n) }
