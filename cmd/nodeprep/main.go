// Command nodeprep checks an EKS worker node's environment, renders the
// kubelet's configuration, and starts the kubelet only when the environment
// passes. See docs/architecture.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// version is set by the linker (make build).
var version = "dev"

func main() {
	spendMemory()
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		s := <-signals
		signal.Stop(signals) // a second one ends the program at once
		exit := bootstrap.ExitTerminated
		if s == os.Interrupt {
			exit = bootstrap.ExitInterrupted
		}
		cancel(bootstrap.SignalError{Signal: s.String(), Exit: exit})
	}()
	os.Exit(run(ctx, os.Args[1:], stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// spendMemory lets a short run end before its first garbage collection: most of
// what a round allocates is dead when it ends.
func spendMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
}

// manyTargets is from how many targets on memory is worth a collection.
const manyTargets = 200

// saveMemory keeps a run over many targets small. It is not called for few,
// since it stops the program for a moment.
func saveMemory(targets int) {
	if targets > manyTargets && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(16 << 20)
	}
}

// stdio is where a command reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// An exitError ends a command with a code; Err is printed when it is not nil.
type exitError struct {
	Code int
	Err  error
}

// Error returns the text of the inner error.
func (e exitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns the inner error.
func (e exitError) Unwrap() error { return e.Err }

// run executes one command line and returns the process's exit code. Errors go
// to the error stream as "nodeprep: error: …", without capitals or full stops.
func run(ctx context.Context, args []string, std stdio) int {
	root := rootCommand(std) //nolint:contextcheck // cobra hands each command the context below
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return bootstrap.ExitPass
	}
	code := bootstrap.ExitUsage // what cobra itself refuses is a usage error
	if e, ok := errors.AsType[exitError](err); ok {
		code, err = e.Code, e.Err
	}
	if err != nil {
		fmt.Fprintf(std.err, "nodeprep: error: %v\n", err)
		if code == bootstrap.ExitUsage {
			fmt.Fprintln(std.err, "nodeprep: hint: nodeprep --help lists the commands, nodeprep COMMAND --help its flags and examples")
		}
	}
	return code
}
