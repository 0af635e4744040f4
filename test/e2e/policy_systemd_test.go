package e2e_test

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
	"github.com/nodeprep/nodeprep/test/e2e/node"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
	"github.com/nodeprep/nodeprep/test/e2e/vpc/imds"
)

// silence is how long the first round takes at least where an address is silent: a
// connection is given up after 3.2 s.
const silence = 3 * time.Second

// policyFiles are a PrepConfig of this machine.
func policyFiles(spec string) map[string]node.File {
	return map[string]node.File{"/" + policyFile: {Content: []byte(policy(spec))}}
}

// waitDone waits until nodeprep has nothing more to do.
func (w *worker) waitDone() {
	w.t.Helper()
	w.wait(joinTime, nodeprepUnit, func(u node.Unit) bool { return u.ActiveState == "active" && u.SubState == "exited" })
}

// at is when an entry was written.
func at(t *testing.T, e node.Entry) time.Time {
	t.Helper()
	us, err := strconv.ParseInt(e["__REALTIME_TIMESTAMP"], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.UnixMicro(us)
}

// wantNoAlarm fails when somebody was told that the kubelet is held back.
func (w *worker) wantNoAlarm() {
	w.t.Helper()
	entries, err := w.Journal(w.t.Context(), "MESSAGE_ID="+bootstrap.MessageBlocked)
	if err != nil || len(entries) > 0 {
		w.t.Errorf("the journal says that the kubelet is held back: %v, %v", entries, err)
	}
	if strings.Contains(w.Console(), "NODE NOT JOINING") {
		w.t.Error("so says the console")
	}
}

// wantSaid fails for each text that a command in the node does not print.
func (w *worker) wantSaid(command []string, texts ...string) {
	w.t.Helper()
	out := w.run(command...)
	for _, text := range texts {
		if !strings.Contains(out, text) {
			w.t.Errorf("%s does not say %q:\n%s", strings.Join(command, " "), text, out)
		}
	}
}

// In observe mode the kubelet starts at once, and its journal says what would have
// held it.
func TestSystemdObserve(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{})
	inject(t, v, "ecr-api-drop")
	w := bootWorker(t, v, policyFiles("{mode: observe}"))
	w.waitJoined(verdictTime)
	would := w.waitEntry(func(e node.Entry) bool { return strings.HasPrefix(e["MESSAGE"], "would block: NP-NET-105 ecr.api") }, "OBJECT_SYSTEMD_UNIT="+kubeletUnit)
	if !strings.Contains(would["MESSAGE"], "mode observe") || would["PRIORITY"] != "4" {
		t.Errorf("%v", would)
	}
	w.waitDone()
	o := w.report()
	gate := o.Gate.At.Sub(o.Started)
	t.Logf("gate after %s, the cause was told %s later", gate, at(t, would).Sub(o.Gate.At))
	if gate > 2*time.Second || at(t, would).Sub(o.Gate.At) < silence-2*time.Second {
		t.Errorf("the gate opened after %s, the cause was told %s later: the kubelet has waited for it", gate, at(t, would).Sub(o.Gate.At))
	}
	fs := o.Verdict.Findings
	if len(fs) != 1 || fs[0].Code != bootstrap.NET105 || !fs[0].WouldBlock || fs[0].Blocks || fs[0].AllowedBy != "mode observe never holds the kubelet" {
		t.Errorf("%+v", o.Verdict)
	}
	w.wantSaid([]string{"systemctl", "status", "--no-pager", "--full", nodeprepUnit}, `Status: "kubelet started after `, "; would block: NP-NET-105 ecr.api")
	w.wantNoAlarm()
	for _, want := range []string{"nodeprep: OBSERVE ", "nodeprep: DEGRADED "} {
		if !strings.Contains(w.Console(), want) {
			t.Errorf("the console lacks %q", want)
		}
	}
}

// A waived cause holds nothing, and is told with its reason wherever somebody looks.
func TestSystemdWaived(t *testing.T) {
	t.Parallel()
	const reason = "waived until 9999-12-31: the endpoint is being rebuilt"
	v := newVPC(t, vpc.Options{})
	inject(t, v, "ecr-api-drop")
	w := bootWorker(t, v, policyFiles("{waive: [{code: NP-NET-105, reason: the endpoint is being rebuilt, until: 9999-12-31}]}"))
	w.waitJoined(verdictTime)
	w.waitDone()
	o := w.report()
	waived := o.Verdict.Waived
	if len(waived) != 1 || waived[0].Code != bootstrap.NET105 || waived[0].AllowedBy != reason || len(o.Verdict.Findings) != 0 {
		t.Errorf("%+v", o.Verdict)
	}
	if gate := o.Gate.At.Sub(o.Started); gate < silence {
		t.Errorf("the gate opened after %s, before anything was known", gate)
	}
	w.waitEntry(func(e node.Entry) bool {
		return strings.HasPrefix(e["MESSAGE"], "waived: NP-NET-105 ecr.api") && strings.Contains(e["MESSAGE"], reason)
	}, "OBJECT_SYSTEMD_UNIT="+kubeletUnit)
	w.wantSaid([]string{"systemctl", "status", "--no-pager", "--full", nodeprepUnit}, `Status: "kubelet started after `, "; waived: NP-NET-105 ecr.api")
	w.wantSaid([]string{"nodeprep", "report"}, "NOT BLOCKED after ", "\n   allow "+reason)
	w.wantNoAlarm()
}

// What the image locks is not loosened by the user data: they are refused with both
// places, and until they are repaired there is no kubelet.
func TestSystemdLocked(t *testing.T) {
	t.Parallel()
	const image = "/usr/lib/nodeprep/conf.d/10-baseline.yaml"
	v := newVPC(t, vpc.Options{})
	inject(t, v, "ecr-api-drop")
	given := string(v.NodeConfig()) + "---\n" + policy("\n  mode: observe\n  waive: [{code: NP-NET-105, reason: we are in a hurry}]")
	v.IMDS().Change(func(i *imds.Instance) { i.UserData = []byte(given) })
	w := bootWorker(t, v, map[string]node.File{image: {Content: []byte(policy("\n  mode: strict\n  locked: [mode, waive]"))}})
	u := w.wait(verdictTime, nodeprepUnit, func(u node.Unit) bool { return u.ActiveState == "failed" })
	if u.ExitStatus != bootstrap.ExitConfig || u.Restarts != 0 || !strings.Contains(u.StatusText, "NP-CFG-110") {
		t.Errorf("nodeprep is %s after %d restarts", u, u.Restarts)
	}
	w.wantHeld()
	line := strings.Count(given[:strings.Index(given, "mode: observe")], "\n") + 1
	for path, want := range map[string][2]string{
		"spec.mode":  {"user data, line " + strconv.Itoa(line), image + ", line 4 sets and line 5 locks"},
		"spec.waive": {"user data, line " + strconv.Itoa(line+1), image + ", line 5 locks"},
	} {
		e := w.waitEntry(func(e node.Entry) bool { return e["NODEPREP_CODE"] == "NP-CFG-110" && e["NODEPREP_TARGET"] == path }, "OBJECT_SYSTEMD_UNIT="+kubeletUnit)
		if !strings.HasPrefix(e["MESSAGE"], "NP-CFG-110 "+want[0]+": "+path) || !strings.Contains(e["MESSAGE"], want[1]) {
			t.Errorf("of %s one is told: %s", path, e["MESSAGE"])
		}
	}
	o := w.report()
	var blocking []string
	for _, f := range o.Verdict.Blocking() {
		blocking = append(blocking, string(f.Code))
	}
	if p := o.Plan.Policy; p.Mode != bootstrap.ModeStrict || len(p.Waive) != 0 || strings.Join(blocking, " ") != "NP-CFG-110 NP-CFG-110 NP-NET-105" {
		t.Errorf("mode %s, waivers %v, blocked by %v", p.Mode, p.Waive, blocking)
	}
}

// A reboot while ECR is silent is no outage: the node that joined before starts
// degraded after its hold. Without its API server it waits still.
func TestSystemdRejoin(t *testing.T) {
	t.Parallel()
	const held = 12 * time.Second
	v := newVPC(t, vpc.Options{})
	w := bootWorker(t, v, policyFiles("{rejoinHold: "+held.String()+"}"))
	w.waitJoined(verdictTime)
	w.waitDone()
	joined := w.marker()
	if o := w.report(); joined.InstanceID != o.Plan.Instance.ID || joined.Cluster != "lab" || joined.At.Sub(o.Gate.At) < 5*time.Second || o.Plan.Rejoin {
		t.Errorf("the gate opened at %s, and the marker is %+v", o.Gate.At, joined)
	}

	inject(t, v, "ecr-api-drop")
	w.reboot()
	blocked := func(code string) func(node.Unit) bool {
		return func(u node.Unit) bool {
			return strings.HasPrefix(u.StatusText, "blocked") && strings.Contains(u.StatusText, code)
		}
	}
	w.wait(verdictTime, nodeprepUnit, blocked("NP-NET-105"))
	// The API server still has the node of the boot before.
	if u := w.unit(kubeletUnit); u.ActiveState != "inactive" {
		t.Errorf("held, the kubelet is %s", u)
	}
	w.waitActive(held+joinTime, kubeletUnit)
	w.waitDone()
	o := w.report()
	if at := o.Gate.At.Sub(o.Started); at < held || at > held+8*time.Second || !o.Plan.Rejoin {
		t.Errorf("rejoin %v, gate after %s", o.Plan.Rejoin, at)
	}
	if would := o.Verdict.WouldBlock(); len(would) != 1 || !strings.HasPrefix(would[0].AllowedBy, "rejoinHold "+held.String()+" is over") {
		t.Errorf("%+v", o.Verdict)
	}
	w.wantSaid([]string{"systemctl", "status", "--no-pager", "--full", nodeprepUnit}, "; would block: NP-NET-105 ecr.api")
	w.waitEntry(func(e node.Entry) bool {
		return strings.HasPrefix(e["MESSAGE"], "would block: NP-NET-105 ecr.api") && strings.Contains(e["MESSAGE"], "rejoinHold")
	}, "OBJECT_SYSTEMD_UNIT="+kubeletUnit)
	if again := w.marker(); again != joined {
		t.Errorf("the marker was %+v, is %+v", joined, again)
	}

	repair := inject(t, v, "apiserver-drop")
	if err := w.WriteFile("/"+policyFile, []byte(policy("{rejoinHold: 1s}")), 0o644); err != nil {
		t.Fatal(err)
	}
	w.reboot()
	w.wait(verdictTime, nodeprepUnit, blocked("NP-NET-114"))
	w.waitReport(func(o bootstrap.Outcome) bool { return o.Round >= 2 && !o.NextRound.IsZero() })
	if u := w.unit(kubeletUnit); u.ActiveState != "inactive" || w.exists(gatePath) {
		t.Errorf("without its API server the kubelet is %s", u)
	}
	repair()
	w.waitActive(joinTime, kubeletUnit)
	if would := w.report().Verdict.WouldBlock(); len(would) != 1 || would[0].Code != bootstrap.NET105 {
		t.Errorf("%+v", would)
	}
}

// reboot restarts the node. Every boot begins with the gate closed.
func (w *worker) reboot() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), bootTime)
	defer cancel()
	if err := w.Reboot(ctx); err != nil {
		w.t.Fatal(err)
	}
}

// marker is what says that the node joined.
func (w *worker) marker() bootstrap.Marker {
	w.t.Helper()
	b, err := w.ReadFile(host.JoinedPath)
	if err != nil {
		w.t.Fatalf("the kubelet stayed up, and no marker says so: %v", err)
	}
	var m bootstrap.Marker
	if err := json.Unmarshal(b, &m); err != nil {
		w.t.Fatalf("%s: %v", b, err)
	}
	return m
}

// waitReport waits for a report that is as ok says.
func (w *worker) waitReport(ok func(bootstrap.Outcome) bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), verdictTime)
	defer cancel()
	if !wait(ctx, w.t, func() bool { return w.exists(reportPath) && ok(w.report()) }) {
		w.t.Fatalf("the report never became so: %s", w.report().Status)
	}
}

// One address of an endpoint is dead: the kubelet does not wait until that is known,
// and it is told when it is.
func TestSystemdSlowAddress(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{})
	inject(t, v, "ecr-api-one-az")
	w := bootWorker(t, v, nil)
	w.waitJoined(verdictTime)
	passed := w.waitEntry(func(e node.Entry) bool { return e["MESSAGE_ID"] == bootstrap.MessagePassed }, "OBJECT_SYSTEMD_UNIT="+kubeletUnit)
	warned := w.waitEntry(func(e node.Entry) bool { return e["NODEPREP_CODE"] == "NP-NET-107" }, "SYSLOG_IDENTIFIER=nodeprep")
	if warned["PRIORITY"] != "4" || warned["NODEPREP_TARGET"] != "ecr.api" {
		t.Errorf("%v", warned)
	}
	w.waitDone()
	o := w.report()
	gate := o.Gate.At.Sub(o.Started)
	t.Logf("gate after %s, warned %s after the start", gate, at(t, warned).Sub(at(t, passed)))
	if gate >= silence || at(t, warned).Sub(at(t, passed)) < time.Second {
		t.Errorf("the gate opened after %s, the warning came %s after that was told", gate, at(t, warned).Sub(at(t, passed)))
	}
	dead := v.Addresses(vpc.ECRAPI)[1].String()
	fs := o.Verdict.Findings
	if len(fs) != 1 || fs[0].Code != bootstrap.NET107 || fs[0].Blocks || fs[0].WouldBlock || !strings.Contains(fs[0].Remedy, dead) {
		t.Errorf("%+v", o.Verdict)
	}
	w.wantSaid([]string{"systemctl", "status", "--no-pager", "--full", nodeprepUnit}, `Status: "kubelet started after `, "; warnings: NP-NET-107 ecr.api")
	w.wantSaid([]string{"nodeprep", "report"}, "ok ", "NP-NET-107", dead)
	w.wantNoAlarm()
}
