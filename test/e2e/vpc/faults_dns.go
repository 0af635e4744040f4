package vpc

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

func dnsFaults() []Fault {
	// configured makes a rule for the servers in resolv.conf; AmazonProvidedDNS
	// still answers on its other address.
	configured := func(rule dnsRule) func(*VPC, string) (undo, error) {
		return resolve(func(v *VPC) dnsRule {
			rule.servers = v.options.DNSServers
			if rule.name == nil {
				rule.name = func(string) bool { return true }
			}
			return rule
		})
	}
	nxdomain := func(own bool, services ...string) func(*VPC, string) (undo, error) {
		return resolve(func(v *VPC) dnsRule {
			r := dnsRule{name: v.hostOf(services...), rcode: dns.RcodeNameError}
			if own {
				r.servers = []netip.Addr{CustomDNSAddr()}
			}
			return r
		})
	}
	return []Fault{
		{Name: "dns-silent", Title: "the DNS servers do not answer", Code: "NP-DNS-102", apply: servers(drop, drop)},
		{Name: "dns-port-closed", Title: "nothing listens on the DNS servers' port", Code: "NP-DNS-103", apply: servers(closedPort, reset)},
		{Name: "dns-refused", Title: "the DNS servers refuse the node", Code: "NP-DNS-105", apply: configured(dnsRule{rcode: dns.RcodeRefused})},
		{Name: "dns-servfail", Title: "the DNS servers cannot reach their forwarder", Code: "NP-DNS-106", apply: configured(dnsRule{rcode: dns.RcodeServerFailure})},
		{
			Name: "dns-nxdomain-all", Title: "the own DNS server knows no AWS names", Code: "NP-DNS-107", Needs: Options{CustomDNS: true},
			apply: resolve(func(*VPC) dnsRule {
				return dnsRule{
					servers: []netip.Addr{CustomDNSAddr()}, rcode: dns.RcodeNameError,
					name: func(name string) bool {
						return strings.Contains(name, ".amazonaws.") || strings.Contains(name, ".api.")
					},
				}
			}),
		},
		{Name: "apiserver-nxdomain", Title: "the API server's name does not exist: the cluster was deleted", Code: "NP-DNS-108", Service: APIServer, apply: nxdomain(false, APIServer)},
		{
			Name: "apiserver-nxdomain-custom", Title: "the own DNS server does not forward the API server's zone", Code: "NP-DNS-109",
			Service: APIServer, Needs: Options{CustomDNS: true}, apply: nxdomain(true, APIServer),
		},
		{Name: "ecr-api-public", Title: "ecr.api has no endpoint in this VPC and resolves to public addresses", Code: "NP-DNS-111", Service: ECRAPI, apply: isPublic(ECRAPI)},
		{
			Name: "nodata", Title: "ecr.api has only IPv6 addresses and the node has IPv4", Code: "NP-DNS-119", Service: ECRAPI,
			apply: resolve(func(v *VPC) dnsRule {
				return dnsRule{name: v.hostOf(ECRAPI), record: &record{addresses: []netip.Addr{
					netip.MustParseAddr("2600:1f14:c0:de01::66"), netip.MustParseAddr("2600:1f14:c0:de02::66"),
				}}}
			}),
		},
		{
			Name: "custom-dns-silent", Title: "the only configured DNS server, an own one, does not answer", Code: "NP-DNS-102",
			Needs: Options{CustomDNS: true}, apply: servers(drop, drop),
		},
		{
			Name: "vpc-dns-off", Title: "DNS support of the VPC is off", Code: "NP-DNS-112",
			apply: filter(func(*VPC) []string {
				return []string{
					"ip daddr { " + AmazonDNSAddr().String() + ", " + LinkLocalDNSAddr().String() + " } meta l4proto { tcp, udp } th dport 53 drop",
					"ip6 daddr " + linkLocalDNS6 + " meta l4proto { tcp, udp } th dport 53 drop",
				}
			}),
		},
		{Name: "no-dns-server", Title: "the DHCP options set names no DNS server", Code: "NP-DNS-101", Local: true, apply: resolvConf("")},
		{
			Name: "dns-no-route", Title: "the node's route table leads nowhere for the DNS server", Code: "NP-DNS-104",
			apply: nodeRoutes(unix.RTN_THROW, func(v *VPC) []netip.Prefix { return prefixes(v.options.DNSServers) }),
		},
		{Name: "dns-notimp", Title: "the DNS server answers NOTIMP to everything", Code: "NP-DNS-120", apply: configured(dnsRule{rcode: dns.RcodeNotImplemented})},
		{Name: "ecr-api-nxdomain", Title: "the name ecr.api does not exist", Code: "NP-DNS-121", Service: ECRAPI, apply: nxdomain(false, ECRAPI)},
		{
			Name: "ecr-api-nxdomain-custom", Title: "the own DNS server is authoritative for ecr.api's zone and lacks the name", Code: "NP-DNS-109",
			Service: ECRAPI, Needs: Options{CustomDNS: true}, apply: nxdomain(true, ECRAPI),
		},
		{
			Name: "custom-dns-public", Title: "the own DNS server asks public DNS for ecr.api instead of the VPC's resolver", Code: "NP-DNS-110",
			Service: ECRAPI, Needs: Options{CustomDNS: true}, apply: publicAtCustom(ECRAPI),
		},
		{
			Name: "dns-disagree", Title: "of two DNS servers one knows ecr.api's private addresses, one the public ones", Code: "NP-DNS-113",
			Service: ECRAPI, Warning: true, Needs: Options{CustomDNS: true, NAT: true, DNSServers: []netip.Addr{CustomDNSAddr(), AmazonDNSAddr()}},
			apply: publicAtCustom(ECRAPI),
		},
		{
			Name: "one-dns-dead", Title: "the first of two DNS servers is dead", Code: "NP-DNS-114", Warning: true,
			Needs: Options{CustomDNS: true, DNSServers: []netip.Addr{CustomDNSAddr(), AmazonDNSAddr()}},
			apply: filter(func(*VPC) []string {
				return []string{"ip daddr " + CustomDNSAddr().String() + " meta l4proto { tcp, udp } th dport 53 drop"}
			}),
		},
		{
			// Programs ask the dead ones first, and give each of them five seconds.
			Name: "two-dns-dead", Title: "the first two of three DNS servers are dead", Code: "NP-DNS-114",
			Needs: Options{CustomDNS: true, DNSServers: []netip.Addr{CustomDNSAddr(), LinkLocalDNSAddr(), AmazonDNSAddr()}},
			apply: filter(func(*VPC) []string {
				return []string{"ip daddr { " + CustomDNSAddr().String() + ", " + LinkLocalDNSAddr().String() + " } meta l4proto { tcp, udp } th dport 53 drop"}
			}),
		},
		{
			// The API server's name has five dots: with six asked for it is looked up below
			// the search domain first.
			Name: "search-capture", Title: "a wildcard below the search domain answers for the API server", Code: "NP-DNS-115",
			Service: APIServer, Local: true,
			apply: all(
				resolvConf("search corp.example\noptions ndots:6\n"),
				resolve(func(v *VPC) dnsRule {
					return dnsRule{
						name:   func(name string) bool { return strings.HasSuffix(name, ".corp.example") && name != proxyHost },
						record: &record{addresses: v.Addresses(wiki)},
					}
				}),
			),
		},
		{
			Name: "hosts-apiserver", Title: "a line of /etc/hosts has an old address of the API server", Code: "NP-DNS-116",
			Service: APIServer, Local: true, apply: hostsLine(APIServer, v4(10, 20, 2, 199)),
		},
		{
			Name: "hosts-ecr-api", Title: "a line of /etc/hosts has an old address of ecr.api", Code: "NP-DNS-116",
			Service: ECRAPI, Local: true, apply: hostsLine(ECRAPI, v4(10, 20, 2, 199)),
		},
		{
			Name: "resolver-tcp", Title: "resolv.conf asks for TCP, which the way to the DNS server does not pass", Code: "NP-DNS-123",
			Service: APIServer, Local: true, apply: all(resolvConf("search us-west-2.compute.internal\noptions use-vc\n"), dnsOverTCP(drop)),
		},
		{
			Name: "dns-sinkhole", Title: "a DNS firewall answers 0.0.0.0 for ecr.api", Code: "NP-DNS-117", Service: ECRAPI,
			apply: resolve(func(v *VPC) dnsRule {
				return dnsRule{name: v.hostOf(ECRAPI), record: &record{addresses: []netip.Addr{netip.IPv4Unspecified()}}}
			}),
		},
		{
			Name: "dns-tcp-blocked", Title: "the answer for ecr.api needs TCP, and TCP port 53 is blocked", Code: "NP-DNS-118",
			apply: all(
				resolve(func(v *VPC) dnsRule { return dnsRule{name: v.hostOf(ECRAPI), truncate: true} }),
				dnsOverTCP(drop),
			),
		},
	}
}

// publicAtCustom lets the own DNS server have the public addresses of a service.
func publicAtCustom(s string) func(*VPC, string) (undo, error) {
	return resolve(func(v *VPC) dnsRule {
		return dnsRule{
			servers: []netip.Addr{CustomDNSAddr()}, name: v.hostOf(s), record: &record{addresses: v.endpoint(s).public},
		}
	})
}

// resolvConf replaces what follows the servers in resolv.conf, and without
// anything in their place the servers too.
func resolvConf(rest string) func(*VPC, string) (undo, error) {
	return edit((*VPC).ResolvConf, func(_ *VPC, before string) string {
		servers, _, _ := strings.Cut(before, "search ")
		if rest == "" {
			return "# no lease has a server\n"
		}
		return servers + rest
	})
}

// hostsLine adds a service's name to the hosts file.
func hostsLine(s string, a netip.Addr) func(*VPC, string) (undo, error) {
	return edit((*VPC).hostsFile, func(v *VPC, before string) string {
		return before + a.String() + " " + v.Host(s) + " # written by hand in 2023\n"
	})
}

// dnsOverTCP filters connections to the VPC's resolver.
func dnsOverTCP(verdict string) func(*VPC, string) (undo, error) {
	return filter(func(*VPC) []string {
		return []string{"ip daddr { " + AmazonDNSAddr().String() + ", " + LinkLocalDNSAddr().String() + " } tcp dport 53 " + verdict}
	})
}
