package e2e_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/test/e2e/node"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// In a healthy VPC the node joins, and running nodeprep again changes nothing.
func TestSystemdHealthy(t *testing.T) {
	t.Parallel()
	w := bootWorker(t, newVPC(t, vpc.Options{}), nil)
	w.waitJoined(verdictTime)
	w.waitActive(joinTime, nodeprepUnit)
	for _, f := range kubeletFiles {
		if !w.exists(f) {
			t.Errorf("%s is missing", f)
		}
	}
	// nodeprep stays for the settle time; then nothing is starting any more.
	if state := strings.TrimSpace(w.run("systemctl", "is-system-running", "--wait")); state != "running" {
		t.Errorf("the system is %s:\n%s", state, w.run("systemctl", "--failed", "--no-pager"))
	}

	before, pid := w.fileStates(), w.unit(kubeletUnit).MainPID
	ctx, cancel := context.WithTimeout(t.Context(), joinTime)
	defer cancel()
	if result, err := w.Restart(ctx, nodeprepUnit); err != nil || result != "done" {
		t.Fatalf("restart of nodeprep: %q, %v", result, err)
	}
	w.waitActive(joinTime, nodeprepUnit)
	if after := w.fileStates(); after != before {
		t.Errorf("files before a second run:\n%sand after it:\n%s", before, after)
	}
	if again := w.unit(kubeletUnit).MainPID; again != pid || pid == 0 {
		t.Errorf("the kubelet's PID was %d, is %d", pid, again)
	}
	// The gate that an earlier run opened is no override.
	if g := w.report().Gate; !g.Open || g.By == bootstrap.GateOverride {
		t.Errorf("after a second run the report says of the gate: %+v", g)
	}
}

// fileStates has inode, times and content of the rendered files.
func (w *worker) fileStates() string {
	w.t.Helper()
	return w.run(append([]string{"stat", "--format=%n %i %y %z %a %U"}, kubeletFiles...)...) +
		w.run(append([]string{"sha256sum"}, kubeletFiles...)...)
}

// A fault holds the kubelet, is told in every window, and the node joins by
// itself when it is removed.
func TestSystemdBlockedThenRepaired(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{})
	repair := inject(t, v, "ecr-api-drop")
	w := bootWorker(t, v, nil)
	const code = "NP-NET-105"
	w.waitBlocked(code)

	// The gate holds whoever starts the kubelet, and does not fail scripts that do.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if result, err := w.Start(ctx, kubeletUnit); err != nil || result != "done" {
		t.Errorf("start of the kubelet by hand: %q, %v", result, err)
	}
	if u := w.unit(kubeletUnit); u.ActiveState != "inactive" || u.ConditionMet {
		t.Errorf("started by hand the kubelet is %s, condition %v", u, u.ConditionMet)
	}

	// The journal of the kubelet, where operators look first.
	e := w.waitEntry(func(e node.Entry) bool { return e["MESSAGE_ID"] == bootstrap.MessageBlocked }, "OBJECT_SYSTEMD_UNIT="+kubeletUnit)
	if e["PRIORITY"] != "2" || e["NODEPREP_CODE"] != code || !strings.Contains(e["MESSAGE"], code) {
		t.Errorf("the verdict in the kubelet's journal: %v", e)
	}
	if out := w.run("journalctl", "--no-pager", "--unit="+kubeletUnit, "--catalog"); !strings.Contains(out, e["MESSAGE"]) || strings.Contains(out, "@NODEPREP_") {
		t.Errorf("journalctl -x -u kubelet lacks the verdict or a field of the catalog:\n%s", out)
	}
	// The status of the kubelet shows it, too. It exits 3 for a unit that does not run.
	if out, err := w.Exec(ctx, "systemctl", "status", "--no-pager", "--full", kubeletUnit); !strings.Contains(out, code) {
		t.Errorf("systemctl status kubelet (%v):\n%s", err, out)
	}
	console := w.Console()
	for _, want := range []string{"nodeprep: NODE NOT JOINING", code, "10.20.1.102", "10.20.2.102", "com.amazonaws.us-west-2.ecr.api"} {
		if !strings.Contains(console, want) {
			t.Errorf("the console lacks %q", want)
		}
	}

	// The report: one cause, whose remedy names what to change.
	r := w.report()
	blocking := r.Verdict.Blocking()
	if len(blocking) != 1 || blocking[0].Code != code {
		t.Fatalf("blocking findings: %+v", blocking)
	}
	f := blocking[0]
	if !slices.Contains(f.Hosts, v.Host(vpc.ECRAPI)) || !slices.Equal(f.Addresses, v.Addresses(vpc.ECRAPI)) || !strings.Contains(f.Remedy, "ecr.api") {
		t.Errorf("the finding does not name host, addresses and endpoint: %+v", f)
	}
	// The files are there already, and inert.
	for _, p := range kubeletFiles {
		if !w.exists(p) {
			t.Errorf("%s is missing while blocked", p)
		}
	}
	w.wantHeld()

	repair()
	w.waitJoined(joinTime)
	w.waitActive(joinTime, nodeprepUnit)
	w.waitEntry(func(e node.Entry) bool { return e["NODEPREP_CODE"] == code && e["NODEPREP_STATE"] == "resolved" }, "SYSLOG_IDENTIFIER=nodeprep")
}

// A fault that appears after the start does not stop the kubelet, not even when
// nodeprep runs again.
func TestSystemdFaultAfterStart(t *testing.T) {
	t.Parallel()
	w := bootWorker(t, newVPC(t, vpc.Options{}), nil)
	pid := w.waitJoined(verdictTime).MainPID
	w.waitActive(joinTime, nodeprepUnit)
	inject(t, w.vpc, "ecr-api-drop")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	// Whether this becomes ready in spite of the fault is not the question here.
	result, err := w.Restart(ctx, nodeprepUnit)
	t.Logf("restart of nodeprep: %q, %v", result, err)
	if u := w.unit(kubeletUnit); u.ActiveState != "active" || u.MainPID != pid {
		t.Errorf("the kubelet was process %d, is %s with %d", pid, u, u.MainPID)
	}
	if !w.exists(gatePath) {
		t.Error("the gate was closed")
	}
}

// The gate file starts the kubelet with complete files even if nodeprep is dead.
func TestSystemdGateByHand(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{})
	inject(t, v, "ecr-api-drop")
	w := bootWorker(t, v, nil)
	w.waitBlocked("NP-NET-105")
	ctx, cancel := context.WithTimeout(t.Context(), joinTime)
	defer cancel()
	if err := w.Kill(ctx, nodeprepUnit, int32(unix.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Stop(ctx, nodeprepUnit); err != nil {
		t.Fatal(err)
	}
	w.wantHeld()
	if err := w.WriteFile(gatePath, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w.waitJoined(joinTime)
	if u := w.unit(nodeprepUnit); u.MainPID != 0 {
		t.Errorf("nodeprep runs: %s", u)
	}
}

// An open gate is recorded by a running nodeprep as an override, and stays open.
func TestSystemdOverride(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{})
	inject(t, v, "ecr-api-drop")
	w := bootWorker(t, v, nil)
	w.waitBlocked("NP-NET-105")
	if err := w.WriteFile(gatePath, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w.waitJoined(joinTime)
	w.waitEntry(func(e node.Entry) bool { return e["MESSAGE_ID"] == bootstrap.MessageOverride }, "SYSLOG_IDENTIFIER=nodeprep")
	if g := w.report().Gate; !g.Open || g.By != bootstrap.GateOverride {
		t.Errorf("the report says of the gate: %+v", g)
	}
	if !w.exists(gatePath) {
		t.Error("the gate was closed")
	}
}

// cloudFinal stands for cloud-init's last stage, which runs user scripts.
func cloudFinal(script string) map[string]node.File {
	const unit = "/usr/lib/systemd/system/cloud-final.service"
	return map[string]node.File{
		unit: {Content: []byte("[Unit]\nAfter=multi-user.target\n[Service]\nType=oneshot\nRemainAfterExit=yes\nTimeoutSec=0\n" +
			"ExecStart=/usr/local/bin/user-script\n[Install]\nWantedBy=multi-user.target\n")},
		"/etc/systemd/system/multi-user.target.wants/cloud-final.service": {Link: unit},
		"/usr/local/bin/user-script":                                      {Content: []byte("#!/bin/sh -e\nsleep 2\n" + script), Mode: 0o755},
	}
}

// Configuration that a user script brings is as good as that of the user data.
func TestSystemdScriptsBringConfig(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{NoUserData: true})
	files := cloudFinal("cp /root/config.yaml /etc/eks/nodeadm.d/10.yaml\n")
	files["/root/config.yaml"] = node.File{Content: v.NodeConfig()}
	w := bootWorker(t, v, files)
	w.waitActive(20*time.Second, "cloud-final.service")
	w.waitJoined(joinTime)
}

// Configuration that never comes is fatal, but only after the user scripts.
func TestSystemdNoConfig(t *testing.T) {
	t.Parallel()
	w := bootWorker(t, newVPC(t, vpc.Options{NoUserData: true}), cloudFinal("touch /run/scripts-ran\n"))
	w.wait(verdictTime, nodeprepUnit, func(u node.Unit) bool { return u.ActiveState == "failed" })
	if !w.exists("/run/scripts-ran") {
		t.Error("nodeprep ended before the user scripts")
	}
	if u := w.unit(nodeprepUnit); u.ExitStatus != 10 || u.Result != "exit-code" || u.Restarts != 0 {
		t.Errorf("nodeprep is %s with exit status %d after %d restarts", u, u.ExitStatus, u.Restarts)
	}
	w.waitEntry(func(e node.Entry) bool { return e["NODEPREP_CODE"] == "NP-CFG-101" }, "OBJECT_SYSTEMD_UNIT="+kubeletUnit)
	w.wantHeld()
}

// Every boot passes the gate anew.
func TestSystemdReboot(t *testing.T) {
	t.Parallel()
	w := bootWorker(t, newVPC(t, vpc.Options{}), nil)
	w.waitJoined(verdictTime)
	repair := inject(t, w.vpc, "apiserver-drop")
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	if err := w.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	if w.exists(gatePath) {
		t.Error("the gate is open after a reboot")
	}
	w.wait(verdictTime, nodeprepUnit, func(u node.Unit) bool { return strings.Contains(u.StatusText, "NP-NET-114") })
	if u := w.unit(kubeletUnit); u.ActiveState != "inactive" || w.exists(gatePath) {
		t.Errorf("after a reboot with a fault the kubelet is %s", u)
	}
	repair()
	w.waitActive(joinTime, kubeletUnit)
}

// The units are in order, among those of a whole system, and as tight as they claim.
func TestSystemdUnits(t *testing.T) {
	t.Parallel()
	w := bootWorker(t, newVPC(t, vpc.Options{}), nil)
	if out := w.run("systemd-analyze", "verify", "--man=no", nodeprepUnit, kubeletUnit, "nodeprep-gate.path", "multi-user.target"); out != "" {
		t.Errorf("systemd-analyze verify:\n%s", out)
	}
	w.run("systemd-analyze", "security", "--no-pager", "--threshold=30", nodeprepUnit)
	if out := w.run("journalctl", "--list-catalog", "--no-pager"); !strings.Contains(out, bootstrap.MessageBlocked) {
		t.Error("the journal catalog of nodeprep is not installed")
	}
	for unit, want := range map[string]string{nodeprepUnit: "enabled", "nodeprep-gate.path": "enabled", kubeletUnit: "disabled"} {
		// is-enabled exits 1 for disabled.
		if out, err := w.Exec(t.Context(), "systemctl", "is-enabled", unit); strings.TrimSpace(out) != want {
			t.Errorf("%s is %q (%v), want %s", unit, out, err, want)
		}
	}
}
