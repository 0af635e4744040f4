package main

import (
	"context"
	"flag"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

var update = flag.Bool("update", false, "write the scripts' expected output")

// isolated runs the tests in a network of their own.
type isolated struct{ m *testing.M }

// Run isolates, then runs the tests.
func (i isolated) Run() int { return probetest.Isolate(i.m) }

func TestMain(m *testing.M) {
	testscript.Main(isolated{m}, map[string]func(){
		"nodeprep": func() {
			os.Exit(run(context.Background(), os.Args[1:], stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
		},
	})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true, UpdateScripts: *update})
}
