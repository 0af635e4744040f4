package e2e_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/test/e2e/node"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// policyFile is this machine's configuration.
const policyFile = "etc/nodeprep/conf.d/50-policy.yaml"

// policy is a PrepConfig.
func policy(spec string) string {
	return "apiVersion: nodeprep.io/v1alpha1\nkind: PrepConfig\nspec: " + spec + "\n"
}

// One endpoint is silent; what that does to the gate is the policy's.
func TestPolicy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec, by string
		from, to time.Duration
		waived   bool
	}{
		"enforce another area": {"{enforce: [NP-DNS]}", "enforce lists only NP-DNS", 0, 6 * time.Second, false},
		"waive":                {"{waive: [{code: NP-NET-105, reason: it is being rebuilt, until: 9999-12-31}]}", "waived until 9999-12-31: it is being rebuilt", 0, 6 * time.Second, true},
		"assumedHold":          {"{assumedHold: 8s}", "assumedHold 8s is over", 8 * time.Second, 10 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := lab(t, vpc.Options{})
			inject(t, v, "ecr-api-drop")
			root := prepared(t, v)
			write(t, root, policyFile, policy(c.spec))
			began := time.Now()
			bootstrapIn(t, v, root).passes()
			if took := time.Since(began); took < c.from || took > c.to {
				t.Errorf("passed after %s", took)
			}
			o := readReport(filepath.Join(root, "run/nodeprep/report.json"))
			judgedAlike(t, o)
			fs := o.Verdict.Findings
			if c.waived {
				fs = o.Verdict.Waived
			}
			if len(fs) != 1 || len(o.Verdict.WouldBlock()) != 1 || len(o.Verdict.Blocking()) != 0 || fs[0].Code != bootstrap.NET105 || !strings.HasPrefix(fs[0].AllowedBy, c.by) {
				t.Errorf("%+v", o.Verdict)
			}
		})
	}
}

// In observe mode the kubelet starts at once, and its journal says what would have
// held it.
func TestSystemdObserve(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{})
	inject(t, v, "ecr-api-drop")
	w := bootWorker(t, v, map[string]node.File{"/" + policyFile: {Content: []byte(policy("{mode: observe}"))}})
	w.waitActive(verdictTime, kubeletUnit)
	e := w.waitEntry(func(e node.Entry) bool { return strings.HasPrefix(e["MESSAGE"], "would block: NP-NET-105 ") }, "OBJECT_SYSTEMD_UNIT="+kubeletUnit)
	if !strings.Contains(e["MESSAGE"], "mode observe") {
		t.Errorf("%v", e)
	}
	w.waitDone()
	o := w.report()
	if would := o.Verdict.WouldBlock(); len(would) != 1 || would[0].Code != bootstrap.NET105 || o.Gate.At.Sub(o.Started) > 2*time.Second {
		t.Errorf("gate after %s: %+v", o.Gate.At.Sub(o.Started), o.Verdict)
	}
}

// A reboot while ECR is silent is no outage: the node that joined before starts
// degraded after its hold. What keeps a first boot, keeps it still.
func TestSystemdRejoin(t *testing.T) {
	t.Parallel()
	const held = 20 * time.Second
	v := newVPC(t, vpc.Options{})
	w := bootWorker(t, v, map[string]node.File{"/" + policyFile: {Content: []byte(policy("{rejoinHold: 20s}"))}})
	w.waitJoined(verdictTime)
	w.waitDone()
	if !w.exists("/var/lib/nodeprep/joined.json") {
		t.Fatal("the kubelet stayed up, and no marker says so")
	}
	inject(t, v, "ecr-api-drop")
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	if err := w.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	// The API server still has the node of the boot before.
	w.wait(verdictTime, nodeprepUnit, func(u node.Unit) bool { return strings.Contains(u.StatusText, "NP-NET-105") })
	if u := w.unit(kubeletUnit); u.ActiveState != "inactive" {
		t.Errorf("held, the kubelet is %s", u)
	}
	w.waitActive(held+joinTime, kubeletUnit)
	w.waitDone()
	o := w.report()
	if at := o.Gate.At.Sub(o.Started); at < held || at > held+2*time.Second || !o.Plan.Rejoin {
		t.Errorf("rejoin %v, gate after %s", o.Plan.Rejoin, at)
	}
	if would := o.Verdict.WouldBlock(); len(would) != 1 || !strings.HasPrefix(would[0].AllowedBy, "rejoinHold 20s is over") {
		t.Errorf("%+v", o.Verdict)
	}
}

// waitDone waits until nodeprep has nothing more to do.
func (w *worker) waitDone() {
	w.t.Helper()
	w.wait(joinTime, nodeprepUnit, func(u node.Unit) bool { return u.ActiveState == "active" && u.SubState == "exited" })
}
