package e2e_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/test/e2e/node"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// The commands of the README make a node of an EKS image that joins from the next
// boot on, and nodeadm's units leave it alone.
func TestSystemdInstall(t *testing.T) {
	t.Parallel()
	const clone, nodeadm = "/root/nodeprep", "/etc/systemd/system/nodeadm-config.service"
	v := newVPC(t, vpc.Options{})
	files := workerFiles(t, v)
	maps.DeleteFunc(files, func(name string, f node.File) bool {
		return f.Source == program("nodeprep") || strings.HasPrefix(f.Source, root+"/systemd/") || strings.HasPrefix(name, "/etc/nodeprep/")
	})
	files[clone+"/bin/nodeprep"] = node.File{Source: program("nodeprep"), Mode: 0o755}
	for _, dir := range []string{"systemd", "docs"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				files[filepath.Join(clone, strings.TrimPrefix(name, root))] = node.File{Source: name}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	files[nodeadm] = node.File{Content: []byte("[Service]\nType=oneshot\nExecStart=/usr/bin/touch /run/nodeadm-ran\n")}
	files["/etc/systemd/system/multi-user.target.wants/nodeadm-config.service"] = node.File{Link: nodeadm}
	files["/etc/systemd/system/multi-user.target.wants/kubelet.service"] = node.File{Link: "/etc/systemd/system/kubelet.service"}
	w := bootFiles(t, v, files)

	w.run("sh", "-ec", "cd "+clone+"\n"+installCommands(t))
	if err := w.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.waitJoined(verdictTime)
	w.waitActive(joinTime, nodeprepUnit)
	if w.exists("/run/nodeadm-ran") {
		t.Error("nodeadm-config.service ran beside nodeprep")
	}
	e := w.waitEntry(func(e node.Entry) bool { return e["DOCUMENTATION"] != "" }, "SYSLOG_IDENTIFIER=nodeprep")
	if page := strings.TrimPrefix(e["DOCUMENTATION"], "file://"); !w.exists(page) {
		t.Errorf("the journal points to %s, which is not there", e["DOCUMENTATION"])
	}
	if out := w.run("journalctl", "--list-catalog", "--no-pager"); !strings.Contains(out, bootstrap.MessagePassed) {
		t.Error("the journal catalog of nodeprep is not installed")
	}
}

// installCommands are the commands of the README's section Install, but for make:
// the program is built.
func installCommands(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile(root + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(readme), "\n## Install\n")
	_, block, ok2 := strings.Cut(section, "\n```\n")
	block, _, ok3 := strings.Cut(block, "\n```\n")
	first, rest, ok4 := strings.Cut(block, "\n")
	if !ok || !ok2 || !ok3 || !ok4 || !strings.HasPrefix(first, "make build ") {
		t.Fatalf("README.md has no commands to install nodeprep that begin with make build:\n%s", block)
	}
	return rest
}
