package node_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodeprep/nodeprep/test/e2e/node"
)

// doomedEnv makes the test binary boot a node and wait to be killed.
const doomedEnv = "NODEPREP_TEST_DOOMED"

func TestMain(m *testing.M) {
	os.Exit(node.Isolated(nil, func() int {
		if os.Getenv(doomedEnv) != "" {
			return doomed()
		}
		return m.Run()
	}))
}

// gated.service stands for the kubelet, prep.service for nodeprep: it tells its
// status, writes on the console and does not become ready before it may.
var units = map[string]node.File{
	"/usr/bin/prep": {Mode: 0o755, Content: []byte(`#!/bin/sh
systemd-notify --status="waiting for /run/go"
printf 'PREP: blocked\r\n' >/dev/console
echo "MARK=$1" >&2
while ! [ -e /run/go ]; do sleep 0.05; done
touch /run/gate
systemd-notify --ready --status="went"
exec sleep infinity
`)},
	"/etc/systemd/system/prep.service": {Content: []byte(`[Unit]
DefaultDependencies=no
After=sysinit.target
[Service]
Type=notify
NotifyAccess=all
ExecStart=/usr/bin/prep first
[Install]
WantedBy=multi-user.target
`)},
	"/etc/systemd/system/gated.service": {Content: []byte(`[Unit]
ConditionPathExists=/run/gate
[Service]
ExecStart=sleep infinity
[Install]
WantedBy=multi-user.target
`)},
	"/usr/lib/systemd/system-preset/10-test.preset": {Content: []byte("enable prep.service\ndisable gated.service\n")},
	"/etc/copied": {Source: "node_test.go"},
	"/etc/linked": {Link: "/etc/copied"},
}

func TestNode(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var live strings.Builder // written by one goroutine, read after Close
	n := boot(t, node.Options{Hostname: "ip-10-20-1-50", Files: units, Preset: []string{"prep.service", "gated.service"}, Console: &live})

	u := waitUnit(t, n, "prep.service", func(u node.Unit) bool { return u.StatusText != "" })
	if u.ActiveState != "activating" || u.StatusText != "waiting for /run/go" {
		t.Errorf("prep.service: %s", u)
	}
	if out, err := n.Exec(ctx, "hostname"); err != nil || strings.TrimSpace(out) != "ip-10-20-1-50" {
		t.Errorf("hostname: %q, %v", out, err)
	}
	if _, err := n.Exec(ctx, "false"); !errors.Is(err, node.ErrExit) {
		t.Errorf("Exec(false): %v, want ErrExit", err)
	}
	if b, err := n.ReadFile("/etc/linked"); err != nil || !strings.HasPrefix(string(b), "package node_test") {
		t.Errorf("absolute link in the node: %.20q, %v", b, err)
	}
	if _, err := n.ReadFile("/run/go"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadFile of nothing: %v", err)
	}

	// The gate holds whoever starts the unit; the job is done all the same.
	if result, err := n.Start(ctx, "gated.service"); err != nil || result != "done" {
		t.Errorf("start gated: %q, %v", result, err)
	}
	if u := unit(t, n, "gated.service"); u.ActiveState != "inactive" || u.ConditionMet {
		t.Errorf("gated.service with the gate closed: %s, condition %v", u, u.ConditionMet)
	}
	if err := n.WriteFile("/run/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	waitUnit(t, n, "prep.service", func(u node.Unit) bool { return u.ActiveState == "active" && u.StatusText == "went" })
	if _, err := n.Start(ctx, "gated.service"); err != nil {
		t.Error(err)
	}
	if u := unit(t, n, "gated.service"); u.ActiveState != "active" || u.MainPID == 0 {
		t.Errorf("gated.service with the gate open: %s", u)
	}
	if err := n.Kill(ctx, "gated.service", int32(unix.SIGKILL)); err != nil {
		t.Error(err)
	}
	if u := waitUnit(t, n, "gated.service", func(u node.Unit) bool { return u.ActiveState == "failed" }); u.Result != "signal" {
		t.Errorf("gated.service killed: %s", u)
	}
	if _, err := n.Start(ctx, "nosuch.service"); err == nil {
		t.Error("start of an unknown unit: no error")
	}
	if u := unit(t, n, "nosuch.service"); u.LoadState != "not-found" {
		t.Errorf("unknown unit: %q", u.LoadState)
	}

	id, err := n.ReadFile("/etc/machine-id")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("second boot took %v", n.Booted())
	if again, err := n.ReadFile("/etc/machine-id"); err != nil || string(again) != string(id) {
		t.Errorf("machine ID %q after reboot, was %q, %v", again, id, err)
	}
	if _, err := n.ReadFile("/run/gate"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the gate after a reboot: %v, want none", err)
	}
	waitUnit(t, n, "prep.service", func(u node.Unit) bool { return u.StatusText == "waiting for /run/go" })

	// Each boot wrote one line; the second may still be on its way into the file.
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	boots := map[string]bool{}
	err = n.FollowJournal(ctx, func(e node.Entry) {
		if e["MESSAGE"] == "MARK=first" {
			boots[e["_BOOT_ID"]] = true
		}
		if len(boots) == 2 {
			cancel()
		}
	}, "_SYSTEMD_UNIT=prep.service")
	if err != nil || len(boots) != 2 {
		t.Errorf("journal of prep.service: %d boots, %v", len(boots), err)
	}
	entries, err := n.Journal(t.Context(), "_SYSTEMD_UNIT=prep.service", "MESSAGE=MARK=first")
	if err != nil || len(entries) != 2 {
		t.Errorf("Journal: %d entries, %v", len(entries), err)
	}
	if c := n.Console(); strings.Count(c, "PREP: blocked\n") != 2 {
		t.Errorf("console:\n%s", c)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if strings.Count(live.String(), "PREP: blocked") != 2 {
		t.Errorf("live console:\n%s", live.String())
	}
	if _, err := os.Stat(filepath.Dir(n.Root())); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left after Close: %v", err)
	}
}

// Two nodes with the same units at once do not see each other.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	files := map[string]node.File{
		"/etc/systemd/system/work.service":                         {Content: []byte("[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n")},
		"/etc/systemd/system/multi-user.target.wants/work.service": {Link: "/etc/systemd/system/work.service"},
	}
	a, b := boot(t, node.Options{Files: files}), boot(t, node.Options{Files: files})
	before := unit(t, b, "work.service")
	if _, err := a.Stop(t.Context(), "work.service"); err != nil {
		t.Fatal(err)
	}
	if u := unit(t, a, "work.service"); u.ActiveState != "inactive" {
		t.Errorf("stopped: %s", u)
	}
	if after := unit(t, b, "work.service"); before.ActiveState != "active" || after != before {
		t.Errorf("the other node's unit was %s, is %s", before, after)
	}
}

// A killed test leaves no process of its node behind.
func TestKilled(t *testing.T) {
	t.Parallel()
	image(t)
	cmd := exec.Command("/proc/self/exe")
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "NODEPREP_E2E_LEFT_NETNS=") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, doomedEnv+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "booted\n" {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Fatalf("doomed process: %q, %v", line, err)
	}
	if len(doomedProcesses(t)) == 0 {
		t.Error("the doomed node is not to be seen: this test cannot tell anything")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	again, late := time.NewTicker(20*time.Millisecond), time.After(10*time.Second)
	defer again.Stop()
	for {
		left := doomedProcesses(t)
		if len(left) == 0 {
			return
		}
		select {
		case <-again.C:
		case <-late:
			t.Fatalf("still running 10 s after the kill: %v", left)
		}
	}
}

// doomedProcesses are the nspawn processes of the doomed test binary.
func doomedProcesses(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		// Processes come and go between the two calls.
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), "--hostname=doomed") {
			found = append(found, f)
		}
	}
	return found
}

func doomed() int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tree, err := node.Image(ctx, ".")
	if err == nil {
		var ns *os.File
		if ns, err = newNetNS(); err == nil {
			_, err = node.Boot(ctx, node.Options{Image: tree, NetNS: int(ns.Fd()), Hostname: "doomed"})
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_, _ = io.WriteString(os.Stdout, "booted\n")
	<-ctx.Done()
	return 1
}

func image(t *testing.T) string {
	t.Helper()
	fail := t.Skip
	if os.Getenv("CI") == "true" {
		fail = t.Fatal
	}
	if os.Getpid() != 1 {
		fail("booting a node needs root")
	}
	tree, err := node.Image(t.Context(), ".")
	if err != nil {
		fail(err)
	}
	return tree
}

func boot(t *testing.T, opts node.Options) *node.Node {
	t.Helper()
	opts.Image = image(t)
	ns, err := newNetNS()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	opts.NetNS = int(ns.Fd())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n, err := node.Boot(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("console:\n%s", n.Console())
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("booted in %v", n.Booted())
	return n
}

// newNetNS makes an empty network namespace. It may unshare a thread because this
// process is cut off already.
func newNetNS() (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- result{err: err}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		done <- result{f, err}
	}()
	r := <-done
	return r.f, r.err
}

func unit(t *testing.T, n *node.Node, name string) node.Unit {
	t.Helper()
	u, err := n.Unit(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func waitUnit(t *testing.T, n *node.Node, name string, ok func(node.Unit) bool) node.Unit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	u, err := n.WaitUnit(ctx, name, ok)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
