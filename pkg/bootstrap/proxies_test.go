package bootstrap_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// proxied are the proxies of a plan's targets, those without one left out.
func proxied(p bootstrap.Plan) map[string]string {
	out := map[string]string{}
	for _, t := range p.Targets {
		if t.Proxy != "" {
			out[t.Name] = string(t.Proxy)
		}
	}
	return out
}

func TestPlanProxies(t *testing.T) {
	t.Parallel()
	const kubelet, containerd, agent, pods = bootstrap.ConsumerKubelet, bootstrap.ConsumerContainerd, bootstrap.ConsumerAgent, bootstrap.ConsumerPods
	type environments = map[bootstrap.Consumer]bootstrap.Environment
	const proxy = "http://proxy.corp.example:3128"
	cases := map[string]struct {
		environments environments
		want         map[string]string
	}{
		"none": {nil, map[string]string{}},
		"each consumer's own": {
			environments{
				kubelet:    {HTTPSProxy: proxy, NoProxy: ".eks.amazonaws.com"},
				containerd: {HTTPSProxy: "http://other.corp.example:8080", NoProxy: "amazonaws.example,.s3.us-west-2.amazonaws.com"},
				agent:      {},
			},
			map[string]string{"ecr.api": proxy, "ecr.dkr": "http://other.corp.example:8080"},
		},
		"the agent's for units that could not be read, never for pods": {
			environments{agent: {HTTPSProxy: proxy}},
			map[string]string{"apiserver": proxy, "ecr.api": proxy, "ecr.dkr": proxy, "s3": proxy, "vault": proxy},
		},
		"pods": {environments{pods: {HTTPSProxy: proxy}}, map[string]string{}},
		"HTTP_PROXY is not for https": {
			environments{kubelet: {HTTPProxy: proxy}}, map[string]string{},
		},
		"lower case stands in": {
			environments{kubelet: {NoProxy: "ecr.us-west-2.amazonaws.com", Lower: &bootstrap.Environment{HTTPSProxy: proxy, NoProxy: "*"}}},
			map[string]string{"apiserver": proxy},
		},
		"upper case wins": {
			environments{kubelet: {HTTPSProxy: proxy, Lower: &bootstrap.Environment{HTTPSProxy: "http://lower.example"}}},
			map[string]string{"apiserver": proxy, "ecr.api": proxy},
		},
		"a block covers no name": {
			environments{kubelet: {HTTPSProxy: proxy, NoProxy: "10.0.0.0/8,169.254.169.254"}},
			map[string]string{"apiserver": proxy, "ecr.api": proxy},
		},
		"a port": {
			environments{kubelet: {HTTPSProxy: proxy, NoProxy: "amazonaws.com:443"}}, map[string]string{},
		},
		"a star": {
			environments{kubelet: {HTTPSProxy: proxy, NoProxy: "*"}}, map[string]string{},
		},
		"host and port alone": {
			environments{kubelet: {HTTPSProxy: "proxy.corp.example:3128", NoProxy: ".eks.amazonaws.com"}},
			map[string]string{"ecr.api": proxy},
		},
		"with a password": {
			environments{kubelet: {HTTPSProxy: "http://u:p@proxy.corp.example:3128", NoProxy: ".eks.amazonaws.com"}},
			map[string]string{"ecr.api": "http://u:p@proxy.corp.example:3128"},
		},
		"no URL":          {environments{kubelet: {HTTPSProxy: "http://%zz"}}, map[string]string{}},
		"no HTTP proxy":   {environments{kubelet: {HTTPSProxy: "socks5://proxy.corp.example:1080"}}, map[string]string{}},
		"no port":         {environments{kubelet: {HTTPSProxy: "http://proxy.corp.example:x"}}, map[string]string{}},
		"impossible port": {environments{kubelet: {HTTPSProxy: "http://proxy.corp.example:70000"}}, map[string]string{}},
		"no host":         {environments{kubelet: {HTTPSProxy: "http://:3128"}}, map[string]string{}},
		"the proxy itself": {
			environments{agent: {HTTPSProxy: "http://vault.corp.example:8200"}, kubelet: {}, containerd: {}}, map[string]string{},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config()
			cfg.Machine.Environments = c.environments
			cfg.Policy.Endpoints = []bootstrap.Endpoint{
				{Name: "vault", Host: "vault.corp.example", Port: 8200, Role: bootstrap.RoleWorkload, TLS: true},
				{Name: "ldap", Host: "ldap.corp.example", Port: 389, Role: bootstrap.RoleWorkload},
			}
			plan, problems := bootstrap.NewPlan(cfg, netcfg.State{})
			if len(problems) > 0 || len(plan.Targets) != 7 {
				t.Errorf("%v, %v", problems, hosts(plan))
			}
			if diff := cmp.Diff(c.want, proxied(plan)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.environments, plan.Environments); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The kubelet and containerd read their environment by net/http, so the rules must be its
// own: one process per environment, since it reads it once. The variables are those of
// this process, so the test may not run beside others.
func TestPlanProxiesAsNetHTTP(t *testing.T) {
	const upper, lower = "http://upper.example:1", "http://lower.example:2"
	t.Setenv("HTTPS_PROXY", upper)
	t.Setenv("https_proxy", lower)
	t.Setenv("NO_PROXY", ".eks.amazonaws.com")
	t.Setenv("no_proxy", "*")
	cfg := config()
	cfg.Machine.Environments = map[bootstrap.Consumer]bootstrap.Environment{
		bootstrap.ConsumerKubelet: {HTTPSProxy: upper, NoProxy: ".eks.amazonaws.com", Lower: &bootstrap.Environment{HTTPSProxy: lower, NoProxy: "*"}},
	}
	plan, _ := bootstrap.NewPlan(cfg, netcfg.State{})
	for _, target := range plan.Targets {
		if target.Consumer != bootstrap.ConsumerKubelet {
			continue
		}
		want, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: target.Host + ":443"}})
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		if want != nil {
			text = want.String()
		}
		if string(target.Proxy) != text {
			t.Errorf("%s: %q, net/http uses %q", target.Name, target.Proxy, text)
		}
	}
}

func TestPlanHostsAndCompare(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr
	state := netcfg.State{Hosts: []netcfg.HostsEntry{
		{Name: "0123456789abcdef.gr7.us-west-2.eks.amazonaws.com", Addresses: []netip.Addr{addr("10.0.9.9"), addr("10.0.9.10")}, Line: 3},
		{Name: "vault.corp.example", Addresses: []netip.Addr{addr("10.0.9.11")}, Line: 5},
		{Name: "ec2", Addresses: []netip.Addr{addr("10.0.9.12")}, Line: 6},
	}}
	for compare, want := range map[string]string{
		"": "", "off": "", "aws-names": "apiserver ecr.api ecr.dkr s3", "all": "apiserver ecr.api ecr.dkr s3 vault",
	} {
		cfg := config()
		cfg.Policy.Experiments.CompareDNS = compare
		cfg.Policy.Hosts = map[string]string{"ec2": "10.0.7.7"}
		cfg.Policy.Endpoints = []bootstrap.Endpoint{{Name: "vault", Host: "vault.corp.example", Port: 8200, Role: bootstrap.RoleOptional, TLS: true, CA: []byte("PEM")}}
		plan, _ := bootstrap.NewPlan(cfg, state)
		var compared []string
		for _, target := range plan.Targets {
			if target.Compare {
				compared = append(compared, target.Name)
			}
			if target.System != (target.Name == "apiserver") {
				t.Errorf("%s: system %v", target.Name, target.System)
			}
		}
		if got := strings.Join(compared, " "); got != want {
			t.Errorf("%q: %q, want %q", compare, got, want)
		}
		api, _ := plan.Target("apiserver")
		vault, _ := plan.Target("vault")
		ec2, _ := plan.Target("ec2")
		if len(api.Hosts) != 2 || len(vault.Hosts) != 1 || len(ec2.Hosts) != 0 || string(vault.Roots) != "PEM" || vault.Consumer != bootstrap.ConsumerAgent {
			t.Errorf("%v, %+v, %v", api.Hosts, vault, ec2.Hosts)
		}
	}
}

// FuzzPlanProxies holds for any environment: no panic, no target is lost, and a proxy is
// one to which CONNECT can be sent.
func FuzzPlanProxies(f *testing.F) {
	for _, s := range []string{"", "http://proxy.corp.example:3128", "proxy:1", "http://%zz", "socks5://x", "http://[::1]:3128", "//x", "http://u:p@h"} {
		f.Add(s, ".eks.amazonaws.com,10.0.0.0/8,*.x:443,[::1]:1")
	}
	f.Fuzz(func(t *testing.T, value, except string) {
		cfg := config()
		cfg.Machine.Environments = map[bootstrap.Consumer]bootstrap.Environment{
			bootstrap.ConsumerKubelet: {HTTPSProxy: probe.Proxy(value), NoProxy: except, Endpoints: map[string]string{"ECR": value}},
		}
		plan, _ := bootstrap.NewPlan(cfg, netcfg.State{})
		if len(plan.Targets) != 5 {
			t.Fatalf("%d targets", len(plan.Targets))
		}
		for _, target := range plan.Targets {
			u, err := url.Parse(string(target.Proxy))
			if target.Proxy != "" && (err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https") {
				t.Errorf("%s: %q", target.Name, target.Proxy)
			}
			if target.Host == "" || target.Port == 0 {
				t.Errorf("%+v", target)
			}
		}
	})
}
