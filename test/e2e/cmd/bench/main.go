// Command bench measures a whole `nodeprep bootstrap --no-start` in a healthy
// laboratory VPC against the floor program, interleaved in one run, and prints
// the table of docs/performance.md. Ratios and counts are held to limits,
// milliseconds are not: they move with the load of the machine.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nodeprep/nodeprep/test/e2e/node"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// bench is where the programs under test are.
type bench struct {
	nodeprep, floor, measure string
	iterations               int
	dir                      string
}

// sample is one measured run.
type sample struct {
	WallMS  float64 `json:"wallMS"`
	CPUMS   float64 `json:"cpuMS"`
	PeakKiB int64   `json:"peakKiB"`
	Exit    int     `json:"exit"`
}

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

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := node.Isolated(nil, func() int { return run(ctx) })
	stop()
	os.Exit(code)
}

func run(ctx context.Context) int {
	var b bench
	var sizes string
	var delay time.Duration
	flag.StringVar(&b.nodeprep, "nodeprep", "bin/nodeprep", "the program")
	flag.StringVar(&b.floor, "floor", "bin/floor", "the floor program")
	flag.StringVar(&b.measure, "measure", "bin/measure", "the cost meter")
	flag.StringVar(&sizes, "endpoints", "10,100,1000", "numbers of endpoints")
	flag.IntVar(&b.iterations, "n", 15, "iterations, at least 3")
	flag.DurationVar(&delay, "imds-delay", 40*time.Millisecond, "metadata delay for the serial depth")
	flag.Parse()
	dir, err := os.MkdirTemp("", "nodeprep-bench-")
	if err != nil {
		return failed(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b.dir = dir
	for _, p := range []*string{&b.nodeprep, &b.floor, &b.measure} {
		if *p, err = filepath.Abs(*p); err != nil {
			return failed(err)
		}
	}
	var rows []row
	for s := range strings.SplitSeq(sizes, ",") {
		var n int
		if _, err := fmt.Sscan(s, &n); err != nil {
			return failed(err)
		}
		fmt.Fprintf(os.Stderr, "bench: %d endpoints\n", n)
		r, err := b.compare(ctx, n)
		if err != nil {
			return failed(err)
		}
		rows = append(rows, r)
	}
	depth, err := b.serialDepth(ctx, delay)
	if err != nil {
		return failed(err)
	}
	fmt.Print(table(rows, depth, b.iterations)) //nolint:forbidigo // printing the table is this program's purpose
	if problems := limits(rows, depth); len(problems) > 0 {
		return failed(errors.Join(problems...))
	}
	return 0
}

// lab makes a healthy VPC with n endpoints in all.
func (b bench) lab(ctx context.Context, n int, o vpc.Options) (*vpc.VPC, string, string, error) {
	o.ExtraEndpoints = max(0, n-5) // the API server, ec2, ecr.api, ecr.dkr and s3 are always there
	v, err := vpc.New(ctx, o)
	if err != nil {
		return nil, "", "", err
	}
	ca, hosts := filepath.Join(b.dir, "ca.pem"), filepath.Join(b.dir, "hosts")
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

// root makes a directory that stands for / with the extra endpoints configured.
func (b bench) root(v *vpc.VPC, name string) (string, error) {
	dir := filepath.Join(b.dir, name)
	conf := filepath.Join(dir, "etc/nodeprep/conf.d")
	if err := errors.Join(v.Prepare(dir), os.MkdirAll(conf, 0o755)); err != nil { //nolint:gosec // as on a node
		return "", err
	}
	var y strings.Builder
	y.WriteString("apiVersion: nodeprep.io/v1alpha1\nkind: PrepConfig\nspec:\n  endpoints:\n")
	for i, h := range v.ExtraHosts() {
		fmt.Fprintf(&y, "  - {name: extra-%d, host: %s, role: ready, why: benchmark}\n", i, h)
	}
	if len(v.ExtraHosts()) == 0 {
		return dir, nil
	}
	return dir, os.WriteFile(filepath.Join(conf, "10-bench.yaml"), []byte(y.String()), 0o600)
}

// compare runs both programs in turn and relates them run by run.
func (b bench) compare(ctx context.Context, n int) (row, error) {
	v, ca, hosts, err := b.lab(ctx, n, vpc.Options{})
	if err != nil {
		return row{}, err
	}
	defer func() { _ = v.Close() }()
	iterations := b.iterations
	if n >= 1000 {
		iterations = max(3, iterations/3)
	}
	r := row{endpoints: n}
	var walls, cpus, wallMS, cpuMS, floorMS, over []float64
	for i := range iterations + 2 {
		root, err := b.root(v, fmt.Sprintf("root-%d-%d", n, i))
		if err != nil {
			return r, err
		}
		v.ResetCounts()
		np, _, err := b.one(ctx, v, b.nodeprep, "bootstrap", "--no-start", "--root", root)
		if err != nil {
			return r, err
		}
		counts := v.Counts()
		v.ResetCounts()
		fl, out, err := b.one(ctx, v, b.floor, "-dns", vpc.AmazonDNSAddr().String()+":53", "-api", v.Host(vpc.APIServer), "-ca", ca, "-hosts", hosts)
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
		r.peakKiB, r.floorKiB = max(r.peakKiB, np.PeakKiB), max(r.floorKiB, fl.PeakKiB)
	}
	r.wall, r.cpu, r.wallMS, r.cpuMS = median(walls), median(cpus), median(wallMS), median(cpuMS)
	r.floorMS, r.floorOver = median(floorMS), median(over)
	return r, nil
}

// serialDepth is how many metadata round trips a bootstrap waits for one after
// another: the slope of its wall time over the metadata service's delay.
func (b bench) serialDepth(ctx context.Context, delay time.Duration) (float64, error) {
	var at [2]float64
	for i, d := range []time.Duration{0, delay} {
		v, _, _, err := b.lab(ctx, 10, vpc.Options{IMDSDelay: d})
		if err != nil {
			return 0, err
		}
		var walls []float64
		for j := range 7 {
			root, err := b.root(v, fmt.Sprintf("depth-%d-%d", i, j))
			if err != nil {
				return 0, errors.Join(err, v.Close())
			}
			s, _, err := b.one(ctx, v, b.nodeprep, "bootstrap", "--no-start", "--root", root)
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
	return (at[1] - at[0]) / float64(delay.Milliseconds()), nil
}

// one runs a program in the node's namespace and returns its cost and output.
func (b bench) one(ctx context.Context, v *vpc.VPC, program string, args ...string) (sample, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	file := filepath.Join(b.dir, "cost")
	cmd := exec.CommandContext(ctx, b.measure, append([]string{file, program}, args...)...) //nolint:gosec // a program of this project
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := v.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return sample{}, nil, fmt.Errorf("%s: %w\n%s", filepath.Base(program), err, errs.String())
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return sample{}, nil, err
	}
	var s sample
	if err := json.Unmarshal(raw, &s); err != nil {
		return sample{}, nil, err
	}
	if s.Exit != 0 {
		return s, nil, fmt.Errorf("%s: exit %d\n%s%s", filepath.Base(program), s.Exit, out.String(), errs.String())
	}
	return s, out.Bytes(), nil
}

// median of a non-empty list.
func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// failed prints an error and returns the exit code for it.
func failed(err error) int {
	fmt.Fprintln(os.Stderr, "bench:", err)
	return 1
}
