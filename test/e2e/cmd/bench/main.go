// Command bench measures nodeprep in laboratory VPCs and prints the tables of
// docs/performance.md: a whole `nodeprep bootstrap --no-start` in a healthy VPC
// against the floor program, interleaved in one run; what silent addresses cost; when
// each fault is first named; and how many packets go to link-local services.
// Ratios, counts and the project's own limits of time are held, other milliseconds
// are not: they move with the load of the machine.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
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
	sizes                    []int
	zones                    int // addresses of an endpoint; the API server has two, S3 four
	iterations               int
	delay                    time.Duration
	dir                      string
}

// sample is one measured run.
type sample struct {
	WallMS  float64 `json:"wallMS"`
	CPUMS   float64 `json:"cpuMS"`
	PeakKiB int64   `json:"peakKiB"`
	Exit    int     `json:"exit"`
}

// part is one of the tables: it returns its text and the limits that were broken.
type part struct {
	name string
	run  func(context.Context) (string, []error, error)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := node.Isolated(nil, func() int { return run(ctx) })
	stop()
	os.Exit(code)
}

func run(ctx context.Context) int {
	var b bench
	parts := []part{
		{"healthy", b.healthy}, {"holes", b.holes}, {"memory", b.memory}, {"packets", b.packets}, {"lines", b.lines},
	}
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	flag.StringVar(&b.nodeprep, "nodeprep", "bin/nodeprep", "the program")
	flag.StringVar(&b.floor, "floor", "bin/floor", "the floor program")
	flag.StringVar(&b.measure, "measure", "bin/measure", "the cost meter")
	only := flag.String("only", strings.Join(names, ","), "parts to run")
	sizes := flag.String("endpoints", "10,100,1000", "numbers of endpoints of the healthy part")
	flag.IntVar(&b.zones, "addresses", 3, "addresses of an endpoint, 1 to 3")
	flag.IntVar(&b.iterations, "n", 15, "iterations of the healthy part, at least 3")
	flag.DurationVar(&b.delay, "imds-delay", 40*time.Millisecond, "metadata delay for the serial depth")
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
	for s := range strings.SplitSeq(*sizes, ",") {
		var n int
		if _, err := fmt.Sscan(s, &n); err != nil {
			return failed(fmt.Errorf("-endpoints: %w", err))
		}
		b.sizes = append(b.sizes, n)
	}
	wanted := strings.Split(*only, ",")
	for _, w := range wanted {
		if !slices.Contains(names, w) {
			return failed(fmt.Errorf("no part %q, only %s", w, strings.Join(names, ", ")))
		}
	}
	var problems []error
	for _, p := range parts {
		if !slices.Contains(wanted, p.name) {
			continue
		}
		began := time.Now()
		text, broken, err := p.run(ctx)
		if err != nil {
			return failed(fmt.Errorf("%s: %w", p.name, err))
		}
		fmt.Fprintf(os.Stderr, "bench: %s took %s\n", p.name, time.Since(began).Round(time.Second))
		fmt.Println(text) //nolint:forbidigo // printing the tables is this program's purpose
		problems = append(problems, broken...)
	}
	if len(problems) > 0 {
		return failed(errors.Join(problems...))
	}
	return 0
}

// alwaysThere are the endpoints of every lab that a node asks for: the API server, ec2,
// ecr.api, ecr.dkr and s3. A lab of more endpoints has extra ones.
const alwaysThere = 5

// addressesByZone are those of the first extra endpoints, zone by zone.
func addressesByZone(v *vpc.VPC, endpoints int) []netip.Addr {
	var out []netip.Addr
	for zone := range v.Options().Zones {
		for i := range endpoints {
			out = append(out, v.Addresses(serviceOf(i))[zone])
		}
	}
	return out
}

// serviceOf names an extra endpoint, counted from 0.
func serviceOf(extra int) string { return fmt.Sprintf("extra-%04d", extra+1) }

// root makes a directory that stands for / with the extra endpoints configured.
func (b *bench) root(v *vpc.VPC) (string, error) {
	dir, err := os.MkdirTemp(b.dir, "root-")
	if err != nil {
		return "", err
	}
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

// errSeen is why a run is ended that has shown what it was started for.
var errSeen = errors.New("seen")

// one runs a program in the node's namespace and returns its cost and output. It
// fails when the program ends with an exit code that is not among those allowed.
func (b *bench) one(ctx context.Context, v *vpc.VPC, allowed []int, program string, args ...string) (sample, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	file, err := os.CreateTemp(b.dir, "cost-")
	if err != nil {
		return sample{}, nil, err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_ = file.Close()                                                                               // measure writes it
	cmd := exec.CommandContext(ctx, b.measure, append([]string{file.Name(), program}, args...)...) //nolint:gosec // a program of this project
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err = v.Start(cmd); err == nil {
		err = cmd.Wait()
	}
	if err != nil && !errors.Is(context.Cause(ctx), errSeen) {
		return sample{}, nil, fmt.Errorf("%s: %w\n%s", filepath.Base(program), err, errs.String())
	}
	raw, err := os.ReadFile(file.Name())
	if err != nil {
		return sample{}, nil, err
	}
	var s sample
	if err := json.Unmarshal(raw, &s); err != nil {
		return sample{}, nil, err
	}
	if !slices.Contains(allowed, s.Exit) {
		return s, nil, fmt.Errorf("%s: exit %d\n%s%s", filepath.Base(program), s.Exit, out.String(), errs.String())
	}
	return s, out.Bytes(), nil
}

// median of a non-empty list.
func median[T float64 | int64](v []T) T {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// failed prints an error and returns the exit code for it.
func failed(err error) int {
	fmt.Fprintln(os.Stderr, "bench:", err)
	return 1
}
