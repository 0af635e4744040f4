package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Limits of the project, some of issues and some of its design.
const (
	maxRatio       = 1.3
	maxPeakSmall   = 16 << 10 // KiB at 10 endpoints
	maxPeakLarge   = 24 << 10 // KiB at 1000 endpoints
	maxMetadata    = 16       // requests on a one-ENI node, the token's included
	maxConnections = 8
	maxDepth       = 4
	maxFloorOverMS = 2
	smallSize      = 10
)

// A table is one of Markdown.
type table struct {
	text strings.Builder
	w    *tabwriter.Writer
}

// newTable begins a table with its head.
func newTable(head ...string) *table {
	t := &table{}
	t.w = tabwriter.NewWriter(&t.text, 0, 0, 1, ' ', tabwriter.Debug)
	cells, rule := make([]any, len(head)), make([]any, len(head))
	for i, h := range head {
		cells[i], rule[i] = h, "---"
	}
	t.line(cells...)
	t.line(rule...)
	return t
}

// line appends a row.
func (t *table) line(cells ...any) {
	var s []string
	for _, c := range cells {
		if f, ok := c.(float64); ok {
			c = fmt.Sprintf("%.2f", f)
		}
		s = append(s, fmt.Sprint(c))
	}
	fmt.Fprintln(t.w, "| "+strings.Join(s, "\t ")+"\t")
}

// String is the whole table.
func (t *table) String() string {
	_ = t.w.Flush() // a Builder takes everything
	return t.text.String()
}

// broken collects the limits that a part broke.
type broken []error

// over notes a value above its limit.
func (b *broken) over(what string, got, limit float64) {
	if got > limit {
		*b = append(*b, fmt.Errorf("%s is %.2f, limit %.2f", what, got, limit))
	}
}
