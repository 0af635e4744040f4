package vpc

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// outsideDNS is a DNS server beyond the VPC, in the owner's data centre.
func outsideDNS() netip.Addr { return v4(10, 60, 0, 53) }

// nameShapes differ in how names are resolved and what they are.
func nameShapes() []Shape {
	atOwn := func(rule func(*VPC) dnsRule) func(*VPC, string) (undo, error) {
		return resolve(func(v *VPC) dnsRule {
			r := rule(v)
			r.servers = []netip.Addr{CustomDNSAddr()}
			return r
		})
	}
	return []Shape{
		{Name: "own-dns", Title: "a DNS server of the owner's in the VPC forwards to the VPC's resolver", Options: Options{CustomDNS: true}},
		{
			Name: "outside-dns", Title: "a DNS server beyond the VPC forwards to a Resolver inbound endpoint",
			Options: Options{DNSServers: []netip.Addr{outsideDNS()}},
			apply:   dnsServer(outsideDNS()),
		},
		{
			Name: "two-dns", Title: "resolv.conf names the owner's DNS server and the VPC's resolver",
			Options: Options{CustomDNS: true, DNSServers: []netip.Addr{CustomDNSAddr(), AmazonDNSAddr()}},
		},
		{
			Name: "cname-own-dns", Title: "the owner's DNS has CNAMEs to the endpoints' names, private DNS is off", Options: Options{CustomDNS: true},
			apply: all(isPublic(interfaces()...), everyOf(interfaces(), func(s string) func(*VPC, string) (undo, error) {
				return atOwn(func(v *VPC) dnsRule {
					return dnsRule{name: v.hostOf(s), record: &record{cname: vpceName(s, v.Region(), v.DNSSuffix()), addresses: v.Addresses(s)}}
				})
			})),
		},
		{Name: "search-domains", Title: "search domains that have none of the names, and ndots 6", apply: resolvConf("search corp.example prod.corp.example\noptions ndots:6 timeout:2 attempts:3\n")},
		{
			Name: "search-wildcard", Title: "a search domain with a wildcard, and the kubelet's ndots 5: the API server's name has five dots",
			apply: all(resolvConf("search corp.example\noptions ndots:5\n"), wildcard("corp.example")),
		},
		{Name: "link-local-dns", Title: "resolv.conf names the VPC's resolver by its link-local address", Options: Options{DNSServers: []netip.Addr{LinkLocalDNSAddr()}}},
		{
			Name: "ipv6-dns", Title: "an IPv6 cluster whose nodes know the VPC's resolver by its IPv6 address alone",
			Options: Options{IPv6: true, DNSServers: []netip.Addr{netip.MustParseAddr(linkLocalDNS6)}},
		},
		{
			Name: "truncated", Title: "the answer for ecr.api does not fit into a datagram, and comes over TCP", Extra: 1,
			apply: resolve(func(v *VPC) dnsRule { return dnsRule{name: v.hostOf(ECRAPI), truncate: true} }),
		},
		{Name: "dns-over-tcp", Title: "resolv.conf asks for TCP", apply: resolvConf("search us-west-2.compute.internal\noptions use-vc\n")},
		{Name: "stub", Title: "resolv.conf names systemd-resolved's stub", apply: stub},
		{
			Name: "vpce-names", Title: "hosts: has the endpoints' own names, private DNS is off",
			Options: Options{names: map[string][]string{
				EC2:    {vpceName(EC2, "us-west-2", "amazonaws.com")},
				ECRAPI: {vpceName(ECRAPI, "us-west-2", "amazonaws.com")},
				ECRDKR: {vpceName(ECRDKR, "us-west-2", "amazonaws.com")},
			}},
			apply: all(
				everyOf(interfaces(), func(s string) func(*VPC, string) (undo, error) {
					return resolve(func(v *VPC) dnsRule {
						return dnsRule{name: named(v.Host(s)), record: &record{addresses: v.endpoint(s).public}}
					})
				}),
				prepConfig(fmt.Sprintf("  hosts: {ec2: %s, ecr.api: %s, ecr.dkr: %s}\n", vpceName(EC2, "us-west-2", "amazonaws.com"),
					vpceName(ECRAPI, "us-west-2", "amazonaws.com"), vpceName(ECRDKR, "us-west-2", "amazonaws.com"))),
			),
		},
		{
			Name: "fips", Title: "FIPS names in us-east-1",
			Options: Options{Region: "us-east-1", names: map[string][]string{
				EC2:    {"ec2-fips.us-east-1.amazonaws.com"},
				ECRAPI: {"ecr-fips.us-east-1.amazonaws.com"},
				ECRDKR: {"602401143452.dkr.ecr-fips.us-east-1.amazonaws.com"},
				S3:     {"prod-us-east-1-starport-layer-bucket.s3-fips.us-east-1.amazonaws.com"},
			}},
			apply: prepConfig("  names: {fips: always}\n"),
		},
		{
			Name: "fips-kubelet", Title: "the kubelet in GovCloud is told to use FIPS names",
			Options: Options{Region: "us-gov-west-1", names: map[string][]string{ECRAPI: {"ecr-fips.us-gov-west-1.amazonaws.com"}}},
			apply: files(func(*VPC) map[string]string {
				return units(map[string]map[string]string{"kubelet": {"AWS_USE_FIPS_ENDPOINT": "true"}, "containerd": nil})
			}),
		},
		{
			Name: "dual-stack-names", Title: "an IPv6 cluster that uses the dual-stack names, which are public",
			Options: Options{IPv6: true, NAT: true, names: map[string][]string{
				EC2:    {"ec2.us-west-2.api.aws"},
				ECRAPI: {"ecr.us-west-2.api.aws"},
				ECRDKR: {"602401143452.dkr-ecr.us-west-2.on.aws"},
				S3:     {"prod-us-west-2-starport-layer-bucket.s3.dualstack.us-west-2.amazonaws.com"},
			}},
			apply: all(isPublic(interfaces()...), prepConfig("  names: {dualStack: always}\n")),
		},
		{
			Name: "hosts-file", Title: "the hosts file has the API server, DNS does not, as on an Outpost",
			apply: all(hostsLine(APIServer, v4(10, 20, 1, 180)), hostsLine(APIServer, v4(10, 20, 2, 180)), unknown(APIServer)),
		},
		{
			Name: "rotating-s3", Title: "S3's addresses are others in each answer, and some of them are dead", Late: "an address of the pool does not answer",
			apply: rotatingS3,
		},
		{
			Name: "rotating-strict", Title: "the same in strict mode, over two DNS servers", Late: "an address of the pool does not answer",
			Options: Options{CustomDNS: true, DNSServers: []netip.Addr{CustomDNSAddr(), AmazonDNSAddr()}},
			apply:   all(rotatingS3, prepConfig("  mode: strict\n")),
		},
		{
			Name: "slow-dns", Title: "the DNS server takes 400 ms", Options: Options{DNSDelay: 400 * time.Millisecond},
			Late: "a question is sent again after 250 ms",
		},
		{
			Name: "aaaa-refused", Title: "the owner's DNS server refuses questions for IPv6 addresses, which the machine's own resolver asks",
			Options: Options{CustomDNS: true}, Extra: 1,
			apply: atOwn(func(*VPC) dnsRule {
				return dnsRule{name: func(string) bool { return true }, types: []uint16{dns.TypeAAAA}, rcode: dns.RcodeRefused}
			}),
		},
		{
			Name: "own-dns-refuses-aaaa", Title: "the owner's DNS server refuses questions for IPv6 addresses in a dual-stack VPC",
			Options: Options{CustomDNS: true, IPv6: true, IPv4Cluster: true}, Late: "a refusal is compared",
			apply: atOwn(func(*VPC) dnsRule {
				return dnsRule{name: func(string) bool { return true }, types: []uint16{dns.TypeAAAA}, rcode: dns.RcodeRefused}
			}),
		},
	}
}

// rotatingS3 lets S3 have two of its addresses in each answer, and one that is dead.
func rotatingS3(v *VPC, name string) (undo, error) {
	return all(
		resolve(func(v *VPC) dnsRule {
			return dnsRule{name: v.hostOf(S3), vary: func() record {
				pool := v.Addresses(S3)
				rand.Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
				return record{addresses: append(pool[:2], v4(3, 5, 79, byte(1+rand.N(250))))}
			}}
		}),
		filter(func(*VPC) []string { return []string{"ip daddr 3.5.79.0/24 tcp dport 443 " + syn + drop} }),
	)(v, name)
}

// everyOf is one change for each service.
func everyOf(services []string, change func(string) func(*VPC, string) (undo, error)) func(*VPC, string) (undo, error) {
	var parts []func(*VPC, string) (undo, error)
	for _, s := range services {
		parts = append(parts, change(s))
	}
	return all(parts...)
}

// vpceName is the name that an interface endpoint of a service has by itself.
func vpceName(s, region, suffix string) string {
	first, rest, _ := strings.Cut(s, ".")
	if rest != "" { // api.ecr, dkr.ecr
		first = rest + "." + first
	}
	return "vpce-0c1d2e3f4a5b6c7d8-ab12cd34." + first + "." + region + ".vpce." + suffix
}

// named matches one name.
func named(name string) func(string) bool {
	return func(other string) bool { return strings.EqualFold(name, other) }
}

// unknown lets no DNS server know the names of services.
func unknown(services ...string) func(*VPC, string) (undo, error) {
	return resolve(func(v *VPC) dnsRule { return dnsRule{name: v.hostOf(services...), rcode: dns.RcodeNameError} })
}

// wildcard lets everything below a domain lead to the owner's web server.
func wildcard(domain string) func(*VPC, string) (undo, error) {
	return resolve(func(v *VPC) dnsRule {
		return dnsRule{
			name:   func(name string) bool { return strings.HasSuffix(name, "."+domain) && name != proxyHost },
			record: &record{addresses: v.Addresses(wiki)},
		}
	})
}
