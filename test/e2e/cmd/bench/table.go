package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
)

// Limits of the project: ratios and counts, never milliseconds.
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

// table is docs/performance.md's table.
func table(rows []row, depth float64, n int) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', tabwriter.Debug)
	line := func(cells ...any) {
		var s []string
		for _, c := range cells {
			if f, ok := c.(float64); ok {
				c = fmt.Sprintf("%.2f", f)
			}
			s = append(s, fmt.Sprint(c))
		}
		fmt.Fprintln(w, "| "+strings.Join(s, "\t ")+"\t")
	}
	line("endpoints", "wall / floor", "CPU / floor", "wall ms", "CPU ms", "floor ms", "peak MiB", "floor MiB", "DNS questions", "connections", "handshakes", "requests")
	line("---", "---", "---", "---", "---", "---", "---", "---", "---", "---", "---", "---")
	for _, r := range rows {
		line(r.endpoints, r.wall, r.cpu, r.wallMS, r.cpuMS, r.floorMS, float64(r.peakKiB)/1024, float64(r.floorKiB)/1024,
			r.nodeprep.Questions, r.nodeprep.Connections, r.nodeprep.Handshakes, r.nodeprep.Requests)
	}
	_ = w.Flush() // a Builder takes everything
	if len(rows) > 0 {
		c := rows[0].nodeprep
		fmt.Fprintf(&b, "\nmetadata: %d requests, %d of them for a token, on %d connections; serial depth %.1f; AWS API requests %d\n",
			c.MetadataRequests, c.TokenRequests, c.MetadataConnections, depth, c.AWSRequests)
		fmt.Fprintf(&b, "floor: %.2f ms beyond its own slowest chain; medians of %d interleaved runs\n", rows[0].floorOver, n)
	}
	return b.String()
}

// limits returns every limit that a run broke.
func limits(rows []row, depth float64) []error {
	var errs []error
	over := func(what string, n int, got, limit float64) {
		if got > limit {
			errs = append(errs, fmt.Errorf("%s at %d endpoints is %.2f, limit %.2f", what, n, got, limit))
		}
	}
	for _, r := range rows {
		over("wall / floor", r.endpoints, r.wall, maxRatio)
		over("CPU / floor", r.endpoints, r.cpu, maxRatio)
		peak := maxPeakSmall
		if r.endpoints > smallSize {
			peak = maxPeakLarge
		}
		over("peak KiB", r.endpoints, float64(r.peakKiB), float64(peak))
		if r.endpoints <= smallSize { // beyond that chains wait for the processors
			over("the floor's own waiting", r.endpoints, r.floorOver, maxFloorOverMS)
		}
		c, f := r.nodeprep, r.floors
		over("metadata requests", r.endpoints, float64(c.MetadataRequests), maxMetadata)
		over("token requests", r.endpoints, float64(c.TokenRequests), 1)
		over("metadata connections", r.endpoints, float64(c.MetadataConnections), maxConnections)
		over("AWS API requests", r.endpoints, float64(c.AWSRequests), 0)
		if c.Questions != f.Questions || c.Connections != f.Connections || c.Handshakes != f.Handshakes || c.Requests != f.Requests || c.MetadataRequests != f.MetadataRequests {
			errs = append(errs, fmt.Errorf("at %d endpoints the floor did other work: nodeprep %+v, floor %+v", r.endpoints, c, f))
		}
	}
	over("serial depth", smallSize, depth, maxDepth)
	if len(rows) == 0 {
		errs = append(errs, errors.New("nothing was measured"))
	}
	return errs
}
