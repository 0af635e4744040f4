package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

func planCommand(std stdio) *cobra.Command {
	var (
		in      input
		format  string
		packets bool
	)
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what this node must reach and which files it would get, without probing",
		Example: `  nodeprep plan
  nodeprep plan --config nodeconfig.yaml --metadata instance.json    on a laptop, no packet sent
  nodeprep plan --packets     every destination, port and name a round may contact`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			plan, state, problems, err := in.plan(cmd.Context())
			if err != nil {
				return exitError{Code: bootstrap.ExitInternal, Err: err}
			}
			printProblems(std.err, problems)
			if packets {
				err = show(std.out, format, plan.Packets(state), packetsText)
			} else {
				err = show(std.out, format, plan, planText)
			}
			if err != nil {
				return err
			}
			return verdictExit(bootstrap.Reject(problems).ExitCode())
		},
	}
	addInputFlags(cmd, &in)
	addOutputFlag(cmd, &format)
	cmd.Flags().BoolVar(&packets, "packets", false, "list every destination, port and name that a round may contact")
	return cmd
}

// planText shows a plan.
func planText(p bootstrap.Plan) string {
	var b strings.Builder
	b.WriteString(table([][]string{
		{"cluster", p.Cluster.Name, p.Cluster.APIServer},
		{"instance", p.Instance.ID, p.Instance.Type + " in " + p.Instance.Zone},
		{"node", p.Node.Name, p.Node.IP.String()},
		{"max pods", fmt.Sprint(p.Node.MaxPods), p.Node.MaxPodsWhy},
		{"mode", string(p.Policy.Mode), modeText(p)},
	}))
	b.WriteString("\nmust reach\n" + targetsText(p.Targets))
	b.WriteString("\nof all endpoints\n" + notesText(bootstrap.EndpointNotes(), "  - "))
	b.WriteString("\nwill write\n")
	var rows [][]string
	for _, f := range p.Files {
		rows = append(rows, []string{"  " + f.Path, fmt.Sprintf("%04o", f.Mode.Perm()), fmt.Sprintf("%d bytes", len(f.Data))})
	}
	b.WriteString(table(rows))
	fmt.Fprintf(&b, "\nwill start  %s\n", strings.Join(p.Units, ", "))
	return b.String()
}

// notesText lists notes, each behind a label.
func notesText(notes []string, label string) string {
	var b strings.Builder
	for _, n := range notes {
		b.WriteString(wrap(label, n, len(label)))
	}
	return b.String()
}

// modeText says in words what the policy lets through.
func modeText(p bootstrap.Plan) string {
	said := []string{map[bootstrap.Mode]string{
		bootstrap.ModeQuorum:  "one address of each gate and ready target must pass",
		bootstrap.ModeStrict:  "every address of each gate and ready target must pass",
		bootstrap.ModeObserve: "nothing holds the kubelet",
	}[p.Policy.Mode]}
	if len(p.Policy.Enforce) > 0 {
		said = append(said, "only "+strings.Join(p.Policy.Enforce, ", ")+" may block")
	}
	for _, w := range p.Policy.Waive {
		said = append(said, string(w.Code)+" waived")
	}
	return strings.Join(said, "; ")
}

// targetsText lists targets with what asks for them and what to know about them.
// A note that concerns several is printed with the first.
func targetsText(targets []bootstrap.Target) string {
	rows := make([][]string, 0, len(targets))
	indent := 0
	for _, t := range targets {
		by := strings.Join(t.Needs, ", ")
		if t.Assumed {
			by += " (assumed)"
		}
		rows = append(rows, []string{"  " + t.Name, string(t.Role), fmt.Sprintf("%s:%d", t.Host, t.Port), by})
		indent = max(indent, len("  "+t.Name+"  "))
	}
	var b strings.Builder
	var said []string
	for i, row := range strings.Split(strings.TrimSuffix(table(rows), "\n"), "\n") {
		b.WriteString(row + "\n")
		if i >= len(targets) {
			break
		}
		t := targets[i]
		if t.Why != "" {
			b.WriteString(wrap("", t.Why, indent))
		}
		if t.Proxy != "" {
			b.WriteString(wrap("", "Through the proxy "+t.Proxy.String()+", as "+string(t.Consumer)+" goes.", indent))
		}
		for _, n := range t.Notes {
			if !slices.Contains(said, n) {
				said = append(said, n)
				b.WriteString(notesText([]string{n}, strings.Repeat(" ", indent)+"- "))
			}
		}
	}
	return b.String()
}

// packetsText lists destinations by when they are contacted; the names asked of a
// DNS server follow it.
func packetsText(ps []bootstrap.Packet) string {
	var order []string
	rows := map[string][][]string{}
	for _, p := range ps {
		if rows[p.When] == nil {
			order = append(order, p.When)
		}
		to := p.Host
		if p.Address.IsValid() {
			to = p.Address.String()
		}
		why, _, _ := strings.Cut(p.Why, ": ") // what follows is in the plan
		if p.PrivateOnly {
			why += " (private addresses only)"
		}
		rows[p.When] = append(rows[p.When], []string{"  " + p.Proto, to, fmt.Sprint(p.Port), why})
		for _, n := range p.Names {
			rows[p.When] = append(rows[p.When], []string{"", "  " + n})
		}
	}
	var b strings.Builder
	for i, when := range order {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(when + "\n" + table(rows[when]))
	}
	return b.String()
}
