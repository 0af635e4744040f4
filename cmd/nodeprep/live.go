package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

const (
	// redraw is the time between two pictures of a live screen.
	redraw = 100 * time.Millisecond
	// plainEvery is the time between two lines where nothing can be redrawn. A
	// check that takes less prints none.
	plainEvery = time.Second
)

// A screen is the window of check: a table that is redrawn in place on a terminal,
// a line a second elsewhere, nothing when all is over at once.
type screen struct {
	out   io.Writer
	size  func() (width, height int)
	live  bool // redraw in place
	check checkOptions
	color palette
	began time.Time

	mu      sync.Mutex
	outcome bootstrap.Outcome
	report  probe.Report
	drawn   int    // lines of the last picture
	plain   string // the last plain line
	shown   string // the last verdict that --watch printed
	stop    chan struct{}
	stopped sync.WaitGroup
}

// newScreen shows a check on its error stream.
func newScreen(std stdio, check checkOptions) *screen {
	s := &screen{out: std.err, began: time.Now(), stop: make(chan struct{}), check: check}
	if f, ok := std.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		s.live = true
		s.color = newPalette(std.err)
		s.size = func() (int, int) {
			w, h, err := term.GetSize(int(f.Fd()))
			if err != nil || w < 20 || h < 5 {
				return lineWidth, 24
			}
			return w, h
		}
	}
	if !s.quiet() {
		s.stopped.Go(s.run)
	}
	return s
}

// quiet says that nobody watches.
func (s *screen) quiet() bool { return s.check.format != "text" }

// run draws until close.
func (s *screen) run() {
	every := plainEvery
	if s.live {
		every = redraw
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
			s.draw()
		}
	}
}

// draw shows what is known.
func (s *screen) draw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	elapsed := time.Since(s.began)
	if !s.live {
		if line := waitingFor(s.outcome, s.report); line != s.plain {
			s.plain = line
			fmt.Fprintf(s.out, "%4.1fs  %s\n", elapsed.Seconds(), line)
		}
		return
	}
	width, height := s.size()
	lines := liveLines(s.outcome, s.report, elapsed, width, height)
	var b strings.Builder
	s.eraseInto(&b)
	for _, l := range lines {
		b.WriteString(s.color.paint(l.color, l.text) + "\n")
	}
	s.drawn = len(lines)
	_, _ = io.WriteString(s.out, b.String()) // a terminal that is gone has no reader
}

// eraseInto moves the cursor to where the last picture began and clears it.
func (s *screen) eraseInto(b *strings.Builder) {
	if s.drawn > 0 {
		fmt.Fprintf(b, "\x1b[%dA\r\x1b[J", s.drawn)
	}
}

// close takes the picture away: what follows is the result.
func (s *screen) close() {
	close(s.stop)
	s.stopped.Wait()
	var b strings.Builder
	s.eraseInto(&b)
	_, _ = io.WriteString(s.out, b.String())
	s.drawn = 0
}

// publish takes what the run knows.
func (s *screen) publish(o bootstrap.Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcome = o
	if !s.check.watch || s.quiet() || o.NextRound.IsZero() {
		return
	}
	o = s.check.narrow(o)
	keys := []string{fmt.Sprint(o.Verdict.Pass)}
	for _, f := range o.Verdict.Findings {
		keys = append(keys, f.Key())
	}
	if now := strings.Join(keys, "\n"); now != s.shown {
		s.shown = now
		var b strings.Builder
		s.eraseInto(&b)
		s.drawn = 0
		b.WriteString(s.color.verdict(outcomeText(o.ForReport())) + "\n")
		_, _ = io.WriteString(s.out, b.String())
	}
}

// status has no line of its own here: the picture says it.
func (*screen) status(string) {}

// extend has nobody to tell.
func (*screen) extend(time.Duration) {}

// ready has nobody to tell.
func (*screen) ready() {}

// progress takes what the round measured so far.
func (s *screen) progress() func(probe.Report) {
	if s.quiet() {
		return nil
	}
	return func(r probe.Report) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.report = r
	}
}

// waitingFor says in one line what a check still waits for.
func waitingFor(o bootstrap.Outcome, r probe.Report) string {
	var waiting []string
	for _, res := range r.Results {
		if res.Pending {
			waiting = append(waiting, res.Target)
		}
	}
	switch {
	case len(r.Results) == 0 && o.Stage == bootstrap.StageInput:
		return "reading metadata and user data"
	case len(waiting) > 0:
		return fmt.Sprintf("%d of %s measured, waiting for %s", len(r.Results)-len(waiting), count(len(r.Results), "target"), list(waiting, 5))
	case len(r.Results) > 0:
		return count(len(r.Results), "target") + " measured"
	}
	return "probing"
}

// list names a few of many.
func list(names []string, limit int) string {
	if n := len(names) - limit; n > 0 {
		return strings.Join(names[:limit], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(names, ", ")
}

// A line is one line of a picture and its colour, empty for none.
type line struct{ text, color string }

// liveLines is one picture: at most height-1 lines of at most width columns.
func liveLines(o bootstrap.Outcome, r probe.Report, elapsed time.Duration, width, height int) []line {
	lines := []line{{liveHead(o, elapsed, width), bold}, {}}
	if facts := liveFacts(o, r); facts != "" {
		lines = append(lines, line{text: facts}, line{})
	}
	rows := [][]string{{"  target", "role", "dns", "addresses", "tcp", "tls", "http"}}
	colors := []string{""}
	tally := map[string]int{}
	for _, res := range r.Results {
		for _, row := range liveRows(o, res, tally) {
			rows, colors = append(rows, row.cells), append(colors, row.color)
		}
	}
	if len(rows) > 1 {
		for i, text := range strings.Split(strings.TrimSuffix(table(rows), "\n"), "\n") {
			lines = append(lines, line{text, colors[i]})
		}
		lines = append(lines, line{})
	}
	foot := "  " + waitingFor(o, r)
	if len(r.Results) > 0 {
		foot += fmt.Sprintf("   [%d ok] [%d failed] [%d waiting]", tally["ok"], tally["failed"], tally["waiting"])
	}
	if room := max(2, height-2); len(lines) > room {
		hidden := len(lines) - room + 1
		lines = append(lines[:room-1], line{text: "  … " + count(hidden, "more line")})
	}
	lines = append(lines, line{text: foot})
	for i, l := range lines {
		lines[i].text = cut(strings.Map(printable, l.text), width-1)
	}
	return lines
}

func liveHead(o bootstrap.Outcome, elapsed time.Duration, width int) string {
	parts := []string{"nodeprep", o.Plan.Cluster.Name, o.Plan.Instance.Region, o.Plan.Instance.ID}
	head := strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "  ")
	clock := fmt.Sprintf("%.1fs / try %d", elapsed.Seconds(), max(1, o.Round))
	return head + strings.Repeat(" ", max(2, min(width-1, lineWidth)-utf8.RuneCountInString(head)-utf8.RuneCountInString(clock))) + clock
}

// liveFacts is what is known without probing.
func liveFacts(o bootstrap.Outcome, r probe.Report) string {
	var facts []string
	if l, ok := carrying(o.Network); ok {
		addresses := make([]string, 0, len(l.Addresses))
		for _, a := range l.Usable(false) {
			addresses = append(addresses, a.String())
		}
		facts = append(facts, strings.Join(append([]string{"link", l.Name}, append(addresses, fmt.Sprintf("mtu %d", l.MTU))...), " "))
	}
	if o.Plan.Instance.ID != "" {
		role := o.Plan.Instance.Role
		if role == "" {
			role = "none"
		}
		facts = append(facts, "role "+role)
	}
	if servers := o.Network.DNS.Servers; len(servers) > 0 {
		names := make([]string, len(servers))
		for i, s := range servers {
			names[i] = serverText(s)
		}
		facts = append(facts, "dns "+strings.Join(names, " "))
	}
	for _, c := range r.Clock {
		if c.Cause == "" {
			facts = append(facts, fmt.Sprintf("clock %+.1fs", -time.Duration(c.Offset).Seconds()))
			break
		}
	}
	if len(facts) == 0 {
		return ""
	}
	return "  " + strings.Join(facts, "   ")
}

// carrying is the first link that is up and has an address.
func carrying(s netcfg.State) (netcfg.Link, bool) {
	i := slices.IndexFunc(s.Links, func(l netcfg.Link) bool { return !l.Loopback && l.Running && len(l.Addresses) > 0 })
	if i < 0 {
		return netcfg.Link{}, false
	}
	return s.Links[i], true
}

// A liveRow is one row of the table.
type liveRow struct {
	cells []string
	color string
}

// liveRows are the rows of one target: one for its addresses that passed, and one for
// each that has not.
func liveRows(o bootstrap.Outcome, res probe.Result, tally map[string]int) []liveRow {
	role := "gate"
	if t, ok := o.Plan.Target(res.Target); ok {
		role = string(t.Role)
	}
	dns := lookupsText(res.Lookups)
	if len(res.Lookups) == 0 && res.Pending && len(res.Paths) == 0 {
		dns = "..."
	}
	first := []string{"  " + res.Target, role, dns}
	var rows []liveRow
	add := func(color string, cells ...string) {
		rows = append(rows, liveRow{append(first, cells...), color})
		first = []string{"", "", ""}
	}
	good := 0
	for _, p := range res.Paths {
		if p.OK() {
			good++
		}
	}
	failed := good < len(res.Paths) || len(res.Paths) == 0
	switch {
	case len(res.Paths) == 0 && res.Pending:
		add("", "-", "", "", "")
	case len(res.Paths) == 0:
		add(red, "-", "", "", "")
	case good > 0:
		add("", fmt.Sprintf("%d/%d ok", good, len(res.Paths)), "", "", "")
	}
	for _, p := range res.Paths {
		color := ""
		if p.Cause() != "" {
			color = red
		}
		if !p.OK() {
			add(color, p.Address.Addr().String(), liveStep(p, probe.PhaseConnect), liveStep(p, probe.PhaseTLS), liveStep(p, probe.PhaseHTTP))
		}
	}
	switch {
	case res.Pending:
		tally["waiting"]++
	case failed:
		tally["failed"]++
	default:
		tally["ok"]++
	}
	return rows
}

// liveStep is stepText with dots for a step that is under way.
func liveStep(p probe.Path, phase probe.Phase) string {
	if _, ok := p.Step(phase); ok || !p.Pending {
		return stepText(p, phase)
	}
	order := []probe.Phase{probe.PhaseConnect, probe.PhaseTLS, probe.PhaseHTTP}
	if n := len(p.Steps); n == 0 && phase == probe.PhaseConnect ||
		n > 0 && slices.Index(order, phase) == slices.Index(order, p.Steps[n-1].Phase)+1 {
		return "..."
	}
	return ""
}

// cut shortens a line to a number of runes.
func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	r := []rune(s)
	return string(r[:max(0, width-1)]) + "…"
}
