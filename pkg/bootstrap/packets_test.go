package bootstrap_test

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
)

// packetConfig is a node with everything that sends packets.
func packetConfig() (bootstrap.Config, netcfg.State) {
	cfg := config()
	cfg.Instance.VPC = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("100.64.0.0/16"), netip.MustParsePrefix("2600:1f14::/56")}
	cfg.Policy.Experiments = bootstrap.ExperimentPolicy{
		CompareDNS: "aws-names", DirectPath: "private", SecondSNI: true, SmallHello: true, MSSClamp: true, UDPTest: true, NTP: true,
	}
	cfg.Policy.Needs = []bootstrap.Need{{Name: "vpc-cni"}, {Name: "image-pull"}}
	cfg.Policy.Hosts = map[string]string{"ecr.api": "10.0.7.7"}
	cfg.Policy.Endpoints = []bootstrap.Endpoint{{Name: "ldap", Host: "ldap.corp.example", Port: 636, Role: bootstrap.RoleWorkload, TLS: true}}
	cfg.Machine.Environments = map[bootstrap.Consumer]bootstrap.Environment{
		bootstrap.ConsumerContainerd: {HTTPSProxy: "http://u:secret@proxy.corp.example:3128", NoProxy: ".s3.us-west-2.amazonaws.com"},
	}
	return cfg, netcfg.State{
		Links: []netcfg.Link{
			{Name: "lo", Loopback: true, Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")}},
			{Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.1.23/24"), netip.MustParsePrefix("fe80::1/64"), netip.MustParsePrefix("2600:1f14::23/128")}},
		},
		DNS:   netcfg.DNS{Servers: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.2:53"), netip.MustParseAddrPort("10.9.0.53:53")}, Search: []string{"corp.example"}, Stub: true},
		Hosts: []netcfg.HostsEntry{{Name: "ldap.corp.example", Addresses: []netip.Addr{netip.MustParseAddr("10.0.9.9")}, Line: 4}},
	}
}

func TestPacketsGolden(t *testing.T) {
	t.Parallel()
	cfg, state := packetConfig()
	plan, problems := bootstrap.NewPlan(cfg, state)
	if len(problems) > 0 {
		t.Error(problems)
	}
	packets := plan.Packets(state)
	text, err := json.MarshalIndent(packets, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "secret") {
		t.Error("the list has a password")
	}
	comparePlanGolden(t, "packets.json", string(text)+"\n")
	for i, p := range packets {
		if p.Port == 0 || p.When == "" || p.Why == "" || p.Address.IsValid() == (p.Host != "") || (p.Proto != "tcp" && p.Proto != "udp") {
			t.Errorf("incomplete: %+v", p)
		}
		if slices.ContainsFunc(packets[:i], func(o bootstrap.Packet) bool { return reflect.DeepEqual(o, p) }) {
			t.Errorf("twice: %+v", p)
		}
	}
}

// An experiment that is switched off is not in the list, and is not made.
func TestPacketsWithoutExperiments(t *testing.T) {
	t.Parallel()
	has := func(ps []bootstrap.Packet, f func(bootstrap.Packet) bool) bool { return slices.ContainsFunc(ps, f) }
	to := func(addr string) func(bootstrap.Packet) bool {
		return func(p bootstrap.Packet) bool { return p.Address == netip.MustParseAddr(addr) }
	}
	for name, c := range map[string]struct {
		off  func(*bootstrap.ExperimentPolicy)
		gone func(bootstrap.Packet) bool
	}{
		"compareDNS 4":   {func(e *bootstrap.ExperimentPolicy) { e.CompareDNS = "off" }, to("169.254.169.253")},
		"compareDNS 6":   {func(e *bootstrap.ExperimentPolicy) { e.CompareDNS = "off" }, to("fd00:ec2::253")},
		"ntp 4":          {func(e *bootstrap.ExperimentPolicy) { e.NTP = false }, to("169.254.169.123")},
		"ntp 6":          {func(e *bootstrap.ExperimentPolicy) { e.NTP = false }, to("fd00:ec2::123")},
		"udpTest":        {func(e *bootstrap.ExperimentPolicy) { e.UDPTest = false }, func(p bootstrap.Packet) bool { return p.Proto == "udp" && p.Port == 443 }},
		"directPath":     {func(e *bootstrap.ExperimentPolicy) { e.DirectPath = "off" }, func(p bootstrap.Packet) bool { return p.PrivateOnly }},
		"directPath DNS": {func(e *bootstrap.ExperimentPolicy) { e.DirectPath = "off" }, func(p bootstrap.Packet) bool { return strings.Contains(p.When, "proxy") && p.Port == 53 }},
	} {
		cfg, state := packetConfig()
		plan, _ := bootstrap.NewPlan(cfg, state)
		if !has(plan.Packets(state), c.gone) {
			t.Errorf("%s: not in the list when it is on", name)
		}
		c.off(&cfg.Policy.Experiments)
		plan, _ = bootstrap.NewPlan(cfg, state)
		if has(plan.Packets(state), c.gone) {
			t.Errorf("%s: in the list when it is off", name)
		}
	}
}

// TestPacketsCoverPlan holds that the list has every target, every server, and all that
// Plan.Experiments hands to the prober.
func TestPacketsCoverPlan(t *testing.T) {
	t.Parallel()
	cfg, state := packetConfig()
	for _, n := range bootstrap.KnownNeeds() {
		cfg.Policy.Needs = append(cfg.Policy.Needs, bootstrap.Need{Name: n.Name})
	}
	plan, _ := bootstrap.NewPlan(cfg, state)
	packets := plan.Packets(state)
	has := func(f func(bootstrap.Packet) bool) bool { return slices.ContainsFunc(packets, f) }
	for _, target := range plan.Targets {
		at := target.Host
		if !has(func(p bootstrap.Packet) bool {
			return p.Proto == "tcp" && p.Port == target.Port && (p.Host == at || p.Address.IsValid() && p.Address.String() == at)
		}) {
			t.Errorf("no packet to %s", at)
		}
		if _, err := netip.ParseAddr(at); err == nil {
			continue
		}
		for _, server := range state.DNS.Servers {
			for _, proto := range []string{"udp", "tcp"} {
				if !has(func(p bootstrap.Packet) bool {
					return p.Proto == proto && p.Address == server.Addr() && p.Port == 53 && slices.Contains(p.Names, at)
				}) {
					t.Errorf("no question for %s to %s over %s", at, server, proto)
				}
			}
		}
	}
	e := plan.Experiments(state)
	for _, server := range slices.Concat(e.References, e.NTP) {
		if !has(func(p bootstrap.Packet) bool {
			return p.Proto == "udp" && p.Address == server.Addr() && p.Port == server.Port()
		}) {
			t.Errorf("no packet to %s", server)
		}
	}
}

// With many dots wanted, the search domains come first.
func TestPacketsNDots(t *testing.T) {
	t.Parallel()
	for ndots, want := range map[int]string{1: "when the name itself is not found", 5: "when the name itself is not found", 6: "always"} {
		cfg, state := packetConfig()
		state.DNS.NDots = ndots
		plan, _ := bootstrap.NewPlan(cfg, state)
		name := plan.Targets[0].Host + ".corp.example"
		for _, p := range plan.Packets(state) {
			if p.Proto == "udp" && slices.Contains(p.Names, name) && p.When != want {
				t.Errorf("ndots %d: %+v", ndots, p)
			}
		}
	}
}

func TestPlanExperiments(t *testing.T) {
	t.Parallel()
	all := bootstrap.ExperimentPolicy{CompareDNS: "aws-names", DirectPath: "private", SecondSNI: true, SmallHello: true, MSSClamp: true, UDPTest: true, NTP: true}
	link := func(addresses ...string) netcfg.State {
		l := netcfg.Link{Name: "eth0"}
		for _, a := range addresses {
			l.Addresses = append(l.Addresses, netip.MustParsePrefix(a))
		}
		return netcfg.State{Links: []netcfg.Link{{Name: "lo", Loopback: true, Addresses: []netip.Prefix{netip.MustParsePrefix("::1/128")}}, l}}
	}
	prefixes := func(s ...string) []netip.Prefix {
		var out []netip.Prefix
		for _, p := range s {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	tentative := link("10.0.1.23/24", "2600::1/128")
	tentative.Links[1].Tentative = []netip.Addr{netip.MustParseAddr("2600::1")}
	for name, c := range map[string]struct {
		policy           bootstrap.ExperimentPolicy
		state            netcfg.State
		vpc              []netip.Prefix
		references, time string
		direct           bool
	}{
		"IPv4":                {all, link("10.0.1.23/24", "fe80::1/64"), prefixes("10.0.0.0/16", "100.64.0.0/16"), "169.254.169.253:53 10.0.0.2:53", "169.254.169.123:123", true},
		"both":                {all, link("10.0.1.23/24", "2600::1/128"), prefixes("2600::/56", "172.31.16.0/20"), "169.254.169.253:53 172.31.16.2:53 [fd00:ec2::253]:53", "169.254.169.123:123 [fd00:ec2::123]:123", true},
		"IPv6 alone":          {all, link("2600::1/128"), prefixes("2600::/56"), "[fd00:ec2::253]:53", "[fd00:ec2::123]:123", true},
		"a tentative address": {all, tentative, nil, "169.254.169.253:53", "169.254.169.123:123", true},
		"on a laptop":         {all, netcfg.State{}, prefixes("10.0.0.0/16"), "169.254.169.253:53 10.0.0.2:53", "169.254.169.123:123", true},
		"none":                {bootstrap.ExperimentPolicy{}, link("10.0.1.23/24"), nil, "", "", false},
		"off":                 {bootstrap.ExperimentPolicy{CompareDNS: "off", DirectPath: "off"}, link("10.0.1.23/24"), nil, "", "", false},
	} {
		cfg := config()
		cfg.Policy.Experiments, cfg.Instance.VPC = c.policy, c.vpc
		plan, _ := bootstrap.NewPlan(cfg, c.state)
		e := plan.Experiments(c.state)
		text := func(as []netip.AddrPort) string {
			var out []string
			for _, a := range as {
				out = append(out, a.String())
			}
			return strings.Join(out, " ")
		}
		if got := text(e.References); got != c.references {
			t.Errorf("%s: references %q, want %q", name, got, c.references)
		}
		if got := text(e.NTP); got != c.time {
			t.Errorf("%s: time %q, want %q", name, got, c.time)
		}
		p := c.policy
		if (e.Direct != nil) != c.direct || e.MSSClamp != p.MSSClamp || e.SmallHello != p.SmallHello || e.SecondSNI != p.SecondSNI || e.UDPTest != p.UDPTest || e.Clock != nil {
			t.Errorf("%s: %+v", name, e)
		}
		if e.Direct == nil {
			continue
		}
		for a, want := range map[string]bool{
			"10.9.0.1": true, "192.168.0.1": true, "100.64.0.1": true, "fd12::1": true, "52.0.0.1": false, "2a00::1": false,
			"2600::5": slices.Contains(c.vpc, netip.MustParsePrefix("2600::/56")), "169.254.169.254": false,
		} {
			if e.Direct(netip.MustParseAddr(a)) != want {
				t.Errorf("%s: direct to %s is not %v", name, a, want)
			}
		}
	}
}
