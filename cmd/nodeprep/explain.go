package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

func explainCommand(std stdio) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "explain [CODE | NEED]",
		Short: "Say what a code means and how to repair its cause, or what a need asks for",
		Example: `  nodeprep explain NP-NET-105
  nodeprep explain vpc-cni    what a need must reach, and what to know about it
  nodeprep explain            lists all codes and needs`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeExplain,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return show(std.out, format, book{bootstrap.Codes(), bootstrap.KnownNeeds()}, bookText)
			}
			needs := bootstrap.KnownNeeds()
			if i := slices.IndexFunc(needs, func(n bootstrap.NeedInfo) bool { return n.Name == strings.ToLower(args[0]) }); i >= 0 {
				return show(std.out, format, needs[i], needText)
			}
			info, ok := bootstrap.Explain(args[0])
			if !ok {
				return fmt.Errorf("unknown code %q: nodeprep explain lists all", args[0])
			}
			return show(std.out, format, info, explainText)
		},
	}
	addOutputFlag(cmd, &format)
	return cmd
}

// A book is all that can be explained.
type book struct {
	Codes []bootstrap.CodeInfo `json:"codes"`
	Needs []bootstrap.NeedInfo `json:"needs"`
}

// bookText lists codes and needs, a line each.
func bookText(b book) string {
	rows := make([][]string, 0, len(b.Codes))
	for _, c := range b.Codes {
		rows = append(rows, []string{string(c.Code), string(c.Severity), c.Title})
	}
	text := table(rows) + "\n"
	rows = rows[:0]
	for _, n := range b.Needs {
		rows = append(rows, []string{n.Name, strings.Join(n.Services, ", ")})
	}
	return text + table(rows)
}

// explainText explains one code.
func explainText(c bootstrap.CodeInfo) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n\n", c.Code, c.Title)
	var explains []string
	for _, s := range c.Suppresses {
		explains = append(explains, string(s))
	}
	for _, row := range [][2]string{
		{"cause", c.Cause},
		{"told by", c.Signal},
		{"fix", c.Remedy},
		{"otherwise", c.Consequence},
		{"takes", c.TakesEffect},
		{"by hand", c.Check},
		{"explains", strings.Join(explains, ", ")},
	} {
		if row[1] != "" {
			b.WriteString(wrap(row[0], row[1], 11))
		}
	}
	fmt.Fprintf(&b, "%-11s%s, %s, exit %d\n", "severity", c.Severity, c.Confidence, c.Exit)
	return b.String()
}

// needText explains one need.
func needText(n bootstrap.NeedInfo) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", n.Name)
	b.WriteString(wrap("", n.About, 0))
	b.WriteString("\n" + wrap("reaches", strings.Join(n.Services, ", "), 11))
	if len(n.Notes) > 0 {
		b.WriteString("\nto know\n" + notesText(n.Notes, "  - "))
	}
	b.WriteString("\nof all endpoints\n" + notesText(bootstrap.EndpointNotes(), "  - "))
	return b.String()
}

// completeExplain completes the argument of explain.
func completeExplain(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, c := range bootstrap.Codes() {
		out = append(out, string(c.Code)+"\t"+c.Title)
	}
	for _, n := range bootstrap.KnownNeeds() {
		out = append(out, n.Name+"\t"+n.About)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
