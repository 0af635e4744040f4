package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// variable is the environment variable with the number of the mutant to flip.
const variable = "NODEPREP_MUTANT"

// memoryLimit is how many KiB of address space tests get: a flipped condition may
// make a loop that only ends with the memory.
const memoryLimit = 4 << 20

func main() {
	var o options
	flag.StringVar(&o.root, "root", "..", "root of the repository")
	flag.StringVar(&o.pkg, "pkg", "pkg/bootstrap", "folder of the package")
	flag.StringVar(&o.files, "files", "judge*.go suppress.go hold.go waive.go verdict.go finding.go exit.go", "patterns of the files to mutate")
	flag.StringVar(&o.run, "run", "^TestJudge(Near.*|Policy|Partial)?$ "+
		"^Test(Judge.+|Every.*|Expired.*|Metadata.*|Role.*|Incidents|ReportIsJudgedAlike|Reject|ExitCode|ComingUp|Explain.*|Summary|StatusLine|UserData|ReadConfigClock)$ "+
		"^TestRun",
		"tests to run: patterns of one stage after the other, each for what the ones before did not notice")
	flag.StringVar(&o.equivalent, "equivalent", "mutants/equivalent.txt", "list of predicates whose flipping changes nothing")
	flag.DurationVar(&o.timeout, "timeout", time.Minute, "time for one stage of one mutant; more counts as noticed")
	flag.IntVar(&o.workers, "workers", runtime.NumCPU(), "mutants to test at a time")
	flag.StringVar(&o.only, "only", "", "mutate only lines that contain this text")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, o); err != nil {
		log.Fatalln("mutants:", err)
	}
}

type options struct {
	root, pkg, files, run, equivalent, only string
	timeout                                 time.Duration
	workers                                 int
}

func run(ctx context.Context, out io.Writer, o options) error {
	root, err := filepath.Abs(o.root)
	if err != nil {
		return err
	}
	listed, err := readEquivalents(o.equivalent)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()

	mutants, binary, err := build(ctx, root, dir, o)
	if err != nil {
		return err
	}
	tests := testBinary{binary: binary, dir: filepath.Join(root, o.pkg), timeout: o.timeout}
	survivors := mutants
	for stage := range strings.FieldsSeq(o.run) {
		if len(survivors) == 0 {
			break
		}
		if said, err := tests.run(ctx, stage, 0); err != nil {
			return fmt.Errorf("the tests %s fail without a mutant: %w\n%s", stage, err, said)
		}
		fmt.Fprintf(os.Stderr, "%d mutants, tests %s\n", len(survivors), stage)
		survivors = tests.measure(ctx, stage, survivors, o.workers)
	}
	return report(out, mutants, survivors, listed, o.only == "")
}

// report prints what nothing notices and the figures. all says that every
// predicate of the files was mutated, so that the list can be checked.
func report(out io.Writer, mutants, survivors []mutant, listed []equivalent, all bool) error {
	known, open := 0, 0
	for _, m := range survivors {
		if slices.ContainsFunc(listed, m.is) {
			known++
			continue
		}
		open++
		fmt.Fprintf(out, "%s:%d: nothing notices that %s is flipped\n\t%s\n", m.file, m.line, m.text, m.key())
	}
	stale := 0
	for _, e := range listed {
		is := func(m mutant) bool { return m.is(e) }
		if !all || !slices.ContainsFunc(mutants, func(m mutant) bool { return m.file == e.file }) || slices.ContainsFunc(survivors, is) {
			continue
		}
		stale++
		why := "is no predicate of that file"
		if slices.ContainsFunc(mutants, is) {
			why = "is noticed by a test"
		}
		fmt.Fprintf(out, "equivalent.txt:%d: %s %s\n", e.line, e.key, why)
	}
	n := len(mutants)
	fmt.Fprintf(out, "%d of %d mutants noticed (%.1f %%), %d listed as equivalent, %d unnoticed\n", n-known-open, n, 100*float64(n-known-open)/float64(max(1, n)), known, open)
	if open > 0 {
		return errors.New("predicates that no test holds")
	}
	if stale > 0 {
		return errors.New("entries of equivalent.txt that are not true")
	}
	return nil
}

// A testBinary is the package's tests with every mutant in them.
type testBinary struct {
	binary, dir string
	timeout     time.Duration
}

// measure runs the tests of a stage once per mutant and returns those that
// nothing noticed.
func (b testBinary) measure(ctx context.Context, stage string, mutants []mutant, workers int) []mutant {
	var (
		mu        sync.Mutex
		survivors []mutant
		wg        sync.WaitGroup
		work      = make(chan mutant)
		done      int
	)
	for range max(1, workers) {
		wg.Go(func() {
			for m := range work {
				_, err := b.run(ctx, stage, m.number)
				mu.Lock()
				if err == nil {
					survivors = append(survivors, m)
				}
				if done++; done%100 == 0 {
					fmt.Fprintf(os.Stderr, "%d of %d, %d survive\n", done, len(mutants), len(survivors))
				}
				mu.Unlock()
			}
		})
	}
	for _, m := range mutants {
		work <- m
	}
	close(work)
	wg.Wait()
	slices.SortFunc(survivors, func(a, b mutant) int { return a.number - b.number })
	return survivors
}

// run runs the tests of a stage with one mutant active; 0 is none.
func (b testBinary) run(ctx context.Context, stage string, number int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	const limited = `ulimit -v "$1" && shift && exec "$@"`
	cmd := exec.CommandContext(ctx, "sh", "-c", limited, "sh", strconv.Itoa(memoryLimit),
		b.binary, "-test.run", stage, "-test.failfast", "-test.short")
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), variable+"="+strconv.Itoa(number))
	cmd.WaitDelay = time.Second
	return cmd.CombinedOutput()
}
