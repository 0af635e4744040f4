package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

const lineWidth = 79

// outcomeText shows an outcome: one line when all is well, the cause first
// when not.
func outcomeText(o bootstrap.Outcome) string {
	blocking := o.Verdict.Blocking()
	var b strings.Builder
	took := o.Updated.Sub(o.Started)
	if unit := 10 * time.Millisecond; took >= unit {
		took = took.Round(unit)
	} else {
		took = took.Round(unit / 100)
	}
	would := o.Verdict.WouldBlock()
	switch {
	case o.Verdict.Pass && len(would) > 0:
		fmt.Fprintf(&b, "NOT BLOCKED after %s: %s would block, but for the policy\n", took, count(len(would), "cause"))
	case o.Verdict.Pass && len(blocking) == 0:
		fmt.Fprintf(&b, "ok %s  %s%s\n", took, summary(o), degradedText(o.Verdict))
	case o.Gate.Open && o.Gate.By == bootstrap.GateOverride:
		fmt.Fprintf(&b, "OVERRIDE after %s: the gate was opened by hand; %s would block\n", took, count(len(blocking), "cause"))
	case len(blocking) == 0:
		fmt.Fprintf(&b, "UNDECIDED after %s: %s\n", took, bootstrap.StatusLine(o, o.Updated))
	default:
		fmt.Fprintf(&b, "BLOCKED after %s: %s\n", took, count(len(blocking), "cause"))
	}
	all := slices.Concat(o.Verdict.Findings, o.Verdict.Waived)
	for _, f := range all {
		b.WriteString("\n" + findingText(f))
	}
	if !o.Verdict.Pass || len(all) > 0 {
		b.WriteString("\n" + measurementsText(o))
	}
	switch {
	case o.Err == "":
	case o.Exit == bootstrap.ExitInterrupted || o.Exit == bootstrap.ExitTerminated:
		fmt.Fprintf(&b, "\n%s\n", firstLine(o.Err))
	default:
		fmt.Fprintf(&b, "\nnodeprep itself failed: %s\n", firstLine(o.Err))
	}
	return b.String()
}

// findingText shows one finding.
func findingText(f bootstrap.Finding) string {
	var b strings.Builder
	mark := "!"
	if f.Blocks {
		mark = "x"
	}
	head := fmt.Sprintf(" %s %s  ", mark, f.Code)
	if len(f.Targets) > 0 {
		head += strings.Join(f.Targets, ", ") + ": "
	}
	head += f.Title
	fmt.Fprintf(&b, "%s%s%s\n", head, strings.Repeat(" ", max(2, lineWidth-len(head)-len(f.Confidence))), f.Confidence)
	field := func(label, text string) {
		if text != "" {
			b.WriteString(wrap("   "+label, text, 9))
		}
	}
	if f.Problem != nil && f.Problem.Origin+f.Problem.Path != "" {
		field("where", strings.Trim(f.Problem.Origin+": "+f.Problem.Path, ": "))
	}
	field("allow", f.AllowedBy)
	field("why", f.Because)
	for _, n := range f.Not {
		field("not", string(n.Code)+": "+n.Why)
	}
	b.WriteString(paragraph("   fix", f.Remedy, 9))
	field("else", f.Consequence)
	if len(f.Explains) > 0 {
		var s []string
		for _, e := range f.Explains {
			s = append(s, strings.TrimSpace(string(e.Code)+" "+e.Target))
		}
		field("also", "explains "+strings.Join(s, ", "))
	}
	return b.String()
}

// degradedText names the warnings of a verdict that passed in one line.
func degradedText(v bootstrap.Verdict) string {
	var parts []string
	for _, f := range v.Findings {
		parts = append(parts, strings.TrimSpace(list(f.Subject(), 2)+" "+string(f.Code)))
	}
	if len(parts) == 0 {
		return ""
	}
	return "  degraded: " + list(parts, 3)
}

// summary counts what passed.
func summary(o bootstrap.Outcome) string {
	addresses := 0
	api := ""
	for _, r := range o.Report.Results {
		addresses += len(r.Paths)
		if r.Target != "apiserver" {
			continue
		}
		for _, p := range r.Paths {
			if s, ok := p.Step(probe.PhaseHTTP); ok && s.HTTP != nil && api == "" {
				api = fmt.Sprintf("  apiserver %d", s.HTTP.Status)
			}
		}
	}
	s := fmt.Sprintf("%s %s%s", count(len(o.Report.Results), "target"), count(addresses, "address"), api)
	if o.Kubelet.ActiveState == "active" {
		s += "  kubelet started"
	}
	return s
}

// measurementsText is the table of what was measured.
func measurementsText(o bootstrap.Outcome) string {
	rows := [][]string{{"target", "role", "dns", "address", "tcp", "tls", "http"}}
	for _, r := range o.Report.Results {
		role := "gate"
		if t, ok := o.Plan.Target(r.Target); ok {
			role = string(t.Role)
		}
		dns := lookupsText(r.Lookups)
		if len(r.Paths) == 0 {
			rows = append(rows, []string{r.Target, role, dns, "-", "-", "-", "-"})
		}
		for i, p := range r.Paths {
			name := r.Target
			if i > 0 {
				name, role, dns = "", "", ""
			}
			rows = append(rows, []string{
				name, role, dns, p.Address.Addr().String(),
				stepText(p, probe.PhaseConnect), stepText(p, probe.PhaseTLS), stepText(p, probe.PhaseHTTP),
			})
		}
	}
	return table(rows)
}

// stepText is a step in a cell: its duration, or its cause.
func stepText(p probe.Path, phase probe.Phase) string {
	s, ok := p.Step(phase)
	switch {
	case !ok:
		return "-"
	case s.HTTP != nil:
		return fmt.Sprintf("%d %s", s.HTTP.Status, s.Took)
	case s.Cause != "":
		return strings.TrimPrefix(strings.TrimPrefix(string(s.Cause), "tcp-"), "tls-") + " " + s.Took.String()
	}
	return s.Took.String()
}

// lookupsText is the worst answer of all servers.
func lookupsText(ls []probe.Lookup) string {
	var worst probe.Duration
	for _, l := range ls {
		if l.Cause != "" && l.Cause != probe.DNSNoData {
			return strings.TrimPrefix(string(l.Cause), "dns-") + " " + serverText(l.Server)
		}
		worst = max(worst, l.Took)
	}
	if len(ls) == 0 {
		return "-"
	}
	return "ok " + worst.String()
}

// serverText leaves out the port when it is 53.
func serverText(s netip.AddrPort) string {
	if s.Port() == 53 {
		return s.Addr().String()
	}
	return s.String()
}

// count prints a number with its noun.
func count(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "s"):
		return fmt.Sprintf("%d %ses", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// firstLine cuts a text at its first line break.
func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
