package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// watchEvery is the pause between two rounds of check --watch.
const watchEvery = 2 * time.Second

// checkOptions are the flags of check.
type checkOptions struct {
	format  string
	strict  bool
	watch   bool
	areas   []string
	targets []string
}

func checkCommand(std stdio) *cobra.Command {
	var (
		in input
		o  checkOptions
	)
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Probe and judge once, change nothing",
		Long: `Probe every endpoint this node needs, once, and say what blocks it. Nothing is
written or started. The exit code is the class of the cause (docs/operations.md).`,
		Example: `  nodeprep check
  nodeprep check --target ecr.api --target s3     probe these alone
  nodeprep check --only DNS,NET                   judge by these areas alone
  nodeprep check --watch                          while you repair something
  nodeprep check -o json | jq .verdict
  nodeprep check -o junit > nodeprep.xml          for a pipeline
  nodeprep check --config nodeconfig.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := in.unusable(); err != nil {
				return err
			}
			if err := o.normalize(); err != nil {
				return err
			}
			w := newScreen(std, o)
			options := bootstrap.Options{
				Version: version, RunID: newRunID(), Once: true, NoWrite: true, NoStart: true, Targets: o.targets,
			}
			if o.watch {
				options.Watch = watchEvery
			}
			out := bootstrap.Run(cmd.Context(), in.deps(cmd.Context(), w), options)
			w.close()
			if out.Exit == bootstrap.ExitUsage {
				return errors.New(out.Err)
			}
			all := out.Verdict.Findings
			out = o.narrow(out)
			if err := o.print(std.out, out, all); err != nil {
				return err
			}
			if o.strict && out.Exit == bootstrap.ExitPass && len(out.Verdict.Findings) > 0 {
				return exitError{Code: bootstrap.ExitWarnings}
			}
			return verdictExit(out.Exit)
		},
	}
	addInputFlags(cmd, &in)
	addOutputFlag(cmd, &o.format, "junit")
	f := cmd.Flags()
	f.BoolVar(&o.strict, "strict", false, "warnings count: exit 9")
	f.BoolVar(&o.watch, "watch", false, "repeat every 2s until stopped; each new verdict is shown")
	f.StringSliceVar(&o.areas, "only", nil, "count only findings of these `AREAS` (DNS,NET,TLS …)")
	f.StringSliceVar(&o.targets, "target", nil, "probe only the targets of these `NAMES`")
	return cmd
}

// normalize accepts NP-DNS and dns for DNS and refuses what no code has.
func (o *checkOptions) normalize() error {
	known := map[string]bool{}
	for _, c := range bootstrap.Codes() {
		known[c.Code.Area()] = true
	}
	for i, a := range o.areas {
		o.areas[i] = strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(a)), "NP-")
		if !known[o.areas[i]] {
			return fmt.Errorf("no code has the area %q: nodeprep explain lists all", a)
		}
	}
	return nil
}

// narrow drops the findings of other areas, and what they mean for the exit.
func (o checkOptions) narrow(out bootstrap.Outcome) bootstrap.Outcome {
	if len(o.areas) == 0 || out.Err != "" {
		return out
	}
	other := func(f bootstrap.Finding) bool { return !slices.Contains(o.areas, f.Code.Area()) }
	v := out.Verdict
	v.Findings = slices.DeleteFunc(slices.Clone(v.Findings), other)
	v.Waived = slices.DeleteFunc(slices.Clone(v.Waived), other)
	v.Pending, v.Pass = nil, len(v.Blocking()) == 0
	out.Verdict, out.Exit = v, v.ExitCode()
	return out
}

// print shows the outcome in the format asked for; all are the findings before it
// was narrowed.
func (o checkOptions) print(w io.Writer, out bootstrap.Outcome, all []bootstrap.Finding) error {
	if o.format == "junit" {
		return writeJUnit(w, out.ForReport(), o.strict, all)
	}
	return show(w, o.format, out.ForReport(), func(out bootstrap.Outcome) string {
		return newPalette(w).verdict(outcomeText(out))
	})
}
