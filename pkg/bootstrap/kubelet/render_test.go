package kubelet_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap/kubelet"
)

var update = flag.Bool("update", false, "rewrite testdata")

func params() kubelet.Params {
	return kubelet.Params{
		Version:     kubelet.Version{Major: 1, Minor: 36, Patch: 3},
		ClusterName: "blue",
		Region:      "us-west-2",
		APIServer:   "https://0123456789ABCDEF0123456789ABCDEF.gr7.us-west-2.eks.amazonaws.com",
		CA:          []byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
		ClusterDNS:  []netip.Addr{netip.MustParseAddr("172.20.0.10")},
		NodeIP:      netip.MustParseAddr("10.0.1.23"),
		NodeName:    "ip-10-0-1-23.us-west-2.compute.internal",
		ProviderID:  "aws:///us-west-2a/i-0123456789abcdef0",
		MaxPods:     29,
		MilliCPU:    2000,
		TokenBinary: "/usr/bin/nodeprep",
	}
}

func TestRender(t *testing.T) {
	t.Parallel()
	cases := map[string]func(*kubelet.Params){
		"plain-1.36": func(*kubelet.Params) {},
		"plain-1.30": func(p *kubelet.Params) { p.Version = kubelet.Version{Major: 1, Minor: 30, Patch: 14} },
		"plain-1.32": func(p *kubelet.Params) { p.Version = kubelet.Version{Major: 1, Minor: 32} },
		"plain-1.33": func(p *kubelet.Params) { p.Version = kubelet.Version{Major: 1, Minor: 33, Patch: 4} },
		"unknown-version": func(p *kubelet.Params) {
			p.Version = kubelet.Version{}
			p.MilliCPU = 0
		},
		"user-settings": func(p *kubelet.Params) {
			p.MaxPods = 110
			p.UserConfig = map[string]any{
				"maxPods":            float64(110),
				"registerWithTaints": []any{map[string]any{"key": "a<b", "effect": "NoSchedule"}},
				"featureGates":       map[string]any{"NodeSwap": true},
			}
			p.UserFlags = []string{`--node-labels="team=a,x=y"`, `--manifest-url-header="X: 100%"`, "--v=4 --max-pods=110"}
		},
		"user-settings-1.29": func(p *kubelet.Params) {
			p.Version = kubelet.Version{Major: 1, Minor: 29, Patch: 1}
			p.UserConfig = map[string]any{"maxPods": 20}
			p.MaxPods = 20
		},
		"ipv6": func(p *kubelet.Params) {
			p.NodeIP = netip.MustParseAddr("2600:1f14:abcd:1::17")
			p.ClusterDNS = []netip.Addr{netip.MustParseAddr("fd40:6404:f93b::a")}
			p.ReservedPods = 29
			p.MaxPods = 250
		},
		"nvidia": func(p *kubelet.Params) { p.NVIDIA = true },
		"china": func(p *kubelet.Params) {
			p.Region = "cn-north-1"
			p.APIServer = "https://0123.yl4.cn-north-1.eks.amazonaws.com.cn"
			p.NodeName = "i-0123456789abcdef0.cn-north-1.compute.internal"
			p.MilliCPU = 96000
		},
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := params()
			change(&p)
			files, err := kubelet.Render(p)
			if err != nil {
				t.Fatal(err)
			}
			again, err := kubelet.Render(p)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(files, again); diff != "" {
				t.Errorf("the second rendering differs:\n%s", diff)
			}
			golden(t, filepath.Join("testdata", name), files)
		})
	}
}

// golden compares files with those below dir, which has no others.
func golden(t *testing.T, dir string, files []kubelet.File) {
	t.Helper()
	got := map[string]string{}
	for _, f := range files {
		if f.Mode != 0o644 {
			t.Errorf("%s: mode %o", f.Path, f.Mode)
		}
		got[filepath.Join(dir, f.Path)] = string(f.Data)
	}
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		for path, data := range got {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		want[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestRenderIsSortedByPath(t *testing.T) {
	t.Parallel()
	p := params()
	p.UserConfig = map[string]any{"maxPods": 29}
	files, err := kubelet.Render(p)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, f := range files {
		paths = append(paths, f.Path)
	}
	want := []string{
		kubelet.CredentialProviderConfigPath, kubelet.EnvironmentPath, kubelet.ConfigPath,
		kubelet.DropInPath, kubelet.CAPath, kubelet.KubeconfigPath,
	}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}

func TestRenderRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(*kubelet.Params)
		want   string
	}{
		"no name":        {func(p *kubelet.Params) { p.ClusterName = "" }, "the cluster's name"},
		"no endpoint":    {func(p *kubelet.Params) { p.APIServer = "" }, "endpoint"},
		"no CA":          {func(p *kubelet.Params) { p.CA = nil }, "certificate authority"},
		"no DNS":         {func(p *kubelet.Params) { p.ClusterDNS = nil }, "cluster DNS"},
		"no IP":          {func(p *kubelet.Params) { p.NodeIP = netip.Addr{} }, "IP address"},
		"no max pods":    {func(p *kubelet.Params) { p.MaxPods = 0 }, "max pods"},
		"relative token": {func(p *kubelet.Params) { p.TokenBinary = "nodeprep" }, "absolute path"},
		"name in two":    {func(p *kubelet.Params) { p.NodeName = "a --v=9" }, "needs quotes"},
		"backslash":      {func(p *kubelet.Params) { p.UserFlags = []string{`--node-labels=a=\d`} }, "spec.kubelet.flags[0]"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := params()
			c.change(&p)
			files, err := kubelet.Render(p)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one about %q", err, c.want)
			}
			if files != nil {
				t.Errorf("files in spite of the error: %d", len(files))
			}
		})
	}
}

func TestReserved(t *testing.T) {
	t.Parallel()
	for cpus, want := range map[int]int{0: 0, 1: 60, 2: 70, 4: 80, 8: 90, 16: 110, 32: 150, 64: 230, 96: 310, 192: 550} {
		if got := kubelet.ReservedMilliCPU(cpus * 1000); got != want {
			t.Errorf("%d CPUs: %dm, want %dm", cpus, got, want)
		}
	}
	if got := kubelet.ReservedMilliCPU(500); got != 30 {
		t.Errorf("half a CPU: %dm, want 30m", got)
	}
	if got := kubelet.ReservedMemoryMiB(110); got != 1465 {
		t.Errorf("110 pods: %d MiB, want 1465", got)
	}
}

func TestRenderKeepsUserMapUntouched(t *testing.T) {
	t.Parallel()
	p := params()
	p.UserConfig = map[string]any{"maxPods": 29}
	before := maps.Clone(p.UserConfig)
	files, err := kubelet.Render(p)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, p.UserConfig); diff != "" {
		t.Errorf("Render changed its input:\n%s", diff)
	}
	for _, f := range files {
		if strings.HasSuffix(f.Path, ".json") || f.Path == kubelet.KubeconfigPath || f.Path == kubelet.DropInPath {
			if !json.Valid(f.Data) || !bytes.HasSuffix(f.Data, []byte("\n")) {
				t.Errorf("%s is not a line of JSON", f.Path)
			}
		}
	}
}
