package e2e_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// A bootstrapping is a bootstrap without a start that runs on the node.
type bootstrapping struct {
	t    *testing.T
	ctx  context.Context //nolint:containedctx // the test's own, for what it waits for
	root string
	cmd  *exec.Cmd
	out  bytes.Buffer // read it once the program has ended
}

// bootstrapIn starts a bootstrap below root.
func bootstrapIn(t *testing.T, v *vpc.VPC, root string) *bootstrapping {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	b := &bootstrapping{t: t, ctx: ctx, root: root}
	b.cmd = v.Command(ctx, program("nodeprep"), "bootstrap", "--no-start", "--root", root)
	b.cmd.Stdout, b.cmd.Stderr = &b.out, &b.out
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return b
}

// blocked waits until a code holds the gate.
func (b *bootstrapping) blocked(code bootstrap.Code) {
	b.t.Helper()
	if !wait(b.ctx, b.t, func() bool {
		o := readReport(filepath.Join(b.root, "run/nodeprep/report.json"))
		return slices.ContainsFunc(o.Verdict.Blocking(), func(f bootstrap.Finding) bool { return f.Code == code })
	}) {
		b.t.Fatalf("never blocked by %s", code)
	}
}

// passes waits for the end, which must be a pass.
func (b *bootstrapping) passes() {
	b.t.Helper()
	if err := b.cmd.Wait(); err != nil {
		b.t.Fatalf("%v\n%s", err, b.out.String())
	}
}

// write writes a file below a root.
func write(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A dead address beside one that answers does not hold the start for its timeout.
func TestPassesBeforeSlowAddresses(t *testing.T) {
	t.Parallel()
	v := lab(t, vpc.Options{})
	inject(t, v, "ecr-api-one-az")
	began := time.Now()
	bootstrapIn(t, v, prepared(t, v)).passes()
	if took := time.Since(began); took > 2500*time.Millisecond { // a connect is given up after 3.2 s
		t.Errorf("passed after %s", took)
	}
}

// What cannot be written is named, holds the gate, and heals.
func TestUnwritableFileHeals(t *testing.T) {
	t.Parallel()
	v := lab(t, vpc.Options{})
	root := prepared(t, v)
	write(t, root, "etc/kubernetes", "a file in the place of a directory")
	b := bootstrapIn(t, v, root)
	b.blocked(bootstrap.HST101)
	if err := os.Remove(filepath.Join(root, "etc/kubernetes")); err != nil {
		t.Fatal(err)
	}
	b.passes()
}

// A file that is spoilt and repaired while the node is blocked needs no restart.
func TestSpoiltConfigHeals(t *testing.T) {
	t.Parallel()
	const file = "etc/nodeprep/conf.d/50.yaml"
	v := lab(t, vpc.Options{})
	repair := inject(t, v, "ecr-api-rst")
	root := prepared(t, v)
	b := bootstrapIn(t, v, root)
	b.blocked(bootstrap.NET104)
	write(t, root, file, "apiVersion: nodeprep.io/v1alpha1\nkind: PrepConfig\nspec: {mode: [\n")
	b.blocked(bootstrap.CFG102)
	repair()
	write(t, root, file, "apiVersion: nodeprep.io/v1alpha1\nkind: PrepConfig\nspec: {mode: strict}\n")
	b.passes()
	o := readReport(filepath.Join(root, "run/nodeprep/report.json"))
	if o.Plan.Policy.Mode != bootstrap.ModeStrict || len(o.Verdict.Findings) != 0 {
		t.Errorf("passed in mode %s with %+v", o.Plan.Policy.Mode, o.Verdict.Findings)
	}
}

// When silent DNS servers answer again, nothing else is held against them.
func TestSilentDNSHeals(t *testing.T) {
	t.Parallel()
	v := lab(t, vpc.Options{})
	repair := inject(t, v, "dns-silent")
	b := bootstrapIn(t, v, prepared(t, v))
	b.blocked(bootstrap.DNS102)
	if !wait(b.ctx, t, func() bool {
		// One name is asked in place of all from the second round on.
		return readReport(filepath.Join(b.root, "run/nodeprep/report.json")).Round > 1
	}) {
		t.Fatal("no second round")
	}
	repair()
	b.passes()
	for key := range readReport(filepath.Join(b.root, "run/nodeprep/report.json")).History {
		if code := bootstrap.Code(key[:len("NP-DNS-102")]); code != bootstrap.DNS102 {
			t.Errorf("found %s as well", key)
		}
	}
}
