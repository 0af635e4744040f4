// Command measure runs a program and writes what it cost as one JSON line to
// the file named first. SIGTERM ends the program, and is no reason to write none. It is
// small on purpose: a child's peak memory counts from its parent's, so the parent must be
// smaller than what it measures.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// cost is what one run of a program took.
type cost struct {
	WallMS  float64 `json:"wallMS"`
	CPUMS   float64 `json:"cpuMS"`
	PeakKiB int64   `json:"peakKiB"`
	Exit    int     `json:"exit"`
}

func main() { os.Exit(run()) }

func run() int {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: measure FILE PROGRAM [ARG]...")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cmd := exec.CommandContext(ctx, os.Args[2], os.Args[3:]...) //nolint:gosec // running the given program is its purpose
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // pass it on
	began := time.Now()
	err := cmd.Run()
	wall := time.Since(began)
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		return 1
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		fmt.Fprintln(os.Stderr, "measure: no resource usage on this system")
		return 1
	}
	b, err := json.Marshal(cost{
		WallMS: ms(wall), CPUMS: ms(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()),
		PeakKiB: usage.Maxrss, Exit: cmd.ProcessState.ExitCode(),
	})
	if err == nil {
		err = os.WriteFile(os.Args[1], b, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		return 1
	}
	return 0
}

// ms is a duration in milliseconds.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
