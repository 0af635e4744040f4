package bootstrap_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
)

var updatePlan = flag.Bool("update-plan", false, "write the goldens of testdata/plan anew")

func comparePlanGolden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "plan", name)
	if *updatePlan {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", file, diff)
	}
}

// needing is the plan of config with these needs.
func needing(t *testing.T, needs ...string) bootstrap.Plan {
	t.Helper()
	cfg := config()
	cfg.Policy.Needs = []bootstrap.Need{}
	for _, n := range needs {
		cfg.Policy.Needs = append(cfg.Policy.Needs, bootstrap.Need{Name: n})
	}
	plan, problems := bootstrap.NewPlan(cfg, netcfg.State{})
	if len(problems) > 0 {
		t.Errorf("%v: %v", needs, problems)
	}
	return plan
}

// TestNeedsGolden shows what each need asks for, with its notes.
func TestNeedsGolden(t *testing.T) {
	t.Parallel()
	for _, n := range bootstrap.KnownNeeds() {
		plan := needing(t, n.Name)
		text, err := json.MarshalIndent(map[string]any{"need": n, "targets": plan.Targets}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		comparePlanGolden(t, "need-"+n.Name+".json", string(text)+"\n")
		var services []string
		for _, target := range plan.Targets[1:] {
			services = append(services, target.Service)
			if !slices.Equal(target.Needs, []string{n.Name}) || target.Assumed {
				t.Errorf("%s: %+v", n.Name, target)
			}
		}
		slices.Sort(services)
		if want := slices.Sorted(slices.Values(n.Services)); !slices.Equal(services, want) {
			t.Errorf("%s: %v, want %v", n.Name, services, want)
		}
	}
}

// Every sentence shown to people is one, and no service is named that is none.
func TestNeedsTable(t *testing.T) {
	t.Parallel()
	sentence := func(s string) bool {
		return strings.HasSuffix(s, ".") && strings.ToUpper(s[:1]) == s[:1] && !strings.Contains(s, "  ")
	}
	asked := map[string]bool{}
	for _, n := range bootstrap.KnownNeeds() {
		for _, note := range append(n.Notes, n.About) {
			if !sentence(note) {
				t.Errorf("%s: %q", n.Name, note)
			}
		}
		for _, s := range n.Services {
			asked[s] = true
			if !slices.Contains(bootstrap.ServiceNames(), s) {
				t.Errorf("%s asks for %s, which is no service", n.Name, s)
			}
		}
	}
	for _, s := range bootstrap.ServiceNames() {
		if !asked[s] {
			t.Errorf("no need asks for %s", s)
		}
	}
	for _, note := range bootstrap.EndpointNotes() {
		if !sentence(note) {
			t.Error(note)
		}
	}
}

// Notes that the references make a point of must be shown with their need.
func TestNeedsNotes(t *testing.T) {
	t.Parallel()
	for need, want := range map[string][]string{
		"vpc-cni":                  {"EXTERNALSNAT"},
		"image-pull":               {"AWS_USE_DUALSTACK_ENDPOINT", "prefix list", "route table"},
		"irsa":                     {"AWS_STS_REGIONAL_ENDPOINTS=regional", "sts.amazonaws.com"},
		"pod-identity":             {"none under amazonaws.com", "169.254.170.23"},
		"load-balancer-controller": {"--enable-shield=false", "--enable-wafv2=false", "ACM", "ip only"},
		"cluster-autoscaler":       {"--aws-use-static-instance-list=true", "AWS_STS_REGIONAL_ENDPOINTS"},
		"karpenter":                {"isolatedVPC"},
		"efs-csi":                  {"cluster's own region"},
	} {
		var shown strings.Builder
		for _, target := range needing(t, need).Targets {
			shown.WriteString(strings.Join(target.Notes, "\n"))
		}
		for _, w := range want {
			if !strings.Contains(shown.String(), w) {
				t.Errorf("%s: no note with %q", need, w)
			}
		}
	}
	notes := strings.Join(bootstrap.EndpointNotes(), "\n")
	for _, w := range []string{"per zone", "minutes", "Marketplace", "443"} {
		if !strings.Contains(notes, w) {
			t.Errorf("no note with %q", w)
		}
	}
}

// A service of several needs is one target with the strongest role.
func TestNeedsShareTargets(t *testing.T) {
	t.Parallel()
	plan := needing(t, "ebs-csi", "cluster-autoscaler", "vpc-cni", "ssm", "image-pull")
	var got []string
	for _, target := range plan.Targets {
		got = append(got, target.Name+" "+string(target.Role)+" "+strings.Join(target.Needs, ","))
	}
	want := []string{
		"apiserver gate ", "ec2 ready ebs-csi,cluster-autoscaler,vpc-cni", "s3 ready ssm,image-pull", "ecr.api ready image-pull", "ecr.dkr ready image-pull",
		"autoscaling workload cluster-autoscaler", "sts workload cluster-autoscaler", "ssm workload ssm", "ssmmessages workload ssm", "ec2messages optional ssm",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	ec2, _ := plan.Target("ec2")
	if !strings.Contains(ec2.Why, "VPC CNI") || len(ec2.Notes) < 2 {
		t.Errorf("%q, %q", ec2.Why, ec2.Notes)
	}
	s3, _ := plan.Target("s3")
	if !s3.Pool || !strings.Contains(s3.Why, "ECR") {
		t.Errorf("%+v", s3)
	}
}

// Nobody's needs are those of most nodes; no needs are none.
func TestNeedsDefault(t *testing.T) {
	t.Parallel()
	plan, _ := bootstrap.NewPlan(config(), netcfg.State{})
	for _, target := range plan.Targets[1:] {
		if !target.Assumed || len(target.Needs) != 1 {
			t.Errorf("%+v", target)
		}
	}
	if !plan.Policy.AssumedNeeds || len(plan.Policy.Needs) != 2 || len(plan.Targets) != 5 {
		t.Errorf("%+v, %d targets", plan.Policy.Needs, len(plan.Targets))
	}
	if plan := needing(t); len(plan.Targets) != 1 {
		t.Errorf("%v", hosts(plan))
	}
}

func environments(c bootstrap.Consumer, e bootstrap.Environment) map[bootstrap.Consumer]bootstrap.Environment {
	return map[bootstrap.Consumer]bootstrap.Environment{c: e}
}

func TestPlanNames(t *testing.T) {
	t.Parallel()
	const kubelet, containerd, agent, pods = bootstrap.ConsumerKubelet, bootstrap.ConsumerContainerd, bootstrap.ConsumerAgent, bootstrap.ConsumerPods
	cases := map[string]struct {
		change   func(*bootstrap.Config)
		want     map[string]string // target: host:port
		problems string            // codes
		message  []string          // parts of messages, remedies and origins
	}{
		"as the kubelet is told": {
			change: func(c *bootstrap.Config) {
				c.Machine.Environments = environments(kubelet, bootstrap.Environment{FIPS: true, Unit: "kubelet.service"})
			},
			want: map[string]string{"ec2": "ec2.us-west-2.amazonaws.com", "ecr.api": "ecr-fips.us-west-2.amazonaws.com", "ecr.dkr": "602401143452.dkr.ecr.us-west-2.amazonaws.com"},
		},
		"the agent's stands in for a unit that could not be read": {
			change: func(c *bootstrap.Config) {
				c.Machine.Environments = environments(agent, bootstrap.Environment{FIPS: true})
			},
			want: map[string]string{"ecr.api": "ecr-fips.us-west-2.amazonaws.com", "ec2": "ec2.us-west-2.amazonaws.com"},
		},
		"the kubelet's own wins over the agent's": {
			change: func(c *bootstrap.Config) {
				c.Machine.Environments = environments(agent, bootstrap.Environment{FIPS: true})
				c.Machine.Environments[kubelet] = bootstrap.Environment{}
			},
			want: map[string]string{"ecr.api": "api.ecr.us-west-2.amazonaws.com"},
		},
		"images decide what containerd asks": {
			change: func(c *bootstrap.Config) {
				c.Machine.Environments = environments(containerd, bootstrap.Environment{FIPS: true, DualStack: true, Endpoints: map[string]string{"": "https://x.example", "S3": "https://x.example"}})
			},
			want: map[string]string{"ecr.dkr": "602401143452.dkr.ecr.us-west-2.amazonaws.com", "s3": "prod-us-west-2-starport-layer-bucket.s3.us-west-2.amazonaws.com"},
		},
		"nothing is known of pods": {
			change: func(c *bootstrap.Config) {
				c.Machine.Environments = environments(pods, bootstrap.Environment{FIPS: true, Endpoints: map[string]string{"EC2": "https://x.example"}})
			},
			want: map[string]string{"ec2": "ec2.us-west-2.amazonaws.com"},
		},
		"always FIPS": {
			change: func(c *bootstrap.Config) { c.Policy.FIPS = bootstrap.VariantAlways },
			want: map[string]string{
				"ec2": "ec2-fips.us-west-2.amazonaws.com", "ecr.api": "ecr-fips.us-west-2.amazonaws.com",
				"ecr.dkr": "602401143452.dkr.ecr-fips.us-west-2.amazonaws.com", "s3": "prod-us-west-2-starport-layer-bucket.s3-fips.us-west-2.amazonaws.com",
			},
		},
		"never FIPS, whatever the kubelet is told": {
			change: func(c *bootstrap.Config) {
				c.Policy.FIPS = bootstrap.VariantNever
				c.Machine.Environments = environments(kubelet, bootstrap.Environment{FIPS: true})
			},
			want: map[string]string{"ecr.api": "api.ecr.us-west-2.amazonaws.com"},
		},
		"FIPS where there is none": {
			change: func(c *bootstrap.Config) {
				c.Instance.Region, c.Policy.FIPS = "eu-west-1", bootstrap.VariantAlways
				c.Origin["names.fips"] = "user data part 3, line 5"
			},
			want:     map[string]string{"ec2": "ec2-fips.eu-west-1.amazonaws.com"},
			problems: "NP-CFG-112",
			message:  []string{"no FIPS name in eu-west-1 for ec2, ecr.api, ecr.dkr, s3", "user data part 3, line 5", "spec.names.fips"},
		},
		"a name that cannot even be made": {
			change: func(c *bootstrap.Config) {
				c.Instance.Region, c.Instance.DNSSuffix, c.Policy.FIPS = "cn-north-1", "amazonaws.com.cn", bootstrap.VariantAlways
			},
			want:     map[string]string{"ecr.dkr": "918309763551.dkr.ecr.cn-north-1.amazonaws.com.cn"},
			problems: "NP-CFG-112",
		},
		"dual-stack by the kubelet's unit on a node without IPv6": {
			change: func(c *bootstrap.Config) {
				c.Machine.Environments = environments(kubelet, bootstrap.Environment{DualStack: true, Unit: "kubelet.service"})
			},
			want:     map[string]string{"ecr.api": "ecr.us-west-2.api.aws"},
			problems: "NP-CFG-113",
			message:  []string{"kubelet.service", "Remove AWS_USE_DUALSTACK_ENDPOINT from kubelet.service."},
		},
		"dual-stack on a node with IPv6": {
			change: func(c *bootstrap.Config) {
				c.Instance.IPv6, c.Policy.DualStack = []netip.Addr{netip.MustParseAddr("2600::1")}, bootstrap.VariantAlways
			},
			want: map[string]string{
				"ec2": "ec2.us-west-2.api.aws", "ecr.dkr": "602401143452.dkr-ecr.us-west-2.on.aws",
				"s3": "prod-us-west-2-starport-layer-bucket.s3.dualstack.us-west-2.amazonaws.com",
			},
		},
		"Pod Identity where there is none": {
			change: func(c *bootstrap.Config) {
				c.Instance.Region, c.Instance.DNSSuffix = "us-iso-east-1", "c2s.ic.gov"
				c.Policy.Needs = []bootstrap.Need{{Name: "pod-identity"}, {Name: "irsa"}}
			},
			want:     map[string]string{"eks-auth": "", "sts": "sts.us-iso-east-1.c2s.ic.gov"},
			problems: "NP-CFG-112",
			message:  []string{"the partition aws-iso does not offer eks-auth", "spec.needs"},
		},
		"endpoints of the environment": {
			change: func(c *bootstrap.Config) {
				c.Machine.Environments = environments(kubelet, bootstrap.Environment{
					FIPS: true, Endpoints: map[string]string{"": "https://all.example", "ECR": "http://vpce-1.example:8080/x"}, Unit: "kubelet.service",
				})
			},
			want: map[string]string{"ecr.api": "vpce-1.example:8080", "ec2": "ec2.us-west-2.amazonaws.com"},
		},
		"one endpoint for all services": {
			change: func(c *bootstrap.Config) {
				c.Machine.Environments = environments(kubelet, bootstrap.Environment{Endpoints: map[string]string{"": "http://all.example"}})
			},
			want: map[string]string{"ecr.api": "all.example:80"},
		},
		"a bad endpoint of the environment": {
			change: func(c *bootstrap.Config) {
				c.Machine.Environments = environments(kubelet, bootstrap.Environment{Endpoints: map[string]string{"ECR": "vpce-1.example"}, Unit: "kubelet.service"})
			},
			want:     map[string]string{"ecr.api": "api.ecr.us-west-2.amazonaws.com"},
			problems: "NP-CFG-102",
			message:  []string{"kubelet.service", "AWS_ENDPOINT_URL_ECR"},
		},
		"hosts win over everything": {
			change: func(c *bootstrap.Config) {
				c.Policy.Hosts = map[string]string{"ecr.api": "vpce-2.ecr.us-west-2.vpce.amazonaws.com", "ec2": "10.0.0.9"}
				c.Policy.FIPS = bootstrap.VariantNever
				c.Machine.Environments = environments(kubelet, bootstrap.Environment{Endpoints: map[string]string{"ECR": "https://vpce-1.example"}})
			},
			want: map[string]string{"ecr.api": "vpce-2.ecr.us-west-2.vpce.amazonaws.com", "ec2": "10.0.0.9"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config()
			c.change(&cfg)
			plan, problems := bootstrap.NewPlan(cfg, netcfg.State{})
			var codes, said []string
			for _, p := range problems {
				codes = append(codes, string(p.Code))
				said = append(said, p.Path, p.Origin, p.Message, p.Remedy)
				if !p.Warning {
					t.Errorf("not a warning: %+v", p)
				}
			}
			if got := strings.Join(codes, " "); got != c.problems {
				t.Errorf("problems %q, want %q: %v", got, c.problems, problems)
			}
			for _, m := range c.message {
				if !strings.Contains(strings.Join(said, "\n"), m) {
					t.Errorf("no %q in %v", m, problems)
				}
			}
			for target, want := range c.want {
				got, ok := plan.Target(target)
				host, port, _ := strings.Cut(want, ":")
				if ok != (want != "") || got.Host != host || ok && got.TLS != (port == "") || port == "" && ok && got.Port != 443 {
					t.Errorf("%s is %s:%d, TLS %v, want %s", target, got.Host, got.Port, got.TLS, want)
				}
			}
		})
	}
}

// An empty list of needs says that there are none; what was left out says nothing.
func TestNoNeeds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		specs   []string
		want    int
		assumed bool
	}{
		{nil, 2, true},
		{[]string{"needs:"}, 2, true},
		{[]string{"needs: null"}, 2, true},
		{[]string{"needs: []"}, 0, false},
		{[]string{"needs: [irsa, kms, ssm]", "needs: []"}, 0, false},
		{[]string{"needs: []", "needs: [kms]"}, 1, false},
		{[]string{"needs: [irsa, kms, ssm]", "needs: null"}, 3, false},
		{[]string{"cni: other"}, 1, true},
		{[]string{"cni: other", "needs: [vpc-cni]"}, 0, false},
	} {
		sources := []bootstrap.Source{{Name: "user data", UserData: true, Data: []byte(validNodeConfig(t, ""))}}
		for i, spec := range c.specs {
			sources = append(sources, bootstrap.Source{
				Name: fmt.Sprintf("/etc/nodeprep/conf.d/%d0.yaml", i+1),
				Data: []byte("apiVersion: nodeprep.io/v1alpha1\nkind: PrepConfig\nspec:\n  mode: quorum\n  " + spec + "\n"),
			})
		}
		cfg, problems := bootstrap.ReadConfig(sources, bootstrap.Instance{}, testMachine())
		if len(problems) != 0 || len(cfg.Policy.Needs) != c.want || cfg.Policy.Needs == nil || cfg.Policy.AssumedNeeds != c.assumed {
			t.Errorf("%q: needs %#v, assumed %v, problems %+v", c.specs, cfg.Policy.Needs, cfg.Policy.AssumedNeeds, problems)
		}
		cfg.Instance = config().Instance
		if plan, _ := bootstrap.NewPlan(cfg, netcfg.State{}); plan.Policy.AssumedNeeds != c.assumed || len(plan.Policy.Needs) != c.want {
			t.Errorf("%q: planned with %v", c.specs, plan.Policy.Needs)
		}
	}
}
