package main

import (
	"context"
	"encoding/json"
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

func main() {
	var o options
	flag.StringVar(&o.root, "root", "..", "root of the repository")
	flag.StringVar(&o.pkg, "pkg", "pkg/bootstrap", "folder of the package")
	flag.StringVar(&o.files, "files", "judge*.go suppress.go", "patterns of the files to mutate")
	flag.StringVar(&o.run, "run", "^Test(Judge|Every|Expired|Metadata|Role|Incident)", "tests to run")
	flag.DurationVar(&o.timeout, "timeout", time.Minute, "time for one mutant; more counts as noticed")
	flag.StringVar(&o.only, "only", "", "mutate only lines that contain this text")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, o); err != nil {
		log.Fatalln("mutants:", err)
	}
}

type options struct {
	root, pkg, files, run, only string
	timeout                     time.Duration
}

func run(ctx context.Context, out io.Writer, o options) error {
	root, err := filepath.Abs(o.root)
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
	if said, err := test(ctx, root, binary, 0, o); err != nil {
		return fmt.Errorf("the tests fail without a mutant: %w\n%s", err, said)
	}
	survivors := measure(ctx, root, binary, mutants, o)
	for _, m := range survivors {
		fmt.Fprintf(out, "%s:%d: nothing notices that %s is flipped\n", m.file, m.line, m.text)
	}
	n := len(mutants)
	fmt.Fprintf(out, "%d of %d mutants noticed (%.1f %%)\n", n-len(survivors), n, 100*float64(n-len(survivors))/float64(max(1, n)))
	if len(survivors) > 0 {
		return errors.New("predicates that no test holds")
	}
	return nil
}

// build compiles the package's tests with every mutant in them.
func build(ctx context.Context, root, dir string, o options) ([]mutant, string, error) {
	pkg := filepath.Join(root, o.pkg)
	var files []string
	for pattern := range strings.FieldsSeq(o.files) {
		names, err := filepath.Glob(filepath.Join(pkg, pattern))
		if err != nil {
			return nil, "", err
		}
		files = append(files, slices.DeleteFunc(names, func(n string) bool { return strings.HasSuffix(n, "_test.go") })...)
	}
	var all []mutant
	overlay := map[string]string{}
	name := ""
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			return nil, "", err
		}
		mutated, found, pkgName, err := mutate(filepath.Base(file), source, len(all)+1, o.only)
		if err != nil {
			return nil, "", err
		}
		name, all = pkgName, append(all, found...)
		copied := filepath.Join(dir, filepath.Base(file))
		if err := os.WriteFile(copied, mutated, 0o600); err != nil {
			return nil, "", err
		}
		overlay[file] = copied
	}
	if len(all) == 0 {
		return nil, "", errors.New("no predicate in these files")
	}
	switchFile := filepath.Join(dir, "mutant_switch.go")
	if err := os.WriteFile(switchFile, []byte(switchSource(name)), 0o600); err != nil {
		return nil, "", err
	}
	overlay[filepath.Join(pkg, "mutant_switch.go")] = switchFile
	list, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return nil, "", err
	}
	overlayFile, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "mutants.test")
	if err := os.WriteFile(overlayFile, list, 0o600); err != nil {
		return nil, "", err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlayFile, "-o", binary, "./"+o.pkg)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, "", fmt.Errorf("%w\n%s", err, out)
	}
	return all, binary, nil
}

// switchSource is the function that every predicate goes through.
func switchSource(pkg string) string {
	return "package " + pkg + `

import (
	"os"
	"strconv"
)

var activeMutant, _ = strconv.Atoi(os.Getenv("` + variable + `"))

func mutant(number int, predicate bool) bool { return predicate != (number == activeMutant) }
`
}

// measure runs the tests once per mutant and returns those that nothing noticed.
func measure(ctx context.Context, root, binary string, mutants []mutant, o options) []mutant {
	var (
		mu        sync.Mutex
		survivors []mutant
		wg        sync.WaitGroup
		work      = make(chan mutant)
		done      int
	)
	for range runtime.NumCPU() {
		wg.Go(func() {
			for m := range work {
				_, err := test(ctx, root, binary, m.number, o)
				mu.Lock()
				if err == nil {
					survivors = append(survivors, m)
				}
				if done++; done%50 == 0 {
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

// test runs the tests with one mutant active; 0 is none.
func test(ctx context.Context, root, binary string, number int, o options) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.run", o.run, "-test.failfast", "-test.short")
	cmd.Dir = filepath.Join(root, o.pkg)
	cmd.Env = append(os.Environ(), variable+"="+strconv.Itoa(number))
	return cmd.CombinedOutput()
}
