package bootstrap_test

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/kubelet"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
)

// config is a complete and correct input: an m5.large in us-west-2.
func config() bootstrap.Config {
	return bootstrap.Config{
		Instance: bootstrap.Instance{
			ID: "i-0123456789abcdef0", Type: "m5.large", Region: "us-west-2", Zone: "us-west-2a", DNSSuffix: "amazonaws.com",
			MAC: "06:00:00:00:00:01", LocalHostname: "ip-10-0-1-23.corp.example", LocalIPv4: netip.MustParseAddr("10.0.1.23"),
		},
		Cluster: bootstrap.Cluster{
			Name: "blue", APIServer: "https://0123456789ABCDEF.gr7.us-west-2.eks.amazonaws.com",
			CA: []byte("-----BEGIN CERTIFICATE-----\n"), ServiceCIDR: netip.MustParsePrefix("172.20.0.0/16"),
		},
		Machine: bootstrap.Machine{CPUs: 2, KubeletVersion: kubelet.Version{Major: 1, Minor: 36, Patch: 3}, Binary: "/opt/nodeprep"},
		Origin:  map[string]string{"cluster": "user data part 1", "kubelet.flags": "user data part 2, line 7"},
	}
}

// file is the text of a planned file.
func file(t *testing.T, p bootstrap.Plan, path string) string {
	t.Helper()
	for _, f := range p.Files {
		if f.Path == path {
			return string(f.Data)
		}
	}
	t.Fatalf("the plan has no %s", path)
	return ""
}

func hosts(p bootstrap.Plan) []string {
	var out []string
	for _, t := range p.Targets {
		out = append(out, t.Name+" "+string(t.Role)+" "+t.Host)
	}
	return out
}

func TestNewPlanByRegion(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		suffix, name string
		hosts        []string
	}{
		"us-west-2": {"amazonaws.com", "ip-10-0-1-23.us-west-2.compute.internal", []string{
			"ec2 ready ec2.us-west-2.amazonaws.com",
			"ecr.api ready api.ecr.us-west-2.amazonaws.com",
			"ecr.dkr ready 602401143452.dkr.ecr.us-west-2.amazonaws.com",
			"s3 ready prod-us-west-2-starport-layer-bucket.s3.us-west-2.amazonaws.com",
		}},
		"us-east-1": {"amazonaws.com", "ip-10-0-1-23.ec2.internal", []string{
			"ec2 ready ec2.us-east-1.amazonaws.com",
			"ecr.api ready api.ecr.us-east-1.amazonaws.com",
			"ecr.dkr ready 602401143452.dkr.ecr.us-east-1.amazonaws.com",
			"s3 ready prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com",
		}},
		"cn-north-1": {"amazonaws.com.cn", "ip-10-0-1-23.cn-north-1.compute.internal", []string{
			"ec2 ready ec2.cn-north-1.amazonaws.com.cn",
			"ecr.api ready api.ecr.cn-north-1.amazonaws.com.cn",
			"ecr.dkr ready 918309763551.dkr.ecr.cn-north-1.amazonaws.com.cn",
			"s3 ready prod-cn-north-1-starport-layer-bucket.s3.cn-north-1.amazonaws.com.cn",
		}},
		"us-gov-west-1": {"amazonaws.com", "ip-10-0-1-23.us-gov-west-1.compute.internal", []string{
			"ec2 ready ec2.us-gov-west-1.amazonaws.com",
			"ecr.api ready api.ecr.us-gov-west-1.amazonaws.com",
			"ecr.dkr ready 013241004608.dkr.ecr.us-gov-west-1.amazonaws.com",
			"s3 ready prod-us-gov-west-1-starport-layer-bucket.s3.us-gov-west-1.amazonaws.com",
		}},
	}
	for region, c := range cases {
		t.Run(region, func(t *testing.T) {
			t.Parallel()
			cfg := config()
			cfg.Instance.Region, cfg.Instance.DNSSuffix = region, c.suffix
			plan, problems := bootstrap.NewPlan(cfg, netcfg.State{})
			if len(problems) > 0 {
				t.Errorf("problems %+v", problems)
			}
			want := append([]string{"apiserver gate 0123456789ABCDEF.gr7.us-west-2.eks.amazonaws.com"}, c.hosts...)
			if diff := cmp.Diff(want, hosts(plan)); diff != "" {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
			if plan.Node.Name != c.name {
				t.Errorf("name %s, want %s", plan.Node.Name, c.name)
			}
		})
	}
}

func TestNewPlanTargets(t *testing.T) {
	t.Parallel()
	cfg := config()
	cfg.Cluster.APIServer = "https://[fd00::1]:6443"
	cfg.Policy.Endpoints = []bootstrap.Endpoint{
		{Name: "mirror", Host: "mirror.corp.example", Port: 5000, Role: bootstrap.RoleWorkload, Why: "Pods pull from it."},
		{Name: "vault", Host: "vault.corp.example", Port: 8200, Role: bootstrap.RoleGate, TLS: true},
	}
	plan, problems := bootstrap.NewPlan(cfg, netcfg.State{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var names []string
	for _, target := range plan.Targets {
		names = append(names, target.Name)
		if target.Why == "" || strings.Count(target.Why, ".") != 1 || !strings.HasSuffix(target.Why, ".") {
			t.Errorf("%s: %q is not one sentence", target.Name, target.Why)
		}
		if assumed := target.Role == bootstrap.RoleReady; target.Assumed != assumed {
			t.Errorf("%s: assumed %v", target.Name, target.Assumed)
		}
		if target.Pool != (target.Name == "s3") {
			t.Errorf("%s: pool %v", target.Name, target.Pool)
		}
		if (target.Service != "") != (target.Name != "mirror" && target.Name != "vault") {
			t.Errorf("%s: service %q", target.Name, target.Service)
		}
	}
	want := []string{"apiserver", "vault", "ec2", "ecr.api", "ecr.dkr", "s3", "mirror"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	api := plan.Targets[0]
	if api.Host != "fd00::1" || api.Port != 6443 || !api.TLS || string(api.Roots) != string(cfg.Cluster.CA) {
		t.Errorf("apiserver is %+v", api)
	}
	if len(api.Requests) != 1 || api.Requests[0].Method != "GET" || api.Requests[0].Path != "/readyz" || api.Requests[0].BodyLimit != 1024 || api.Requests[0].Header != nil {
		t.Errorf("requests %+v", api.Requests)
	}
	mirror, _ := plan.Target("mirror")
	if mirror.Port != 5000 || mirror.TLS || mirror.Why != "Pods pull from it." {
		t.Errorf("mirror is %+v", mirror)
	}
	for _, target := range plan.Targets[2:6] {
		if target.Port != 443 || !target.TLS || target.Roots != nil || target.Requests != nil {
			t.Errorf("%s is %+v", target.Name, target)
		}
	}
}

func TestNewPlanWithoutCluster(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change    func(*bootstrap.Cluster)
		apiserver bool
	}{
		"nothing":     {func(c *bootstrap.Cluster) { *c = bootstrap.Cluster{} }, false},
		"no name":     {func(c *bootstrap.Cluster) { c.Name = "" }, true},
		"no endpoint": {func(c *bootstrap.Cluster) { c.APIServer = "" }, false},
		"no CA":       {func(c *bootstrap.Cluster) { c.CA = nil }, false},
		"no CIDR":     {func(c *bootstrap.Cluster) { c.ServiceCIDR = netip.Prefix{} }, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config()
			c.change(&cfg.Cluster)
			plan, problems := bootstrap.NewPlan(cfg, netcfg.State{})
			if len(problems) > 0 {
				t.Errorf("problems %+v", problems)
			}
			if len(plan.Files) != 0 {
				t.Errorf("%d files", len(plan.Files))
			}
			if _, ok := plan.Target("apiserver"); ok != c.apiserver {
				t.Errorf("apiserver target: %v", ok)
			}
			if _, ok := plan.Target("s3"); !ok {
				t.Errorf("targets %v", hosts(plan))
			}
			if plan.Node.Name == "" || !plan.Node.IP.IsValid() || !slices.Equal(plan.Units, []string{"kubelet.service"}) {
				t.Errorf("node %+v, units %v", plan.Node, plan.Units)
			}
		})
	}
}

func TestNewPlanNode(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr
	cases := map[string]struct {
		change func(*bootstrap.Config)
		state  netcfg.State
		want   bootstrap.Node
	}{
		"IP name, custom DHCP domain": {
			change: func(*bootstrap.Config) {},
			want: bootstrap.Node{
				Name: "ip-10-0-1-23.us-west-2.compute.internal", IP: addr("10.0.1.23"), ProviderID: "aws:///us-west-2a/i-0123456789abcdef0",
				ClusterDNS: []netip.Addr{addr("172.20.0.10")},
			},
		},
		"resource name": {
			change: func(c *bootstrap.Config) {
				c.Instance.LocalHostname = "i-0123456789abcdef0.corp.example"
				c.Cluster.ServiceCIDR = netip.MustParsePrefix("10.100.0.0/16")
			},
			want: bootstrap.Node{
				Name: "i-0123456789abcdef0.us-west-2.compute.internal", IP: addr("10.0.1.23"), ProviderID: "aws:///us-west-2a/i-0123456789abcdef0",
				ClusterDNS: []netip.Addr{addr("10.100.0.10")},
			},
		},
		"resource name in us-east-1": {
			change: func(c *bootstrap.Config) {
				c.Instance.LocalHostname, c.Instance.Region, c.Instance.Zone = "i-0123456789abcdef0", "us-east-1", "us-east-1-bos-1a"
			},
			want: bootstrap.Node{
				Name: "i-0123456789abcdef0.ec2.internal", IP: addr("10.0.1.23"), ProviderID: "aws:///us-east-1-bos-1a/i-0123456789abcdef0",
				ClusterDNS: []netip.Addr{addr("172.20.0.10")},
			},
		},
		"IPv6 services": {
			change: func(c *bootstrap.Config) {
				c.Cluster.ServiceCIDR = netip.MustParsePrefix("fd40:6404:f93b::/108")
				c.Instance.IPv6 = []netip.Addr{addr("2600:1f14::9"), addr("2600:1f14::17")}
			},
			want: bootstrap.Node{
				Name: "ip-10-0-1-23.us-west-2.compute.internal", IP: addr("2600:1f14::9"), ProviderID: "aws:///us-west-2a/i-0123456789abcdef0",
				ClusterDNS: []netip.Addr{addr("fd40:6404:f93b::a")},
			},
		},
		"of several IPv6 addresses the one that a link has": {
			change: func(c *bootstrap.Config) {
				c.Cluster.ServiceCIDR = netip.MustParsePrefix("fd40:6404:f93b::/108")
				c.Instance.IPv6 = []netip.Addr{addr("2600:1f14::9"), addr("2600:1f14::17")}
			},
			state: netcfg.State{Links: []netcfg.Link{{Addresses: []netip.Prefix{netip.MustParsePrefix("2600:1f14::17/128")}}}},
			want: bootstrap.Node{
				Name: "ip-10-0-1-23.us-west-2.compute.internal", IP: addr("2600:1f14::17"), ProviderID: "aws:///us-west-2a/i-0123456789abcdef0",
				ClusterDNS: []netip.Addr{addr("fd40:6404:f93b::a")},
			},
		},
		"the user's own": {
			change: func(c *bootstrap.Config) {
				c.Kubelet.Flags = []string{"--hostname-override=n1 --node-ip=10.0.1.99"}
				c.Kubelet.Config = map[string]any{"providerID": "aws:///x/i-9", "clusterDNS": []any{"169.254.20.10"}}
			},
			want: bootstrap.Node{
				Name: "n1", IP: addr("10.0.1.99"), ProviderID: "aws:///x/i-9", ClusterDNS: []netip.Addr{addr("169.254.20.10")},
			},
		},
		"a node IP that leaves the choice to the kubelet": {
			change: func(c *bootstrap.Config) { c.Kubelet.Flags = []string{"--node-ip=0.0.0.0"} },
			want: bootstrap.Node{
				Name: "ip-10-0-1-23.us-west-2.compute.internal", IP: addr("10.0.1.23"), ProviderID: "aws:///us-west-2a/i-0123456789abcdef0",
				ClusterDNS: []netip.Addr{addr("172.20.0.10")},
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config()
			c.change(&cfg)
			plan, problems := bootstrap.NewPlan(cfg, c.state)
			if len(problems) > 0 {
				t.Errorf("problems %+v", problems)
			}
			c.want.MaxPods, c.want.MaxPodsWhy = plan.Node.MaxPods, plan.Node.MaxPodsWhy
			if diff := cmp.Diff(c.want, plan.Node, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("node (-want +got):\n%s", diff)
			}
			env := file(t, plan, kubelet.EnvironmentPath)
			for _, flag := range []string{"--hostname-override=" + c.want.Name + " ", "--node-ip=" + c.want.IP.String() + " "} {
				if !strings.Contains(env, flag) {
					t.Errorf("no %q in %s", flag, env)
				}
			}
			if text := file(t, plan, kubelet.KubeconfigPath); !strings.Contains(text, `"command": "/opt/nodeprep"`) {
				t.Errorf("kubeconfig:\n%s", text)
			}
		})
	}
}

func TestNewPlanProblems(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(*bootstrap.Config)
		want   bootstrap.Problem // code, path, origin
	}{
		"service range too small": {
			func(c *bootstrap.Config) { c.Cluster.ServiceCIDR = netip.MustParsePrefix("172.20.0.0/29") },
			bootstrap.Problem{Code: "NP-CFG-106", Path: "spec.cluster.cidr", Origin: "user data part 1"},
		},
		"IPv6 services, no IPv6": {
			func(c *bootstrap.Config) { c.Cluster.ServiceCIDR = netip.MustParsePrefix("fd40::/108") },
			bootstrap.Problem{Code: "NP-LNK-109", Path: "instance.ipv6"},
		},
		"endpoint": {
			func(c *bootstrap.Config) { c.Cluster.APIServer = "http://x" },
			bootstrap.Problem{Code: "NP-CFG-104", Path: "spec.cluster.apiServerEndpoint", Origin: "user data part 1"},
		},
		"no name to derive": {
			func(c *bootstrap.Config) {
				c.Instance.LocalIPv4 = netip.Addr{}
				c.Kubelet.Flags = []string{"--node-ip=10.0.0.1"}
			},
			bootstrap.Problem{Code: "NP-NOD-104", Path: "instance.localHostname"},
		},
		"name taken": {
			func(c *bootstrap.Config) {
				c.Policy.Endpoints = []bootstrap.Endpoint{{Name: "ec2", Host: "x", Port: 1, Role: bootstrap.RoleReady}}
			},
			bootstrap.Problem{Code: "NP-CFG-102", Path: "spec.endpoints[0].name"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config()
			c.change(&cfg)
			plan, problems := bootstrap.NewPlan(cfg, netcfg.State{})
			if len(problems) != 1 {
				t.Fatalf("problems %+v, want one", problems)
			}
			p := problems[0]
			if p.Code != c.want.Code || p.Path != c.want.Path || p.Origin != c.want.Origin || p.Warning || p.Message == "" || p.Remedy == "" {
				t.Errorf("problem %+v, want %+v", p, c.want)
			}
			if len(plan.Files) > 0 {
				t.Errorf("%d files of an input that a kubelet refuses", len(plan.Files))
			}
		})
	}
}

// What a kubelet refuses is ReadConfig's to report; there are no files for it.
func TestNewPlanOfRefusedSettings(t *testing.T) {
	t.Parallel()
	cfg := config()
	cfg.Kubelet.Flags = []string{"--v=2", "--node-lables=a=b"}
	plan, problems := bootstrap.NewPlan(cfg, netcfg.State{})
	if len(plan.Files) > 0 || len(problems) > 0 || len(plan.Targets) == 0 {
		t.Errorf("%d files, %d targets, problems %+v", len(plan.Files), len(plan.Targets), problems)
	}
}

func TestNewPlanIsPure(t *testing.T) {
	t.Parallel()
	cfg := config()
	cfg.Kubelet.Config = map[string]any{"maxPods": 20}
	cfg.Policy.Endpoints = []bootstrap.Endpoint{{Name: "b", Host: "b", Port: 1, Role: bootstrap.RoleOptional}, {Name: "a", Host: "a", Port: 1, Role: bootstrap.RoleGate}}
	first, _ := bootstrap.NewPlan(cfg, netcfg.State{})
	second, _ := bootstrap.NewPlan(cfg, netcfg.State{})
	if !reflect.DeepEqual(first, second) {
		t.Error("two plans of one input differ")
	}
	if cfg.Policy.Endpoints[0].Name != "b" || len(cfg.Kubelet.Config) != 1 {
		t.Error("NewPlan changed its input")
	}
}
