package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// memory is the table of what a round over a thousand endpoints needs when some of
// them are broken: what is wrong is looked at more closely, and remembered.
func (b *bench) memory(ctx context.Context) (string, []error, error) {
	const (
		endpoints = 1000
		stalled   = 50 // endpoints, with all their addresses
		silent    = 256
	)
	v, _, _, err := b.lab(ctx, endpoints, vpc.Options{Zones: 2})
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = v.Close() }()
	t := newTable("1000 endpoints, of their addresses", "peak MiB", "round s", "CPU ms", "report KiB")
	var bad broken
	check := func(what string, cause probe.Cause, want int) error {
		s, report, err := b.firstRound(ctx, v)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if n, _, err := pathsWith(report, cause); err != nil || n != want {
			return fmt.Errorf("%s: nodeprep found %d: %w", what, n, err)
		}
		t.line(what, float64(s.PeakKiB)/1024, fmt.Sprintf("%.1f", s.WallMS/1000), fmt.Sprintf("%.0f", s.CPUMS), len(report)>>10)
		bad.over("peak KiB: "+what, float64(s.PeakKiB), maxPeakLarge)
		return nil
	}
	mend, err := v.Silence(addressesByZone(v, silent)[:silent])
	if err != nil {
		return "", nil, err
	}
	err = check(fmt.Sprintf("%d are silent", silent), probe.TCPTimeout, silent)
	if err = errors.Join(err, mend()); err != nil {
		return "", nil, err
	}
	var move []func()
	for i := range stalled {
		m, err := v.Stall(serviceOf(i))
		if err != nil {
			return "", nil, err
		}
		move = append(move, m)
	}
	err = check(fmt.Sprintf("%d accept and never answer", 2*stalled), probe.TLSTimeout, 2*stalled)
	for _, m := range move {
		m()
	}
	return t.String(), bad, err
}

// firstRound starts a bootstrap that will be blocked, or end by itself, and stops it
// after its first round. It returns its cost and its report.
func (b *bench) firstRound(ctx context.Context, v *vpc.VPC) (sample, []byte, error) {
	root, err := b.root(v)
	if err != nil {
		return sample{}, nil, err
	}
	path := filepath.Join(root, host.ReportPath)
	ctx, seen := context.WithCancelCause(ctx)
	defer seen(nil)
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			var o struct {
				NextRound time.Time `json:"nextRound"`
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if raw, err := os.ReadFile(path); err == nil && json.Unmarshal(raw, &o) == nil && !o.NextRound.IsZero() {
				seen(errSeen)
			}
		}
	}()
	s, _, err := b.one(ctx, v, []int{0, bootstrap.ExitTerminated}, b.nodeprep, "bootstrap", "--no-start", "--root", root)
	if err != nil {
		return s, nil, err
	}
	report, err := os.ReadFile(path)
	return s, report, err
}

// anyVerdict are the exit codes of a check that came to a verdict.
func anyVerdict() []int { return []int{0, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 30} }
