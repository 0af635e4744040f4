package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// row is the result for one number of endpoints.
type row struct {
	endpoints        int
	wall, cpu        float64 // ratios, nodeprep to floor
	wallMS, cpuMS    float64 // nodeprep's medians
	floorMS          float64
	floorOver        float64 // the floor's total minus its own slowest chain, median
	peakKiB          int64
	floorKiB         int64
	nodeprep, floors vpc.Counts
}

// healthy is the table of a healthy VPC.
func (b *bench) healthy(ctx context.Context) (string, []error, error) {
	t := newTable("endpoints", "wall / floor", "CPU / floor", "wall ms", "CPU ms", "floor ms", "peak MiB", "floor MiB",
		"DNS questions", "connections", "handshakes", "requests")
	var bad broken
	var rows []row
	for _, n := range b.sizes {
		r, err := b.compare(ctx, n)
		if err != nil {
			return "", nil, err
		}
		rows = append(rows, r)
		r.limits(&bad)
		t.line(r.endpoints, r.wall, r.cpu, r.wallMS, r.cpuMS, r.floorMS, float64(r.peakKiB)/1024, float64(r.floorKiB)/1024,
			r.nodeprep.Questions, r.nodeprep.Connections, r.nodeprep.Handshakes, r.nodeprep.Requests)
	}
	depth, err := b.serialDepth(ctx)
	if err != nil {
		return "", nil, err
	}
	bad.over("serial depth", depth, maxDepth)
	c := rows[0].nodeprep
	text := t.String() + fmt.Sprintf("\nmetadata: %d requests, %d of them for a token, on %d connections; serial depth %.1f; AWS API requests %d\n",
		c.MetadataRequests, c.TokenRequests, c.MetadataConnections, depth, c.AWSRequests) +
		fmt.Sprintf("floor: %.2f ms beyond its own slowest chain; medians of %d interleaved runs\n", rows[0].floorOver, b.iterations)
	return text, bad, nil
}

// lab makes a healthy VPC with n endpoints in all.
func (b *bench) lab(ctx context.Context, n int, o vpc.Options) (v *vpc.VPC, ca, hosts string, err error) {
	o.ExtraEndpoints = max(0, n-alwaysThere)
	o.Zones = cmp.Or(o.Zones, b.zones)
	if v, err = vpc.New(ctx, o); err != nil {
		return nil, "", "", err
	}
	ca, hosts = filepath.Join(b.dir, "ca.pem"), filepath.Join(b.dir, "hosts")
	names := v.ExtraHosts()
	for _, service := range []string{vpc.EC2, vpc.ECRAPI, vpc.ECRDKR, vpc.S3} {
		names = append(names, v.Host(service))
	}
	err = errors.Join(
		os.WriteFile(ca, v.ClusterCA(), 0o600),
		os.WriteFile(hosts, []byte(strings.Join(names, "\n")), 0o600),
	)
	return v, ca, hosts, err
}

// bootstrap runs nodeprep until the gate may open.
func (b *bench) bootstrap(ctx context.Context, v *vpc.VPC) (sample, error) {
	root, err := b.root(v)
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = os.RemoveAll(root) }()
	s, _, err := b.one(ctx, v, []int{0}, b.nodeprep, "bootstrap", "--no-start", "--root", root)
	return s, err
}

// compare runs both programs in turn and relates them run by run.
func (b *bench) compare(ctx context.Context, n int) (row, error) {
	v, ca, hosts, err := b.lab(ctx, n, vpc.Options{})
	if err != nil {
		return row{}, err
	}
	defer func() { _ = v.Close() }()
	iterations := b.iterations
	if n >= 1000 {
		iterations = max(3, iterations/5)
	}
	r := row{endpoints: n}
	var walls, cpus, wallMS, cpuMS, floorMS, over []float64
	var peaks, floorPeaks []int64
	for i := range iterations + 2 {
		v.ResetCounts()
		np, err := b.bootstrap(ctx, v)
		if err != nil {
			return r, err
		}
		counts := v.Counts()
		v.ResetCounts()
		fl, out, err := b.one(ctx, v, []int{0}, b.floor, "-dns", vpc.AmazonDNSAddr().String()+":53", "-api", v.Host(vpc.APIServer), "-ca", ca, "-hosts", hosts)
		if err != nil {
			return r, err
		}
		var did struct{ TotalMS, SlowestChainMS float64 }
		if err := json.Unmarshal(out, &did); err != nil {
			return r, fmt.Errorf("floor printed %q: %w", out, err)
		}
		if i < 2 {
			continue // warm-up
		}
		r.nodeprep, r.floors = counts, v.Counts()
		walls, cpus = append(walls, np.WallMS/fl.WallMS), append(cpus, np.CPUMS/fl.CPUMS)
		wallMS, cpuMS = append(wallMS, np.WallMS), append(cpuMS, np.CPUMS)
		floorMS, over = append(floorMS, fl.WallMS), append(over, did.TotalMS-did.SlowestChainMS)
		peaks, floorPeaks = append(peaks, np.PeakKiB), append(floorPeaks, fl.PeakKiB)
	}
	r.wall, r.cpu, r.wallMS, r.cpuMS = median(walls), median(cpus), median(wallMS), median(cpuMS)
	r.floorMS, r.floorOver = median(floorMS), median(over)
	// The kernel counts a process's pages per processor and adds up now and then: one
	// reading is good to some hundred KiB.
	r.peakKiB, r.floorKiB = median(peaks), median(floorPeaks)
	return r, nil
}

// beyondFloor is what nodeprep does in a healthy VPC beside the floor's work: the
// machine's own lookup of the API server, which asks for A and AAAA, and its connect;
// and two more things to know of the instance, its public address and the state of the
// role's credentials.
func beyondFloor() vpc.Counts {
	return vpc.Counts{Questions: 2, Connections: 1, MetadataRequests: 2}
}

// limits notes every limit that a row broke.
func (r row) limits(bad *broken) {
	at := fmt.Sprintf(" at %d endpoints", r.endpoints)
	bad.over("wall / floor"+at, r.wall, maxRatio)
	bad.over("CPU / floor"+at, r.cpu, maxRatio)
	peak := maxPeakSmall
	if r.endpoints > smallSize {
		peak = maxPeakLarge
	}
	bad.over("peak KiB"+at, float64(r.peakKiB), float64(peak))
	if r.endpoints <= smallSize { // beyond that chains wait for the processors
		bad.over("the floor's own waiting"+at, r.floorOver, maxFloorOverMS)
	}
	c, f, more := r.nodeprep, r.floors, beyondFloor()
	bad.over("metadata requests"+at, float64(c.MetadataRequests), maxMetadata)
	bad.over("token requests"+at, float64(c.TokenRequests), 1)
	bad.over("metadata connections"+at, float64(c.MetadataConnections), maxConnections)
	bad.over("AWS API requests"+at, float64(c.AWSRequests), 0)
	f.Questions += more.Questions
	f.Connections += more.Connections
	f.MetadataRequests += more.MetadataRequests
	f.MetadataConnections = c.MetadataConnections // how many there are is up to each
	if c != f {
		*bad = append(*bad, fmt.Errorf("%d endpoints: nodeprep did %+v, not what the floor did and %+v: %+v", r.endpoints, c, more, f))
	}
}

// serialDepth is how many metadata round trips a bootstrap waits for one after
// another: the slope of its wall time over the metadata service's delay.
func (b *bench) serialDepth(ctx context.Context) (float64, error) {
	var at [2]float64
	for i, d := range []time.Duration{0, b.delay} {
		v, _, _, err := b.lab(ctx, smallSize, vpc.Options{IMDSDelay: d})
		if err != nil {
			return 0, err
		}
		var walls []float64
		for range 7 {
			s, err := b.bootstrap(ctx, v)
			if err != nil {
				return 0, errors.Join(err, v.Close())
			}
			walls = append(walls, s.WallMS)
		}
		at[i] = median(walls)
		if err := v.Close(); err != nil {
			return 0, err
		}
	}
	return (at[1] - at[0]) / float64(b.delay.Milliseconds()), nil
}
