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
