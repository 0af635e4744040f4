package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

const (
	// holeEndpoints is the number of extra endpoints, with as many addresses each as there
	// are zones. Addresses of one zone fall silent before those of the next.
	holeEndpoints = 100
	holeRuns      = 3
	// connectDeadline is when a connect is given up: probe.Timing.Connect's default.
	connectDeadline = 3200 * time.Millisecond
)

// holes is the table of silent addresses: all are waited for side by side, so that a
// round with many of them takes as long as one with one.
func (b *bench) holes(ctx context.Context) (string, []error, error) {
	v, _, _, err := b.lab(ctx, holeEndpoints+alwaysThere, vpc.Options{})
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = v.Close() }()
	root, err := b.root(v)
	if err != nil {
		return "", nil, err
	}
	t := newTable("silent addresses", "of", "round ms", "to one connect's deadline", "to one silent address")
	var bad broken
	var one float64
	for _, k := range []int{1, 16, 64, 256} {
		ms, addresses, err := b.round(ctx, v, root, k)
		if err != nil {
			return "", nil, err
		}
		if k == 1 {
			one = ms
		}
		t.line(k, addresses, fmt.Sprintf("%.0f", ms), ms/float64(connectDeadline.Milliseconds()), ms/one)
		bad.over(fmt.Sprintf("a round with %d silent addresses to one with one", k), ms/one, maxRatio)
	}
	return t.String(), bad, nil
}

// round is the median time of checks in which k addresses are silent,
// and the number of addresses in all.
func (b *bench) round(ctx context.Context, v *vpc.VPC, root string, k int) (ms float64, addresses int, err error) {
	mend, err := v.Silence(addressesByZone(v, holeEndpoints)[:k])
	if err != nil {
		return 0, 0, err
	}
	var walls []float64
	for range holeRuns {
		s, out, err := b.one(ctx, v, anyVerdict(), b.nodeprep, "check", "-o", "json", "--root", root)
		if err != nil {
			return 0, 0, err
		}
		_ = os.WriteFile(fmt.Sprintf("/root/scratch/bench3/out/holes-%d.json", k), out, 0o600)
		silent, all, err := pathsWith(out, probe.TCPTimeout)
		if err != nil {
			return 0, 0, err
		}
		if silent != k {
			return 0, 0, fmt.Errorf("%d addresses were silent, nodeprep found %d", k, silent)
		}
		walls, addresses = append(walls, s.WallMS), all
	}
	return median(walls), addresses, mend()
}

// pathsWith counts the paths of a report that ended with a cause, and all paths.
func pathsWith(report []byte, cause probe.Cause) (n, all int, err error) {
	var o bootstrap.Outcome
	if err := json.Unmarshal(report, &o); err != nil {
		return 0, 0, err
	}
	for _, res := range o.Report.Results {
		for _, p := range res.Paths {
			all++
			if p.Cause() == cause {
				n++
			}
		}
	}
	return n, all, nil
}
