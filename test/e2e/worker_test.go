package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/test/e2e/node"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

const (
	nodeprepUnit = "nodeprep.service"
	kubeletUnit  = "kubelet.service"
	gatePath     = "/run/nodeprep/kubelet.allowed"
	reportPath   = "/run/nodeprep/report.json"

	// bootTime, verdictTime and joinTime bound the waiting on a busy machine. A
	// join after a repair takes at most a backoff pause (5 s in the first two
	// minutes), a round (6 s) and the kubelet's own start.
	bootTime    = time.Minute
	verdictTime = 40 * time.Second
	joinTime    = 20 * time.Second
)

// kubeletFiles are what the kubelet of an EKS image reads.
var kubeletFiles = []string{
	"/etc/eks/image-credential-provider/config.json",
	"/etc/eks/kubelet/environment",
	"/etc/kubernetes/kubelet/config.json",
	"/etc/kubernetes/pki/ca.crt",
	"/var/lib/kubelet/kubeconfig",
}

// A worker is a node booted in a VPC of its own.
type worker struct {
	*node.Node
	t   *testing.T
	vpc *vpc.VPC
}

// bootWorker boots a node with nodeprep in a VPC. add are files on top of those of
// an EKS image.
func bootWorker(t *testing.T, v *vpc.VPC, add map[string]node.File) *worker {
	t.Helper()
	files := workerFiles(t, v)
	maps.Copy(files, add)
	return bootFiles(t, v, files, node.EKS{}.Presets()...)
}

// workerFiles are the files of an EKS image with nodeprep.
func workerFiles(t *testing.T, v *vpc.VPC) map[string]node.File {
	t.Helper()
	files, err := node.EKS{
		Nodeprep: program("nodeprep"), Kubelet: program("kubelet"), Units: root + "/systemd",
		ResolvConf: v.ResolvConf(), Roots: v.RootsFile(),
		Config: map[string][]byte{vpc.LabConfigPath: v.LabConfig()},
	}.Files()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// bootFiles boots a node with these files, and the presets of these units applied.
func bootFiles(t *testing.T, v *vpc.VPC, files map[string]node.File, presets ...string) *worker {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	n, err := node.Boot(ctx, node.Options{
		Image: image(t), NetNS: v.NodeNS(), Hostname: "ip-10-20-1-50",
		Files: files, Preset: presets,
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{Node: n, t: t, vpc: v}
	t.Cleanup(func() {
		if t.Failed() {
			w.dump()
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("booted in %v", n.Booted().Round(time.Millisecond))
	return w
}

// newVPC builds a VPC for a booted node, which needs an image.
func newVPC(t *testing.T, opts vpc.Options) *vpc.VPC {
	t.Helper()
	image(t)
	return lab(t, opts)
}

// image is the tree to boot; without one, or without root, the test ends here.
func image(t *testing.T) string {
	t.Helper()
	leave := t.Skip
	if os.Getenv("CI") == "true" {
		leave = t.Fatal
	}
	if os.Getpid() != 1 {
		leave("booting a node needs root")
	}
	tree, err := node.Image(t.Context(), "node")
	if err != nil {
		leave(err)
	}
	return tree
}

// inject injects a fault and returns what removes it.
func inject(t *testing.T, v *vpc.VPC, fault string) (remove func()) {
	t.Helper()
	undo, err := v.Inject(fault)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := undo(); err != nil {
			t.Fatal(err)
		}
	}
}

// dump logs what an operator would look at.
func (w *worker) dump() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, cmd := range [][]string{
		{"systemctl", "--no-pager", "--lines=0", "status", nodeprepUnit, kubeletUnit, "nodeprep-gate.path"},
		{"journalctl", "--no-pager", "--output=short-monotonic", "--lines=60"},
	} {
		out, err := w.Exec(ctx, cmd...)
		w.t.Logf("$ %s (%v)\n%s", strings.Join(cmd, " "), err, out)
	}
	for l := range strings.Lines(w.Console()) {
		if strings.HasPrefix(l, "nodeprep: ") {
			w.t.Log("console:", strings.TrimSpace(l))
		}
	}
	w.t.Logf("rejected tokens: %+v", w.vpc.API().Rejections())
}

// wait waits for a unit to be as ok says.
func (w *worker) wait(limit time.Duration, unit string, ok func(node.Unit) bool) node.Unit {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), limit)
	defer cancel()
	began := time.Now()
	u, err := w.WaitUnit(ctx, unit, ok)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("%s: %s after %v", unit, u, time.Since(began).Round(time.Millisecond))
	return u
}

// waitActive waits for a unit to be active.
func (w *worker) waitActive(limit time.Duration, unit string) node.Unit {
	w.t.Helper()
	return w.wait(limit, unit, func(u node.Unit) bool { return u.ActiveState == "active" })
}

// waitBlocked waits until systemctl status names the code, and makes sure that
// the kubelet is held.
func (w *worker) waitBlocked(code string) {
	w.t.Helper()
	u := w.wait(verdictTime, nodeprepUnit, func(u node.Unit) bool { return strings.Contains(u.StatusText, code) })
	if u.ActiveState != "activating" {
		w.t.Errorf("%s is %s, want activating", nodeprepUnit, u)
	}
	w.wantHeld()
}

// wantHeld checks that nothing of the kubelet runs.
func (w *worker) wantHeld() {
	w.t.Helper()
	if u := w.unit(kubeletUnit); u.ActiveState != "inactive" || u.MainPID != 0 {
		w.t.Errorf("%s is %s, want inactive", kubeletUnit, u)
	}
	if w.exists(gatePath) {
		w.t.Error("the gate is open")
	}
	if nodes := w.vpc.Nodes(); len(nodes) != 0 {
		w.t.Errorf("the API server has %d nodes, want none", len(nodes))
	}
}

// waitJoined waits until the kubelet runs and the API server has the node.
func (w *worker) waitJoined(limit time.Duration) node.Unit {
	w.t.Helper()
	u := w.wait(limit, kubeletUnit, func(u node.Unit) bool { return u.ActiveState == "active" && len(w.vpc.Nodes()) > 0 })
	nodes := w.vpc.Nodes()
	if len(nodes) != 1 || nodes[0].Name != w.vpc.NodeName() {
		w.t.Errorf("registered: %+v", nodes)
	}
	return u
}

func (w *worker) unit(name string) node.Unit {
	w.t.Helper()
	u, err := w.Unit(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

func (w *worker) exists(path string) bool {
	w.t.Helper()
	_, err := w.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Fatal(err)
	}
	return err == nil
}

// report is the report that nodeprep has written last.
func (w *worker) report() bootstrap.Outcome {
	w.t.Helper()
	b, err := w.ReadFile(reportPath)
	if err != nil {
		w.t.Fatal(err)
	}
	var o bootstrap.Outcome
	if err := json.Unmarshal(b, &o); err != nil {
		w.t.Fatalf("%s: %v", reportPath, err)
	}
	return o
}

// run runs a command in the node; it must succeed.
func (w *worker) run(args ...string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	out, err := w.Exec(ctx, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// waitEntry waits for the first journal entry that matches and that ok accepts.
func (w *worker) waitEntry(ok func(node.Entry) bool, matches ...string) node.Entry {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	var found node.Entry
	err := w.FollowJournal(ctx, func(e node.Entry) {
		if found == nil && ok(e) {
			found = e
			cancel()
		}
	}, matches...)
	if err != nil || found == nil {
		w.t.Fatalf("journal: no such entry among %v (%v)", matches, err)
	}
	return found
}
