package e2e_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// TestHostFirewall forbids on the node itself what security groups would drop
// silently: the node is to blame, not the VPC.
func TestHostFirewall(t *testing.T) {
	t.Parallel()
	for name, rules := range map[string]string{
		"rejects 443": "tcp dport 443 reject with tcp reset",
		"drops DNS":   "meta l4proto {tcp, udp} th dport 53 drop",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := lab(t, vpc.Options{})
			filterOutput(t.Context(), t, v, rules)
			o, exit := check(t, v)
			blocking := o.Verdict.Blocking()
			if len(blocking) != 1 || blocking[0].Code != bootstrap.LNK107 || exit != 11 || !strings.Contains(blocking[0].Remedy, "nft list ruleset") {
				t.Errorf("exit %d, blocking %+v", exit, blocking)
			}
		})
	}
}

// filterOutput loads a rule into the node's own firewall.
func filterOutput(ctx context.Context, t *testing.T, v *vpc.VPC, rule string) {
	t.Helper()
	err := v.Exec(func() error {
		cmd := exec.CommandContext(ctx, "nft", "-f", "-")
		cmd.Stdin = strings.NewReader("table inet host {\n chain out {\n  type filter hook output priority 0;\n  " + rule + "\n }\n}\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
