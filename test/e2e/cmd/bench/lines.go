package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

const (
	// maxFirstLine is when the first line must be there that names the cause of a fault,
	// counted from the start of the process.
	maxFirstLine = 6 * time.Second
	// crowded is granted beyond that because linesAtOnce laboratories share the machine.
	crowded     = 2 * time.Second
	linesAtOnce = 8
	// linePatience is when a line is not waited for any more.
	linePatience = 30 * time.Second
	slowest      = 10 // rows of the table
)

// firstLine is when a fault was first named.
type firstLine struct {
	fault vpc.Fault
	took  time.Duration
	err   error
}

// lines is the table of the faults that are named last. Every fault of the lab that has
// a cause is injected, and nodeprep started as at boot.
func (b *bench) lines(ctx context.Context) (string, []error, error) {
	faults := make(chan vpc.Fault)
	found := make(chan firstLine)
	var wg sync.WaitGroup
	for range linesAtOnce {
		wg.Go(func() {
			for f := range faults {
				took, err := b.firstLine(ctx, f)
				found <- firstLine{f, took, err}
			}
		})
	}
	go func() {
		for _, f := range vpc.Faults() {
			// Else there is nothing to name, or not by this version.
			if _, known := bootstrap.Code(f.Code).Info(); known {
				faults <- f
			}
		}
		close(faults)
		wg.Wait()
		close(found)
	}()
	var all []firstLine
	var bad broken
	for l := range found {
		if l.err != nil {
			bad = append(bad, fmt.Errorf("%s: %w", l.fault.Name, l.err))
			continue
		}
		all = append(all, l)
		bad.over("seconds until "+l.fault.Name+" was named", l.took.Seconds(), (maxFirstLine + crowded).Seconds())
	}
	if len(all) == 0 {
		return "", nil, errors.Join(bad...)
	}
	slices.SortFunc(all, func(a, b firstLine) int { return int(b.took - a.took) })
	t := newTable("fault", "code", "first named after s")
	for _, l := range all[:min(slowest, len(all))] {
		t.line(l.fault.Name, l.fault.Code, l.took.Seconds())
	}
	within := 0
	for _, l := range all {
		if l.took <= maxFirstLine {
			within++
		}
	}
	return t.String() + fmt.Sprintf("\n%d faults, %d of them named within %s, half of them within %.2f s\n",
		len(all), within, maxFirstLine, all[len(all)/2].took.Seconds()), bad, nil
}

// firstLine starts nodeprep in a VPC with a fault and returns when its first line came
// that names the cause.
func (b *bench) firstLine(ctx context.Context, f vpc.Fault) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, linePatience)
	defer cancel()
	v, err := vpc.New(ctx, f.Options(vpc.Options{}))
	if err != nil {
		return 0, err
	}
	defer func() { _ = v.Close() }()
	if _, err := v.Inject(f.Name); err != nil {
		return 0, err
	}
	root, err := b.root(v)
	if err != nil {
		return 0, err
	}
	args := []string{"bootstrap", "--no-start"}
	if f.Warning {
		// A bootstrap that starts nothing ends when the verdict passes, and a warning may
		// come after that.
		args = []string{"check"}
	}
	cmd := v.Command(ctx, b.nodeprep, append(args, "--root", root)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Second
	read, write := io.Pipe()
	cmd.Stdout, cmd.Stderr = write, write
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is stopped, or says by its lines what was wrong
		_ = write.Close()
		close(ended)
	}()
	var said strings.Builder
	took := time.Duration(0)
	for s := bufio.NewScanner(read); s.Scan(); {
		if strings.Contains(s.Text(), f.Code+" ") && took == 0 {
			took = time.Since(began)
			if err = named(filepath.Join(root, host.ReportPath), f, s.Text()); err != nil || !f.Warning {
				cancel()
			}
		}
		said.WriteString(s.Text() + "\n")
	}
	<-ended
	if took == 0 {
		return 0, fmt.Errorf("%s was never named:\n%s", f.Code, said.String())
	}
	return took, err
}

// named fails when a line does not say what a fault is about: its targets or the place in
// the input, and the cause in words.
func named(report string, f vpc.Fault, line string) error {
	if f.Warning {
		return nil // check writes no report; its line is the finding's title
	}
	raw, err := os.ReadFile(report)
	if err != nil {
		return err
	}
	var o bootstrap.Outcome
	if err := json.Unmarshal(raw, &o); err != nil {
		return err
	}
	for _, found := range o.Verdict.Findings {
		if string(found.Code) != f.Code {
			continue
		}
		about := found.Subject()
		if len(about) > 0 && !slices.ContainsFunc(about, func(a string) bool { return strings.Contains(line, a) }) {
			return fmt.Errorf("the line names none of %v: %s", about, line)
		}
		if found.Problem == nil && !strings.Contains(line, found.Title) {
			return fmt.Errorf("the line does not say %q: %s", found.Title, line)
		}
		return nil
	}
	return fmt.Errorf("the report has no %s", f.Code)
}
