package main

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/nodeprep/nodeprep/test/e2e/node"
)

const (
	nodeprepUnit = "nodeprep.service"
	kubeletUnit  = "kubelet.service"
	// look is how often the units' states are read.
	look = 50 * time.Millisecond
	// ownPrefix begins every line that nodeprep writes on the console.
	ownPrefix = "nodeprep: "
)

// watchUnits shows what systemctl status would: a line when a unit's state or
// its status text changes, until ctx ends.
func watchUnits(ctx context.Context, n *node.Node, s *screen) {
	last := map[string]string{}
	t := time.NewTicker(look)
	defer t.Stop()
	for {
		for _, name := range []string{nodeprepUnit, kubeletUnit} {
			u, err := n.Unit(ctx, name)
			if err != nil {
				continue // the node is stopping, or ctx has ended
			}
			text := name + " is " + u.ActiveState
			if u.StatusText != "" {
				text += ": " + u.StatusText
			}
			// Seconds that count are no change.
			if key := figures.ReplaceAllString(text, "0"); key != last[name] {
				last[name] = key
				colour := status.colour
				if u.ActiveState == "failed" {
					colour = red
				}
				s.say(status, text, colour)
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

var figures = regexp.MustCompile(`[0-9]+(\.[0-9]+)?( ?(ms|s|min|h)\b)`)

// watchJournal shows what journalctl -u nodeprep -u kubelet -f would, and hands
// on each entry, until ctx ends.
func watchJournal(ctx context.Context, n *node.Node, s *screen, entry func(node.Entry)) error {
	return n.FollowJournal(ctx, func(e node.Entry) {
		from := e["SYSLOG_IDENTIFIER"]
		// systemd's own words about nodeprep's start are in the status already.
		if from == "systemd" && e["UNIT"] != kubeletUnit {
			return
		}
		colour := journal.colour
		switch e["PRIORITY"] {
		case "0", "1", "2", "3":
			colour = red
		case "4":
			colour = yellow
		case "7":
			return
		}
		s.say(journal, from+": "+strings.TrimSpace(e["MESSAGE"]), colour)
		entry(e)
	}, "SYSLOG_IDENTIFIER=nodeprep", "+", "_SYSTEMD_UNIT="+kubeletUnit, "+", "UNIT="+kubeletUnit)
}

// consoleView shows what nodeprep writes on the node's console, and leaves out
// what systemd does. It is written to by one goroutine.
type consoleView struct {
	screen *screen
	rest   []byte
}

// Write takes a piece of the console's output.
func (c *consoleView) Write(p []byte) (int, error) {
	c.rest = append(c.rest, p...)
	var block []string
	for {
		line, rest, ok := bytes.Cut(c.rest, []byte("\n"))
		if !ok {
			break
		}
		c.rest = rest
		if text := strings.TrimRight(string(line), "\r"); strings.HasPrefix(text, ownPrefix) {
			block = append(block, text)
		}
	}
	if len(block) > 0 {
		c.screen.lines(console, block)
	}
	return len(p), nil
}
