// Package systemd_test checks the files that this directory installs.
package systemd_test

import (
	"bufio"
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/kubelet"
)

// exposure is the limit of `systemd-analyze security` in tenths; 0 is best, 100 worst.
const exposure = "25"

// analyze runs systemd-analyze and returns what it printed.
func analyze(t *testing.T, args ...string) (string, error) {
	t.Helper()
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_PAGER=cat", "SYSTEMD_COLORS=0", "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// install makes a root with our units and the few others that they name, and
// returns it. edit may change a unit on the way.
func install(t *testing.T, edit func(name, text string) string) string {
	t.Helper()
	root := t.TempDir()
	write := func(name, text string, mode fs.FileMode) {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	const units = "/usr/lib/systemd/system/"
	for _, name := range files(t, "system") {
		text := read(t, name)
		if edit != nil {
			text = edit(name, text)
		}
		write(units+strings.TrimPrefix(name, "system/"), text, 0o644)
	}
	for _, target := range []string{"sysinit", "basic", "paths", "sockets", "slices", "timers", "multi-user", "shutdown"} {
		write(units+target+".target", "[Unit]\nDescription="+target+"\nDefaultDependencies=no\n", 0o644)
	}
	write(units+"dbus.socket", "[Socket]\nListenStream=/run/dbus/system_bus_socket\n", 0o644)
	for _, service := range []string{"dbus", "nodeadm-config", "nodeadm-run"} {
		write(units+service+".service", "[Service]\nExecStart=/usr/bin/true\n", 0o644)
	}
	// The shape of the unit of EKS images.
	write("/etc/systemd/system/kubelet.service", "[Unit]\nDescription=Kubelet\nAfter=containerd.service\n"+
		"[Service]\nSlice=runtime.slice\nExecStart=/usr/bin/kubelet $NODEADM_KUBELET_ARGS\nRestart=on-failure\nRestartSec=5\n"+
		"[Install]\nWantedBy=multi-user.target\n", 0o644)
	for _, binary := range []string{"nodeprep", "kubelet", "touch", "true"} {
		write("/usr/bin/"+binary, "#!/bin/sh\n", 0o755)
	}
	return root
}

// files lists the files below a directory of this package, by path.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := fs.WalkDir(os.DirFS("."), dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, name)
		}
		return err
	})
	if err != nil || len(out) == 0 {
		t.Fatalf("%s: %v, %d files", dir, err, len(out))
	}
	return out
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// settings returns the values of a unit file, by section and name: "Unit.After".
func settings(t *testing.T, name string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	section := ""
	lines := bufio.NewScanner(strings.NewReader(read(t, name)))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		key, value, assigns := strings.Cut(line, "=")
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
		case assigns:
			key = section + "." + key
			out[key] = append(out[key], strings.Fields(value)...)
		default:
			t.Errorf("%s: %q is no assignment", name, line)
		}
	}
	return out
}

var verified = []string{"nodeprep.service", "nodeprep-gate.path", "kubelet.service", "nodeadm-config.service", "nodeadm-run.service"}

func TestVerify(t *testing.T) {
	t.Parallel()
	root := install(t, nil)
	// systemd 252 only warns of most mistakes: silence is what is asked for.
	out, err := analyze(t, append([]string{"verify", "--man=no", "--root=" + root}, verified...)...)
	if err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// The test above can fail.
func TestVerifyFindsMistakes(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string][2]string{
		"unknown setting": {"ProtectClock=", "ProtectClok="},
		"no such program": {"/usr/bin/nodeprep bootstrap", "/usr/bin/absent bootstrap"},
		"bad value":       {"RestartSec=10s", "RestartSec=soon"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := install(t, func(_, text string) string { return strings.ReplaceAll(text, replace[0], replace[1]) })
			out, err := analyze(t, append([]string{"verify", "--man=no", "--root=" + root}, verified...)...)
			if err == nil && strings.TrimSpace(out) == "" {
				t.Error("not noticed")
			}
		})
	}
}

func TestSecurity(t *testing.T) {
	t.Parallel()
	root := install(t, nil)
	out, err := analyze(t, "security", "--offline=true", "--root="+root, "--threshold="+exposure, "nodeprep.service")
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
	// A unit without the sandbox is above the limit.
	root = install(t, func(_, text string) string { return strings.ReplaceAll(text, "CapabilityBoundingSet=", "#") })
	if out, err := analyze(t, "security", "--offline=true", "--root="+root, "--threshold="+exposure, "nodeprep.service"); err == nil {
		t.Errorf("a service with all capabilities passes:\n%s", out)
	}
}

// Orderings that make a boot hang or drop a job, as measured on
// systemd 252 with the units of cloud-init 24.4.
func TestOrdering(t *testing.T) {
	t.Parallel()
	s := settings(t, "system/nodeprep.service")
	if !slices.Equal(s["Unit.DefaultDependencies"], []string{"no"}) {
		t.Error("with default dependencies multi-user.target waits for nodeprep: a cycle with cloud-final.service")
	}
	for key, units := range s {
		for _, bad := range []string{"kubelet.service", "network-online.target", "cloud-final.service", "cloud-init.target"} {
			if strings.HasPrefix(key, "Unit.") && slices.Contains(units, bad) {
				t.Errorf("%s=%s", key, bad)
			}
		}
	}
	for _, key := range []string{"Unit.After", "Unit.Requires", "Unit.Wants", "Unit.Requisite", "Unit.BindsTo", "Unit.PartOf"} {
		if got := settings(t, "system/kubelet.service.d/20-nodeprep.conf")[key]; len(got) > 0 {
			t.Errorf("the kubelet's drop-in has %s=%v", key, got)
		}
	}
}

func TestService(t *testing.T) {
	t.Parallel()
	s := settings(t, "system/nodeprep.service")
	for key, want := range map[string]string{
		"Service.Type":                     "notify",
		"Service.NotifyAccess":             "main",
		"Service.RemainAfterExit":          "yes",
		"Service.ExecStart":                "/usr/bin/nodeprep bootstrap",
		"Service.Restart":                  "on-failure",
		"Service.RestartPreventExitStatus": "2 10 75",
		"Service.Environment":              "GOTRACEBACK=crash", // or a panic ends with status 2, and nothing restarts
		"Service.RuntimeDirectoryPreserve": "yes",               // or the gate closes with the process
		"Service.LogRateLimitIntervalSec":  "0",
		"Unit.StartLimitIntervalSec":       "0",
		"Install.WantedBy":                 "multi-user.target",
	} {
		if got := strings.Join(s[key], " "); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
}

// The gate is one path in four places.
func TestGate(t *testing.T) {
	t.Parallel()
	dropin := settings(t, "system/kubelet.service.d/20-nodeprep.conf")
	gate := settings(t, "system/nodeprep-gate.path")
	if got := dropin["Unit.ConditionPathExists"]; !slices.Equal(got, []string{host.GatePath}) {
		t.Errorf("the condition asks for %v, nodeprep opens %s", got, host.GatePath)
	}
	if got := gate["Path.PathChanged"]; !slices.Equal(got, []string{host.GatePath}) {
		t.Errorf("the path unit watches %v, nodeprep opens %s", got, host.GatePath)
	}
	// It would start the kubelet again whenever that stops.
	if got := gate["Path.PathExists"]; len(got) > 0 {
		t.Errorf("PathExists=%v", got)
	}
	if got := gate["Path.Unit"]; !slices.Equal(got, []string{host.KubeletUnit}) {
		t.Errorf("the path unit starts %v", got)
	}
	for _, p := range []string{host.GatePath, host.ReportPath} {
		if dir := "/run/" + strings.Join(settings(t, "system/nodeprep.service")["Service.RuntimeDirectory"], " "); path.Dir(p) != dir {
			t.Errorf("%s is not in %s", p, dir)
		}
	}
}

// What is rendered must be in a directory that exists and may be written.
func TestDirectories(t *testing.T) {
	t.Parallel()
	made := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewBufferString(read(t, "tmpfiles/nodeprep.conf")))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) != 6 || f[0] != "d" || f[3] != "root" || f[4] != "root" || f[5] != "-" {
			t.Errorf("tmpfiles: %q", lines.Text())
			continue
		}
		made[f[1]] = true
	}
	writable := settings(t, "system/nodeprep.service")["Service.ReadWritePaths"]
	for _, file := range []string{
		kubelet.ConfigPath, kubelet.DropInPath, kubelet.KubeconfigPath, kubelet.CAPath,
		kubelet.CredentialProviderConfigPath, kubelet.EnvironmentPath,
	} {
		if !made[path.Dir(file)] {
			t.Errorf("tmpfiles.d does not make %s for %s", path.Dir(file), path.Base(file))
		}
		if !slices.ContainsFunc(writable, func(w string) bool {
			return strings.HasPrefix(file, strings.TrimPrefix(w, "-")+"/")
		}) {
			t.Errorf("%s is not below ReadWritePaths=%v", file, writable)
		}
	}
	for _, dir := range []string{path.Dir(host.GatePath), "/run/nodeadm", "/etc/nodeprep/conf.d", "/etc/eks/nodeadm.d"} {
		if !made[dir] {
			t.Errorf("tmpfiles.d does not make %s", dir)
		}
	}
	for dir := range made {
		if parent := path.Dir(dir); strings.HasPrefix(parent, "/etc/") && !made[parent] {
			t.Errorf("tmpfiles.d makes %s with the default mode of its parent", dir)
		}
	}
}

// Every unit that wants to be enabled is, and nothing else.
func TestPreset(t *testing.T) {
	t.Parallel()
	want := []string{"disable kubelet.service"}
	for _, name := range files(t, "system") {
		if len(settings(t, name)["Install.WantedBy"]) > 0 {
			want = append(want, "enable "+path.Base(name))
		}
	}
	var got []string
	for line := range strings.Lines(read(t, "preset/80-nodeprep.preset")) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			got = append(got, line)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("preset %q, want %q", got, want)
	}
}
