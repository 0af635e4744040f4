package host_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/kubelet"
)

// tree writes files below a new directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestReadMachine(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := host.ReadEnvironments(t.TempDir(), os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	own := plain[bootstrap.ConsumerAgent]
	for name, c := range map[string]struct {
		files map[string]string
		want  bootstrap.Machine
		err   string
	}{
		"EKS image": {
			files: map[string]string{
				"/sys/devices/system/cpu/online":   "0-3,6,8-9\n",
				"/proc/meminfo":                    "MemFree:  1 kB\nMemTotal:        7936548 kB\n",
				"/proc/sys/kernel/random/boot_id":  "5a3c7f0e-1b2c-4d5e-8f90-a1b2c3d4e5f6\n",
				"/etc/eks/kubelet-version.txt":     "v1.33.4-eks-20b1e2b\n",
				"/etc/eks/nodeadm.d/unrelated.txt": "",
			},
			want: bootstrap.Machine{
				CPUs: 7, MemoryMiB: 7750, KubeletVersion: kubelet.Version{Major: 1, Minor: 33, Patch: 4},
				BootID: "5a3c7f0e-1b2c-4d5e-8f90-a1b2c3d4e5f6",
			},
		},
		"GPU": {
			files: map[string]string{
				"/sys/bus/pci/devices/0000:00:05.0/vendor": "0x1d0f\n", "/sys/bus/pci/devices/0000:10:1c.0/vendor": "0x10de\n",
				"/sys/bus/pci/devices/0000:00:06.0/class": "0x020000\n",
			},
			want: bootstrap.Machine{CPUs: runtime.NumCPU(), NVIDIA: true},
		},
		"units": {
			files: map[string]string{
				"/usr/lib/systemd/system/kubelet.service":        "[Service]\nExecStart=/usr/bin/kubelet\n",
				"/etc/systemd/system/kubelet.service.d/env.conf": "[Service]\nEnvironment=NO_PROXY=.internal\n",
				"/etc/systemd/system/containerd.service/x":       "a directory",
			},
			want: bootstrap.Machine{CPUs: runtime.NumCPU(), Environments: map[bootstrap.Consumer]bootstrap.Environment{
				bootstrap.ConsumerKubelet: {NoProxy: ".internal", Unit: "kubelet.service"},
			}},
			err: "containerd.service",
		},
		"other devices": {
			files: map[string]string{"/sys/bus/pci/devices/0000:00:05.0/vendor": "0x1d0f\n"},
			want:  bootstrap.Machine{CPUs: runtime.NumCPU()},
		},
		"nothing to read": {want: bootstrap.Machine{CPUs: runtime.NumCPU()}},
		"nonsense": {
			files: map[string]string{
				"/sys/devices/system/cpu/online": "3-0\n", "/proc/meminfo": "MemTotal: lots kB\n",
				"/proc/sys/kernel/random/boot_id": "b\n", "/etc/eks/kubelet-version.txt": "latest\n",
			},
			want: bootstrap.Machine{CPUs: runtime.NumCPU(), BootID: "b"},
			err:  "cpu/online|meminfo|latest",
		},
		"no total": {
			files: map[string]string{"/proc/meminfo": "MemFree: 1 kB\n"},
			want:  bootstrap.Machine{CPUs: runtime.NumCPU()},
			err:   "MemTotal",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.want.Binary = self
			if c.want.Environments == nil {
				c.want.Environments = map[bootstrap.Consumer]bootstrap.Environment{}
			}
			c.want.Environments[bootstrap.ConsumerAgent] = own
			root := tree(t, c.files)
			got, err := host.ReadMachine(t.Context(), root, root)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if (err != nil) != (c.err != "") {
				t.Fatalf("error %v", err)
			}
			for part := range strings.SplitSeq(c.err, "|") {
				if err != nil && !strings.Contains(err.Error(), part) {
					t.Errorf("error does not name %q: %v", part, err)
				}
			}
		})
	}
}

func TestReadMachineRunsKubelet(t *testing.T) {
	if exists("/etc/eks/kubelet-version.txt") {
		if os.Getenv("CI") == "true" {
			t.Fatal("this machine is an EKS node: the version would come from its file")
		}
		t.Skip("this machine is an EKS node")
	}
	dir := t.TempDir()
	write := func(script string) {
		if err := os.WriteFile(filepath.Join(dir, "kubelet"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	write(`test "$*" = --version && echo Kubernetes v1.36.3`)
	m, err := host.ReadMachine(t.Context(), "/", "/")
	if err != nil || m.KubeletVersion != (kubelet.Version{Major: 1, Minor: 36, Patch: 3}) {
		t.Errorf("got %v, %v", m.KubeletVersion, err)
	}
	if m.CPUs < 1 || m.MemoryMiB < 1 || m.BootID == "" {
		t.Errorf("got %+v", m)
	}
	write("exit 3")
	if m, err := host.ReadMachine(t.Context(), "", ""); err == nil || !m.KubeletVersion.IsZero() || m.BootID == "" {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestReadSources(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{
		"/usr/lib/nodeprep/conf.d/50-vendor.yaml": "vendor",
		"/etc/eks/nodeadm.d/20-b.JSON":            "b",
		"/etc/eks/nodeadm.d/10-a.yml":             "a",
		"/etc/eks/nodeadm.d/.hidden.yaml":         "hidden",
		"/etc/eks/nodeadm.d/30-c.yaml.bak":        "backup",
		"/etc/eks/nodeadm.d/README":               "read me",
		"/etc/eks/nodeadm.d/dir.yaml/x.yaml":      "too deep",
		"/etc/nodeprep/conf.d/90-site.YAML":       "site",
		"/var/lib/nodeprep/conf.d/10-shim.yaml":   "not in this version",
	})
	userData := &bootstrap.Source{Name: "user data", UserData: true, Data: []byte("user")}
	want := []bootstrap.Source{
		{Name: "/usr/lib/nodeprep/conf.d/50-vendor.yaml", Data: []byte("vendor")},
		*userData,
		{Name: "/etc/eks/nodeadm.d/10-a.yml", Data: []byte("a")},
		{Name: "/etc/eks/nodeadm.d/20-b.JSON", Data: []byte("b")},
		{Name: "/etc/nodeprep/conf.d/90-site.YAML", Data: []byte("site")},
	}
	got, err := host.ReadSources(root, userData)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err := host.ReadSources(t.TempDir(), nil); len(got) != 0 || err != nil {
		t.Errorf("empty root: %v, %v", got, err)
	}
}

func TestReadSourcesErrors(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{
		"/etc/nodeprep/conf.d/10-good.yaml":  "good",
		"/etc/nodeprep/conf.d/30-full.yaml":  strings.Repeat("#", host.SourceLimit),
		"/etc/nodeprep/conf.d/40-large.yaml": strings.Repeat("#", host.SourceLimit+1),
	})
	dir := filepath.Join(root, "/etc/nodeprep/conf.d")
	if err := os.Symlink("nowhere", filepath.Join(dir, "20-dangling.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "50-fifo.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := host.ReadSources(root, nil)
	if len(got) != 2 || string(got[0].Data) != "good" || len(got[1].Data) != host.SourceLimit {
		t.Errorf("got %d sources", len(got))
	}
	for _, name := range []string{"20-dangling.yaml", "40-large.yaml", "50-fifo.yaml"} {
		if err == nil || !strings.Contains(err.Error(), "/etc/nodeprep/conf.d/"+name) {
			t.Errorf("error does not name %s: %v", name, err)
		}
	}
	// A file where a directory should be.
	root = tree(t, map[string]string{"/etc/eks/nodeadm.d": ""})
	if _, err := host.ReadSources(root, nil); err == nil {
		t.Error("a file in place of a directory is no error")
	}
}
