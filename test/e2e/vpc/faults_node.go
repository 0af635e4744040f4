package vpc

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodeprep/nodeprep/test/e2e/vpc/imds"
)

func metadataFaults() []Fault {
	return []Fault{
		{Name: "imds-refused", Title: "connections to metadata are refused", Code: "NP-IMD-101", apply: imdsRule(reset)},
		{Name: "imds-unroutable", Title: "a route on the node prohibits metadata", Code: "NP-IMD-101", apply: nodeRoutes(unix.RTN_PROHIBIT, func(*VPC) []netip.Prefix { return prefixes([]netip.Addr{MetadataAddr()}) })},
		{Name: "imds-drop", Title: "packets to metadata are dropped", Code: "NP-IMD-102", apply: imdsRule(drop)},
		{Name: "imds-off", Title: "the instance's metadata endpoint is disabled", Code: "NP-IMD-104", apply: metadata(imds.Behaviour{Off: true})},
		{Name: "imds-503", Title: "metadata answers 503", Code: "NP-IMD-107", apply: metadata(imds.Behaviour{Status: http.StatusServiceUnavailable})},
		{Name: "imds-late", Title: "metadata appears three seconds late", apply: until(3*time.Second, imdsRule(drop))},
		{Name: "imds-slow", Title: "metadata takes half a second for each answer", apply: metadata(imds.Behaviour{Delay: 500 * time.Millisecond})},
		{Name: "imds-no-hostname", Title: "metadata has no local-hostname yet", Code: "NP-IMD-109", apply: instance(func(_ *VPC, i *imds.Instance) { i.LocalHostname = "" })},
		{Name: "no-role", Title: "the instance has no instance profile", Code: "NP-CRD-101", apply: instance(func(_ *VPC, i *imds.Instance) { i.Role = "" })},
		{
			// The node's programs are behind one hop more than the instance allows, as in a
			// container with a network of its own: what forwards the answer drops it.
			Name: "imds-hop-limit", Title: "the hop limit is 1, and nodeprep runs in a container's network", Code: "NP-IMD-103",
			apply: all(
				instance(func(_ *VPC, i *imds.Instance) { i.HopLimit = 1 }),
				chain{node: true, rules: func(*VPC) []string {
					return []string{"ip saddr " + MetadataAddr().String() + " ip ttl 1 drop", "ip6 saddr " + metadata6 + " ip6 hoplimit 1 drop"}
				}}.apply,
			),
		},
		{
			Name: "imds-ipv6-off", Title: "the instance is in an IPv6-only subnet, and metadata's IPv6 endpoint is disabled", Code: "NP-IMD-108",
			Needs: Options{IPv6: true, DNSServers: []netip.Addr{netip.MustParseAddr(linkLocalDNS6)}},
			apply: all(unaddressed(netlink.FAMILY_V4), filter(func(*VPC) []string {
				return []string{"ip6 daddr " + metadata6 + " tcp dport 80 " + syn + reset}
			})),
		},
		{
			Name: "imds-no-tokens", Title: "an emulator without version 2 answers for metadata", Code: "NP-IMD-106",
			apply: all(metadata(imds.Behaviour{TokenStatus: http.StatusNotFound}), instance(func(_ *VPC, i *imds.Instance) { i.TokensOptional = true })),
		},
		{Name: "imds-proxy", Title: "a proxy answers for metadata", Code: "NP-IMD-105", apply: metadata(imds.Behaviour{Status: http.StatusForbidden, Server: "squid/5.7"})},
		{
			Name: "role-untrusted", Title: "the role's trust policy does not allow EC2", Code: "NP-CRD-102",
			apply: instance(func(_ *VPC, i *imds.Instance) {
				i.Credentials = imds.Credentials{
					Code:    "AssumeRoleUnauthorizedAccess",
					Message: "EC2 cannot assume the role lab-node. Please see documentation at https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshoot-iam.html.",
				}
			}),
		},
		{
			Name: "credentials-expired", Title: "metadata's credentials expired an hour ago", Code: "NP-CRD-103",
			apply: instance(func(_ *VPC, i *imds.Instance) { i.Credentials.Lifetime = -time.Hour }),
		},
		{
			Name: "no-local-ipv4", Title: "the node of an IPv4 cluster was launched into an IPv6-only subnet", Code: "NP-NOD-104",
			apply: instance(func(v *VPC, i *imds.Instance) {
				i.LocalIPv4, i.LocalHostname = netip.Addr{}, i.ID+"."+privateDomain(v.options.Region)
			}),
		},
		{Name: "unknown-type", Title: "the instance is of a type that came after this version", Code: "NP-NOD-107", Warning: true, apply: instance(func(_ *VPC, i *imds.Instance) { i.Type = "z99.metal" })},
	}
}

// clockFaults are those of a node whose clock is wrong: the world's is.
func clockFaults() []Fault {
	return []Fault{
		{Name: "clock-behind", Title: "the node's clock is three hours behind", Code: "NP-CLK-104", apply: world(3 * time.Hour)},
		{Name: "clock-ahead", Title: "the node's clock is two days ahead", Code: "NP-CLK-104", apply: world(-48 * time.Hour)},
		{Name: "clock-off-90s", Title: "the node's clock is a minute and a half behind", Code: "NP-CLK-102", Warning: true, apply: world(90 * time.Second)},
		{Name: "clock-off-10m", Title: "the node's clock is ten minutes behind", Code: "NP-CLK-103", Warning: true, apply: world(10 * time.Minute)},
	}
}

// linkFaults are those of the node's own network.
func linkFaults() []Fault {
	return []Fault{
		{Name: "no-carrier", Title: "the network interface has no carrier", Code: "NP-LNK-101", apply: noCarrier},
		{Name: "no-lease", Title: "DHCP gave the interface no address", Code: "NP-LNK-102", apply: unaddressed(netlink.FAMILY_V4, netlink.FAMILY_V6)},
		{Name: "no-default-route", Title: "the node has no default route", Code: "NP-LNK-104", apply: noDefaultRoute},
		{Name: "two-default-routes", Title: "a second network interface has a default route of the same metric", Code: "NP-LNK-105", Warning: true, apply: secondInterface},
		{
			Name: "blackhole-route", Title: "a blackhole route on the node swallows the VPC of the shared endpoints", Code: "NP-LNK-106",
			Needs: Options{SharedEndpoints: true},
			apply: nodeRoutes(unix.RTN_BLACKHOLE, func(*VPC) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(sharedBlock)} }),
		},
		{Name: "host-firewall-reject", Title: "the node's own firewall rejects port 443", Code: "NP-LNK-107", apply: hostFirewall("tcp dport 443 reject with tcp reset")},
		{Name: "host-firewall-drop", Title: "the node's own firewall drops port 443", Code: "NP-LNK-107", apply: hostFirewall("meta l4proto { tcp, udp } th dport 443 drop")},
		{
			Name: "foreign-address", Title: "the node's address is not of the VPC that metadata names", Code: "NP-LNK-108",
			apply: instance(func(_ *VPC, i *imds.Instance) {
				i.VPC, i.Subnet = []netip.Prefix{netip.MustParsePrefix("10.30.0.0/16")}, []netip.Prefix{netip.MustParsePrefix("10.30.1.0/24")}
			}),
		},
		{
			Name: "no-ipv6", Title: "the cluster is IPv6, and the node's subnet gives no IPv6 addresses", Code: "NP-LNK-109", Needs: Options{IPv6: true},
			apply: all(unaddressed(netlink.FAMILY_V6), instance(func(_ *VPC, i *imds.Instance) { i.IPv6 = nil })),
		},
	}
}
