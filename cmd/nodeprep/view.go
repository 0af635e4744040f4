package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// Rules for text output: the cause comes first; columns are aligned; one line
// when all is well; no line is longer than it must be; nothing secret; colour
// only on a terminal and never in what a program may read.

// show prints a value as JSON, or as text by the given view.
func show[T any](w io.Writer, format string, v T, text func(T) string) error {
	if format == "json" {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false) // people read it, browsers do not
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	_, err := io.WriteString(w, text(v))
	return err
}

// table aligns rows of cells; trailing blanks are cut.
func table(rows [][]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err.Error()
	}
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// printable drops control characters: text may quote what somebody's server
// answered.
func printable(r rune) rune {
	if unicode.IsControl(r) {
		return -1
	}
	return r
}

// wrap breaks text at blanks into lines of at most lineWidth runes after an
// indent; the first line begins with label, padded to the indent.
func wrap(label, text string, indent int) string {
	var b strings.Builder
	line := label + strings.Repeat(" ", max(0, indent-utf8.RuneCountInString(label)))
	empty := true
	for word := range strings.FieldsSeq(text) {
		word = strings.Map(printable, word)
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > lineWidth {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line, empty = strings.Repeat(" ", indent), true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
	return b.String()
}

// paragraph is wrap for text that may hold an example on lines of its own,
// which stay as they are.
func paragraph(label, text string, indent int) string {
	first, example, ok := strings.Cut(strings.TrimSpace(text), "\n")
	var b strings.Builder
	b.WriteString(wrap(label, first, indent))
	if ok {
		for line := range strings.SplitSeq(example, "\n") {
			b.WriteString(strings.Repeat(" ", indent) + strings.Map(printable, line) + "\n")
		}
	}
	return b.String()
}

// problemList is the JSON form of a configuration check.
type problemList []bootstrap.Problem

// problemsText lists problems, errors first, one line when there are none.
func problemsText(ps problemList) string {
	if len(ps) == 0 {
		return "ok\n"
	}
	var b strings.Builder
	for _, warning := range []bool{false, true} {
		for _, p := range ps {
			if p.Warning != warning {
				continue
			}
			kind := "error"
			if warning {
				kind = "warning"
			}
			where := strings.TrimPrefix(strings.Join([]string{p.Origin, p.Path}, ": "), ": ")
			where = strings.TrimSuffix(where, ": ")
			fmt.Fprintf(&b, "%s  %s  %s\n", p.Code, kind, where)
			b.WriteString(wrap("  problem", p.Message, 11))
			b.WriteString(paragraph("  fix", p.Remedy, 11))
		}
	}
	return b.String()
}

// printProblems prints problems beside another output.
func printProblems(w io.Writer, ps []bootstrap.Problem) {
	if len(ps) > 0 {
		fmt.Fprint(w, problemsText(ps))
	}
}

// writtenText lists written files.
func writtenText(files []bootstrap.WrittenFile) string {
	rows := make([][]string, 0, len(files))
	for _, f := range files {
		state := "unchanged"
		if f.Changed {
			state = "written"
		}
		rows = append(rows, []string{state, f.Path, f.SHA256[:12]})
	}
	return table(rows)
}

// planText shows a plan.
func planText(p bootstrap.Plan) string {
	var b strings.Builder
	rows := [][]string{
		{"cluster", p.Cluster.Name, p.Cluster.APIServer},
		{"instance", p.Instance.ID, p.Instance.Type + " in " + p.Instance.Zone},
		{"node", p.Node.Name, p.Node.IP.String()},
		{"max pods", fmt.Sprint(p.Node.MaxPods), p.Node.MaxPodsWhy},
	}
	b.WriteString(table(rows))
	b.WriteString("\nmust reach\n")
	rows = rows[:0]
	indent := 0
	for _, t := range p.Targets {
		rows = append(rows, []string{"  " + t.Name, string(t.Role), fmt.Sprintf("%s:%d", t.Host, t.Port)})
		indent = max(indent, len("  "+t.Name+"  "))
	}
	for i, row := range strings.Split(strings.TrimSuffix(table(rows), "\n"), "\n") {
		b.WriteString(row + "\n")
		if len(p.Targets) > 0 && p.Targets[i].Why != "" {
			b.WriteString(wrap("", p.Targets[i].Why, indent))
		}
	}
	b.WriteString("\nwill write\n")
	rows = rows[:0]
	for _, f := range p.Files {
		rows = append(rows, []string{"  " + f.Path, fmt.Sprintf("%04o", f.Mode.Perm()), fmt.Sprintf("%d bytes", len(f.Data))})
	}
	b.WriteString(table(rows))
	fmt.Fprintf(&b, "\nwill start  %s\n", strings.Join(p.Units, ", "))
	return b.String()
}

// codesText lists the code table.
func codesText(codes []bootstrap.CodeInfo) string {
	rows := make([][]string, 0, len(codes))
	for _, c := range codes {
		rows = append(rows, []string{string(c.Code), string(c.Severity), c.Title})
	}
	return table(rows)
}

// explainText explains one code.
func explainText(c bootstrap.CodeInfo) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n\n", c.Code, c.Title)
	for _, row := range [][2]string{
		{"cause", c.Cause},
		{"seen as", c.Signal},
		{"fix", c.Remedy},
		{"otherwise", c.Consequence},
		{"takes", c.TakesEffect},
		{"by hand", c.Check},
	} {
		if row[1] != "" {
			b.WriteString(wrap(row[0], row[1], 11))
		}
	}
	fmt.Fprintf(&b, "%-11s%s, %s, exit %d\n", "severity", c.Severity, c.Confidence, c.Exit)
	return b.String()
}

// completeCodes completes the argument of explain.
func completeCodes(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, c := range bootstrap.Codes() {
		out = append(out, string(c.Code)+"\t"+c.Title)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// build describes this binary.
type build struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	Commit  string `json:"commit,omitempty"`
}

// buildInfo reads what the linker and the Go tool recorded.
func buildInfo() build {
	b := build{Version: version}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.Go = info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Commit = s.Value
			}
		}
	}
	return b
}

// versionText is one line.
func versionText(b build) string {
	return strings.TrimSpace(fmt.Sprintf("nodeprep %s %s %s", b.Version, b.Go, b.Commit)) + "\n"
}

// join puts a path below a root directory.
func join(root, path string) string { return filepath.Join(root, path) }
