package kubelet_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap/kubelet"
)

func TestParseVersion(t *testing.T) {
	t.Parallel()
	good := map[string]kubelet.Version{
		"Kubernetes v1.36.3\n":           {Major: 1, Minor: 36, Patch: 3},
		"Kubernetes v1.33.4-eks-20b1e2b": {Major: 1, Minor: 33, Patch: 4},
		"v1.30.0-alpha.1+0123":           {Major: 1, Minor: 30},
		"1.34":                           {Major: 1, Minor: 34},
	}
	for text, want := range good {
		got, err := kubelet.ParseVersion(text)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "v", "1", "1.2.3.4", "v1.x.3", "1.-2", "1..2", "kubelet", "v1.99999999999999999999"} {
		if got, err := kubelet.ParseVersion(text); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}

func FuzzParseVersion(f *testing.F) {
	f.Add("Kubernetes v1.36.3")
	f.Add("1.30-eks")
	f.Fuzz(func(t *testing.T, s string) {
		v, err := kubelet.ParseVersion(s)
		if err != nil || v.IsZero() {
			return
		}
		again, err := kubelet.ParseVersion(v.String())
		if err != nil || again != v {
			t.Errorf("%q is %v, which reads as %v, %v", s, v, again, err)
		}
	})
}

func TestVersionOrder(t *testing.T) {
	t.Parallel()
	v := kubelet.Version{Major: 1, Minor: 33, Patch: 9}
	if !v.AtLeast(1, 33) || v.AtLeast(1, 34) || v.Below(1, 33) || !v.Below(2, 0) {
		t.Errorf("%v is ordered wrongly", v)
	}
	var unknown kubelet.Version
	if unknown.AtLeast(0, 0) || unknown.Below(9, 9) || unknown.String() != "unknown" {
		t.Errorf("the unknown version compares with something")
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	good := map[string][]string{
		"":                            nil,
		"  ":                          nil,
		"--a=b":                       {"--a=b"},
		"--a=b\t --c":                 {"--a=b", "--c"},
		`--a="q r" '--b=s t'`:         {"--a=q r", "--b=s t"},
		`--labels='{"x": "y"}'`:       {`--labels={"x": "y"}`},
		`--empty= ""`:                 {"--empty=", ""},
		`--a=100% --b=$HOME --c=#;é`:  {"--a=100%", "--b=$HOME", "--c=#;é"},
		`--node-labels="a=b,c=d",e=f`: {"--node-labels=a=b,c=d,e=f"},
	}
	for text, want := range good {
		got, err := kubelet.Words(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
	for _, text := range []string{`a\b`, "a\nb", "a\rb", "a\x00", "\x7f", "a\xff", `a"b`, `'a`} {
		if got, err := kubelet.Words(text); err == nil {
			t.Errorf("%q: %q, want an error", text, got)
		}
	}
}

func FuzzWords(f *testing.F) {
	f.Add(`--a="q r" '--b=s t' --c`)
	f.Add(`--d=\`)
	f.Fuzz(func(t *testing.T, s string) {
		words, err := kubelet.Words(s)
		if err != nil {
			return
		}
		for i, w := range words {
			quote := `"`
			if strings.Contains(w, quote) {
				quote = `'`
			}
			if strings.Contains(w, `"`) && strings.Contains(w, `'`) {
				return
			}
			words[i] = quote + w + quote
		}
		again, err := kubelet.Words(strings.Join(words, " "))
		if err != nil || len(again) != len(words) {
			t.Errorf("%q gives %q, which reads as %q, %v", s, words, again, err)
		}
	})
}

func TestCheckSettings(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr
	cases := map[string]struct {
		config map[string]any
		flags  []string
		want   kubelet.Settings
	}{
		"none": {},
		"config": {
			config: map[string]any{
				"maxPods": float64(58), "providerID": "aws:///a/i-1", "kubeReserved": map[string]any{"memory": "1Gi"},
				"clusterDNS": []any{"169.254.20.10", "fd00::a"},
			},
			want: kubelet.Settings{
				MaxPods: 58, MaxPodsFrom: "maxPods of spec.kubelet.config", ProviderID: "aws:///a/i-1", ReservedMemory: true,
				ClusterDNS: []netip.Addr{addr("169.254.20.10"), addr("fd00::a")},
			},
		},
		"a flag wins over the configuration, the last over the others": {
			config: map[string]any{"maxPods": 58, "clusterDNS": []any{"172.20.0.10"}},
			flags:  []string{"--max-pods=20 --max_pods", "30", "--cluster-dns=10.0.0.1,10.0.0.2"},
			want: kubelet.Settings{
				MaxPods: 30, MaxPodsFrom: "--max-pods of spec.kubelet.flags",
				ClusterDNS: []netip.Addr{addr("10.0.0.1"), addr("10.0.0.2")},
			},
		},
		"identity": {
			flags: []string{"--hostname-override", "i-1", "--node-ip=10.0.0.1,fd00::1", "--provider-id=x", "--kube-reserved=cpu=1,memory=2Gi"},
			want:  kubelet.Settings{NodeName: "i-1", NodeIP: addr("10.0.0.1"), ProviderID: "x", ReservedMemory: true},
		},
		"booleans take no value":  {flags: []string{"--seccomp-default --rotate-certificates=true -v 4 -v=2"}},
		"null is the default 110": {config: map[string]any{"maxPods": nil}, want: kubelet.Settings{MaxPods: 110, MaxPodsFrom: "the kubelet's default, because spec.kubelet.config has maxPods: null"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, errs := kubelet.Check(c.config, c.flags, kubelet.Version{Major: 1, Minor: 34})
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			if diff := cmp.Diff(c.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	v := func(minor int) kubelet.Version { return kubelet.Version{Major: 1, Minor: minor} }
	cases := map[string]struct {
		config  map[string]any
		flags   []string
		version kubelet.Version
		want    []string // path and a part of the reason or remedy
	}{
		"typo":                    {flags: []string{"--v=2", "--node-lables=a=b"}, version: v(36), want: []string{"spec.kubelet.flags[1]", "--node-labels"}},
		"typo, version unknown":   {flags: []string{"--node_lables=a=b"}, want: []string{"spec.kubelet.flags[0]", "--node-labels"}},
		"no flag near":            {flags: []string{"--network-plugin=cni"}, version: v(30), want: []string{"spec.kubelet.flags[0]", "no flag --network-plugin"}},
		"newer kubelet":           {flags: []string{"--network-plugin=cni"}, version: v(37)},
		"gone":                    {flags: []string{"--pod-infra-container-image=x"}, version: v(35), want: []string{"spec.kubelet.flags[0]", "since 1.35"}},
		"not yet gone":            {flags: []string{"--pod-infra-container-image=x"}, version: v(34)},
		"gone from the newer too": {flags: []string{"--pod-infra-container-image=x"}, version: v(37), want: []string{"spec.kubelet.flags[0]", "since 1.35"}},
		"not yet there":           {flags: []string{"--fail-cgroupv1"}, version: v(30), want: []string{"spec.kubelet.flags[0]", "only since 1.31"}},
		"argument":                {flags: []string{"run"}, version: v(36), want: []string{"spec.kubelet.flags[0]", "no arguments"}},
		"value of a boolean":      {flags: []string{"--seccomp-default", "true"}, version: v(36), want: []string{"spec.kubelet.flags[1]", "no arguments"}},
		"max pods is text":        {config: map[string]any{"maxPods": "110"}, want: []string{"spec.kubelet.config.maxPods", "whole number"}},
		"max pods is 0":           {config: map[string]any{"maxPods": 0}, want: []string{"spec.kubelet.config.maxPods", "whole number"}},
		"max pods is 1.5":         {config: map[string]any{"maxPods": 1.5}, want: []string{"spec.kubelet.config.maxPods", "whole number"}},
		"max pods flag":           {flags: []string{"--max-pods=many"}, want: []string{"spec.kubelet.flags[0]", "--max-pods"}},
		"node ip":                 {flags: []string{"--node-ip=eth0"}, want: []string{"spec.kubelet.flags[0]", "--node-ip"}},
		"cluster dns":             {config: map[string]any{"clusterDNS": []any{"::1", "x"}}, want: []string{"spec.kubelet.config.clusterDNS[1]", "IP address"}},
		"cluster dns is text":     {config: map[string]any{"clusterDNS": "172.20.0.10"}, want: []string{"spec.kubelet.config.clusterDNS", "list"}},
		"kind":                    {config: map[string]any{"kind": "Pod"}, want: []string{"spec.kubelet.config.kind", "KubeletConfiguration"}},
		"label of the cluster's":  {flags: []string{"--node-labels=team=a,node-role.kubernetes.io/worker="}, want: []string{"spec.kubelet.flags[0]", "node-role.kubernetes.io/worker"}},
		"labels a node may set":   {flags: []string{"--node-labels=node.kubernetes.io/x=a,x.node.kubernetes.io/y=,kubernetes.io/os=linux,eks.amazonaws.com/nodegroup=n_1.2"}},
		"label below k8s.io":      {flags: []string{"--node-labels=app.k8s.io/x=1"}, want: []string{"spec.kubelet.flags[0]", "app.k8s.io/x"}},
		"label without value":     {flags: []string{"--node-labels", "team"}, want: []string{"spec.kubelet.flags[0]", "without ="}},
		"label key with blank":    {flags: []string{"'--node-labels=a b=c'"}, want: []string{"spec.kubelet.flags[0]", "no label key"}},
		"label value":             {flags: []string{"--node-labels=a=-c"}, want: []string{"spec.kubelet.flags[0]", "no label value"}},
		"quotes":                  {flags: []string{`--node-labels="a=b`}, want: []string{"spec.kubelet.flags[0]", "counterpart"}},
		"no JSON":                 {config: map[string]any{"x": map[any]any{1: 2}}, want: []string{"spec.kubelet.config", "JSON"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, errs := kubelet.Check(c.config, c.flags, c.version)
			if len(c.want) == 0 {
				if len(errs) > 0 {
					t.Errorf("errors %v, want none", errs)
				}
				return
			}
			if len(errs) != 1 {
				t.Fatalf("%d errors %v, want one", len(errs), errs)
			}
			e := errs[0]
			if e.Path != c.want[0] || !strings.Contains(e.Reason+" "+e.Remedy, c.want[1]) {
				t.Errorf("%s: %s %s; want %q", e.Path, e.Reason, e.Remedy, c.want)
			}
		})
	}
}

// Secrets in flags do happen; an error names the flag only.
func TestCheckDoesNotRepeatValues(t *testing.T) {
	t.Parallel()
	_, errs := kubelet.Check(map[string]any{"maxPods": "hunter2"}, []string{"--tokn=hunter2", `--a=hunter2\`, "hunter2"}, kubelet.Version{})
	if len(errs) != 4 {
		t.Fatalf("%d errors, want 4", len(errs))
	}
	for _, e := range errs {
		if strings.Contains(e.Error()+e.Remedy, "hunter2") {
			t.Errorf("%v repeats a value", e)
		}
	}
}
