package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// The screen is a stream of lines: when, where the operator sees it, what. What
// goes to a terminal is coloured unless NO_COLOR is set, and cut to its width in
// words; nothing is ever overwritten, so that it can be piped and read again.

// A window is where an operator sees a line.
type window struct{ name, colour string }

var (
	lab     = window{"lab", "1;34"}   // what happens to the node
	checked = window{"check", "32"}   // what the demo itself has made sure of
	status  = window{"status", "36"}  // systemctl status
	journal = window{"journal", ""}   // journalctl
	console = window{"console", "33"} // EC2's console output
)

const (
	red    = "31"
	yellow = "33"
	margin = 20 // time and window
)

type screen struct {
	out    io.Writer
	width  int
	colour bool
	began  time.Time

	mu sync.Mutex
}

func newScreen(out *os.File) *screen {
	s := &screen{out: out, width: 120, began: time.Now()}
	if fd := int(out.Fd()); term.IsTerminal(fd) {
		s.colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		if w, _, err := term.GetSize(fd); err == nil && w >= 2*margin {
			s.width = w
		}
	}
	return s
}

// since is the time of the demonstration.
func (s *screen) since() time.Duration { return time.Since(s.began) }

// title writes a heading without a time.
func (s *screen) title(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "%s\n\n", s.paint("1", text))
}

// say writes one line, wrapped at blanks, in the window's colour or another.
func (s *screen) say(w window, text string, colour ...string) {
	s.lines(w, wrap(text, s.width-margin), colour...)
}

// lines writes lines that belong together, as they are.
func (s *screen) lines(w window, lines []string, colour ...string) {
	paint := w.colour
	if len(colour) > 0 {
		paint = colour[0]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	when, name := fmt.Sprintf("%6.1f s", s.since().Seconds()), fmt.Sprintf("%-8s", w.name)
	for _, l := range lines {
		fmt.Fprintf(s.out, "%s  %s  %s\n", s.paint("2", when), s.paint(w.colour, name), s.paint(paint, l))
		when, name = strings.Repeat(" ", len(when)), strings.Repeat(" ", len(name))
	}
}

// end writes the one line that says what happened.
func (s *screen) end(text string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	colour := "1;32"
	if !ok {
		colour, text = "1;31", "FAILED: "+text
	}
	fmt.Fprintf(s.out, "\n%s\n", s.paint(colour, "demo: "+text))
}

func (s *screen) paint(colour, text string) string {
	if !s.colour || colour == "" || strings.TrimSpace(text) == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// wrap breaks text at blanks into lines of at most width characters, the
// following ones indented by two. A longer word stays whole.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = "  " + word
		}
	}
	return append(lines, line)
}
