package main

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// A palette colours text for a terminal; the zero value leaves it as it is.
type palette struct{ on bool }

// newPalette colours when w is a terminal that knows how, and nobody asked for
// none (no-color.org).
func newPalette(w io.Writer) palette {
	f, ok := w.(*os.File)
	return palette{ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
)

func (p palette) paint(color, s string) string {
	if !p.on || s == "" || color == "" {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

// verdict colours the lines of an outcome that carry the verdict.
func (p palette) verdict(text string) string {
	if !p.on {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		switch {
		case strings.HasPrefix(l, "ok "):
			lines[i] = p.paint(green, "ok") + l[len("ok"):]
		case strings.HasPrefix(l, "BLOCKED"), strings.HasPrefix(l, " x "):
			lines[i] = p.paint(red, l)
		case strings.HasPrefix(l, " ! "), strings.HasPrefix(l, "NOT BLOCKED"), strings.HasPrefix(l, "UNDECIDED"), strings.HasPrefix(l, "OVERRIDE"):
			lines[i] = p.paint(yellow, l)
		case strings.HasPrefix(l, "   fix"):
			lines[i] = "   " + p.paint(bold, "fix") + l[len("   fix"):]
		}
	}
	return strings.Join(lines, "\n")
}
