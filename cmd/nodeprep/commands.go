package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/ec2meta"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
)

// rootCommand builds the whole command line.
func rootCommand(std stdio) *cobra.Command {
	root := &cobra.Command{
		Use:   "nodeprep",
		Short: "Check an EKS node's environment and start the kubelet when it passes",
		Long: `nodeprep reads instance metadata and user data, probes every endpoint this node
needs, renders the kubelet's configuration, and starts the kubelet only when the
environment passes. If it does not pass, it says which one thing to change.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	config := &cobra.Command{Use: "config", Short: "Work with the configuration"}
	config.AddCommand(configCheckCommand(std))
	root.AddCommand(
		bootstrapCommand(std), checkCommand(std), planCommand(std), renderCommand(std),
		reportCommand(std), explainCommand(std), config, tokenCommand(std), versionCommand(std),
	)
	return root
}

// addInputFlags adds the flags that replace the two sources of input.
func addInputFlags(cmd *cobra.Command, in *input) {
	f := cmd.Flags()
	f.StringVar(&in.config, "config", "", "read `FILE` in place of the user data")
	f.StringVar(&in.metadata, "metadata", "", "read `FILE` (JSON object: metadata path to text) in place of the metadata service")
	f.StringVar(&in.root, "root", "", "read configuration directories and write files below `DIR`")
}

// addOutputFlag adds -o and checks its value before the command runs; more are
// formats beside text and json.
func addOutputFlag(cmd *cobra.Command, format *string, more ...string) {
	formats := append([]string{"text", "json"}, more...)
	use := strings.Join(formats[:len(formats)-1], ", ") + " or " + formats[len(formats)-1]
	cmd.Flags().StringVarP(format, "output", "o", "text", "output `FORMAT`: "+use)
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if !slices.Contains(formats, *format) {
			return fmt.Errorf("unknown output format %q: use %s", *format, use)
		}
		return nil
	}
}

func bootstrapCommand(std stdio) *cobra.Command {
	var (
		in      input
		noStart bool
		settle  time.Duration
		format  string
	)
	cmd := &cobra.Command{
		Use:   "bootstrap",
		Short: "Probe until the environment passes, then start the kubelet (systemd runs this)",
		Example: `  nodeprep bootstrap                 what nodeprep.service runs
  nodeprep bootstrap --no-start      stop before the gate opens`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := in.unusable(); err != nil {
				return err
			}
			w := newWindows(std, in, format)
			defer w.close()
			out := bootstrap.Run(cmd.Context(), in.deps(cmd.Context(), w), bootstrap.Options{
				Version: version, RunID: newRunID(), NoStart: noStart, Settle: settle,
			})
			w.final(out)
			return verdictExit(out.Exit)
		},
	}
	addInputFlags(cmd, &in)
	addOutputFlag(cmd, &format)
	cmd.Flags().BoolVar(&noStart, "no-start", false, "end once the verdict passed, with the gate closed")
	cmd.Flags().DurationVar(&settle, "settle", 5*time.Second, "how long the kubelet must stay up")
	return cmd
}

func renderCommand(std stdio) *cobra.Command {
	var (
		in     input
		format string
	)
	cmd := &cobra.Command{
		Use:     "render --root DIR",
		Short:   "Write the kubelet's files below a directory",
		Example: `  nodeprep render --root out --config nodeconfig.yaml --metadata instance.json`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if in.root == "" {
				return errors.New("render needs --root DIR (use / to write where the kubelet reads)")
			}
			target := in.rootDir()
			in.root = "" // the configuration is this machine's; only the files go below DIR
			plan, _, problems, err := in.plan(cmd.Context())
			if err != nil {
				return exitError{Code: bootstrap.ExitInternal, Err: err}
			}
			printProblems(std.err, problems)
			if v := bootstrap.Reject(problems); !v.Pass {
				return verdictExit(v.ExitCode())
			}
			written, err := host.WriteFiles(target, plan.Files)
			if err != nil {
				return exitError{Code: bootstrap.ExitInternal, Err: err}
			}
			return show(std.out, format, written, writtenText)
		},
	}
	addInputFlags(cmd, &in)
	addOutputFlag(cmd, &format)
	return cmd
}

func reportCommand(std stdio) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "report [FILE]",
		Short: "Show the last outcome",
		Example: `  nodeprep report
  nodeprep report -o json
  nodeprep report saved-report.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := host.ReportPath
			if len(args) == 1 {
				path = args[0]
			}
			out, err := host.ReadReport(path)
			if errors.Is(err, os.ErrNotExist) && len(args) == 0 {
				return exitError{Code: bootstrap.ExitInternal, Err: fmt.Errorf("no report at %s: nodeprep has not run since boot (systemctl status nodeprep)", path)}
			}
			if err != nil {
				return exitError{Code: bootstrap.ExitInternal, Err: err}
			}
			return show(std.out, format, out.ForReport(), func(out bootstrap.Outcome) string {
				return newPalette(std.out).verdict(outcomeText(out))
			})
		},
	}
	addOutputFlag(cmd, &format)
	return cmd
}

func configCheckCommand(std stdio) *cobra.Command {
	var (
		in     input
		format string
		strict bool
	)
	cmd := &cobra.Command{
		Use:   "check [FILE]...",
		Short: "Check configuration and user data without a node",
		Long: `Check files as they would be read on a node: each FILE is user data (plain,
MIME multipart, gzip, base64), or a configuration file when its directory is one
of those of a node (image/usr/lib/nodeprep/conf.d, say); - is standard input.
Files that the configuration names (endpoints[].ca) are read below --root.
Without FILE the sources of this machine are checked.`,
		Example: `  nodeprep config check userdata.txt
  nodeprep config check --root image image/usr/lib/nodeprep/conf.d/*.yaml userdata.txt
  terraform show -json | jq -r ... | nodeprep config check -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			problems, err := in.check(cmd.Context(), std.in, args)
			if err != nil {
				return exitError{Code: bootstrap.ExitInternal, Err: err}
			}
			if err := show(std.out, format, append(problemList{}, problems...), problemsText); err != nil {
				return err
			}
			if strict && len(problems) > 0 && bootstrap.Reject(problems).Pass {
				return exitError{Code: bootstrap.ExitWarnings}
			}
			return verdictExit(bootstrap.Reject(problems).ExitCode())
		},
	}
	cmd.Flags().StringVar(&in.metadata, "metadata", "", "check against the instance described in `FILE`")
	cmd.Flags().StringVar(&in.root, "root", "", "read configuration directories, and files that configuration names, below `DIR`")
	addOutputFlag(cmd, &format)
	cmd.Flags().BoolVar(&strict, "strict", false, "warnings count: exit 9")
	return cmd
}

func tokenCommand(std stdio) *cobra.Command {
	var cluster, region string
	cmd := &cobra.Command{
		Use:     "token --cluster-name NAME --region REGION",
		Short:   "Print a token for the cluster (the kubelet's exec credential plugin)",
		Example: `  nodeprep token --cluster-name demo --region eu-west-1`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := ec2meta.New(ec2meta.Options{Endpoint: metadataEndpoint()}).
				Token(cmd.Context(), cluster, region, bootstrap.STSHost(region), time.Now())
			if err != nil {
				return exitError{Code: bootstrap.ExitInternal, Err: err}
			}
			b, err := ec2meta.ExecCredential(os.Getenv("KUBERNETES_EXEC_INFO"), t)
			if err != nil {
				return exitError{Code: bootstrap.ExitInternal, Err: err}
			}
			_, err = fmt.Fprintf(std.out, "%s\n", b)
			return err
		},
	}
	cmd.Flags().StringVar(&cluster, "cluster-name", "", "`NAME` of the cluster the token is for")
	cmd.Flags().StringVar(&region, "region", "", "`REGION` whose STS endpoint the token names")
	for _, name := range []string{"cluster-name", "region"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag was defined two lines above
		}
	}
	return cmd
}

func versionCommand(std stdio) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return show(std.out, format, buildInfo(), versionText)
		},
	}
	addOutputFlag(cmd, &format)
	return cmd
}

// verdictExit turns an exit code into an error that carries it.
func verdictExit(code int) error {
	if code == bootstrap.ExitPass {
		return nil
	}
	return exitError{Code: code}
}
