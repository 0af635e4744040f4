package vpc

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Faults lists every fault.
func Faults() []Fault {
	var list []Fault
	for _, group := range [][]Fault{
		inputFaults(), metadataFaults(), clockFaults(), dnsFaults(), networkFaults(), linkFaults(), mtuFaults(),
		tlsFaults(), helloFaults(), proxyFaults(), apiFaults(), rangeFaults(),
	} {
		list = append(list, group...)
	}
	return list
}

// Verdicts of the filter, in nft(8)'s words.
const (
	drop       = "drop"
	reset      = "reject with tcp reset"
	prohibited = "reject with icmpx type admin-prohibited"
	closedPort = "reject with icmpx type port-unreachable"
)

func networkFaults() []Fault {
	interfaces := []string{EC2, ECRAPI, ECRDKR}
	everything := append([]string{APIServer}, interfaces...)
	return []Fault{
		{
			Name: "ecr-api-no-route", Title: "the node's route table leads nowhere for ecr.api", Code: "NP-NET-101", Service: ECRAPI,
			// A throw route ends the lookup with ENETUNREACH, as no route at all does.
			apply: nodeRoutes(unix.RTN_THROW, func(v *VPC) []netip.Prefix { return prefixes(v.Addresses(ECRAPI)) }),
		},
		{Name: "ecr-api-icmp", Title: "a firewall on the path rejects ecr.api with ICMP", Code: "NP-NET-102", Service: ECRAPI, apply: service(prohibited, ECRAPI)},
		{Name: "ecr-api-rst", Title: "connections to ecr.api are refused", Code: "NP-NET-104", Service: ECRAPI, apply: service(reset, ECRAPI)},
		{Name: "ecr-api-drop", Title: "the security group of the ecr.api endpoint drops 443", Code: "NP-NET-105", Service: ECRAPI, apply: service(drop, ECRAPI)},
		{Name: "ecr-dkr-drop", Title: "the security group of the ecr.dkr endpoint drops 443", Code: "NP-NET-105", Service: ECRDKR, apply: service(drop, ECRDKR)},
		{Name: "ec2-drop", Title: "the security group of the ec2 endpoint drops 443", Code: "NP-NET-105", Service: EC2, apply: service(drop, EC2)},
		{
			Name: "ecr-api-one-az", Title: "one network interface of the ecr.api endpoint is dead", Code: "NP-NET-107",
			Service: ECRAPI, Warning: true,
			apply: filter(func(v *VPC) []string { return to(v.Addresses(ECRAPI)[1:2], drop) }),
		},
		{
			Name: "node-egress-drop", Title: "the node's security group lets nothing out", Code: "NP-NET-108",
			// Security groups do not apply to the VPC's own resolver and to metadata.
			apply: filter(func(*VPC) []string {
				beyond := []string{
					`iifname "subnet-a" ip daddr != { 169.254.0.0/16, ` + AmazonDNSAddr().String() + " } ",
					`iifname "subnet-a" ip6 daddr != { fd00:ec2::/32, fe80::/10, ff00::/8 } `,
				}
				return []string{beyond[0] + syn + drop, beyond[0] + "meta l4proto udp drop", beyond[1] + syn + drop, beyond[1] + "meta l4proto udp drop"}
			}),
		},
		{Name: "all-public", Title: "every name resolves to public addresses and there is no way to them", Code: "NP-NET-109", apply: isPublic(everything...)},
		{Name: "no-endpoints", Title: "the VPC has no interface endpoints and no NAT", Code: "NP-NET-109", apply: isPublic(interfaces...)},
		{Name: "s3-route", Title: "the route table has no route to the S3 gateway endpoint", Code: "NP-NET-112", Service: S3, apply: routeS3},
		{Name: "apiserver-drop", Title: "the cluster's security group does not let the node in", Code: "NP-NET-114", Service: APIServer, apply: service(drop, APIServer)},
		{Name: "apiserver-refused", Title: "the API server's addresses refuse connections", Code: "NP-NET-104", Service: APIServer, apply: service(reset, APIServer)},
		{
			Name: "eni-gone", Title: "the only interface of the ecr.api endpoint was deleted, DNS still has its address", Code: "NP-NET-103", Service: ECRAPI,
			apply: all(resolve(func(v *VPC) dnsRule {
				return dnsRule{name: v.hostOf(ECRAPI), record: &record{addresses: v.Addresses(ECRAPI)[:1]}}
			}), gone(func(v *VPC) []netip.Addr { return v.Addresses(ECRAPI)[:1] })),
		},
		{
			Name: "one-eni-gone", Title: "one of the ecr.api endpoint's interfaces was deleted, DNS still has its address", Code: "NP-NET-103",
			Service: ECRAPI, Warning: true,
			apply: gone(func(v *VPC) []netip.Addr { return v.Addresses(ECRAPI)[:1] }),
		},
		{
			Name: "subnet-filtered", Title: "the network ACL of the other zone's subnet lets 443 not in", Code: "NP-NET-106", Warning: true,
			apply: filter(func(*VPC) []string { return []string{"ip daddr 10.20.2.0/24 tcp dport 443 " + syn + drop} }),
		},
		{
			Name: "peering-down", Title: "the endpoints are in another VPC, and the way to it is broken", Code: "NP-NET-111",
			Needs: Options{SharedEndpoints: true},
			apply: filter(func(*VPC) []string { return []string{"ip daddr " + sharedBlock + " tcp dport 443 " + syn + drop} }),
		},
		{
			Name: "s3-interface-drop", Title: "the security group of the S3 interface endpoint drops 443", Code: "NP-NET-113", Service: S3,
			Needs: Options{S3Interface: true}, apply: service(drop, S3),
		},
		{
			Name: "apiserver-public", Title: "the cluster's endpoint is public only, and the VPC has no way out", Code: "NP-NET-115",
			Service: APIServer, apply: isPublic(APIServer),
		},
		{
			Name: "ecr-api-loss", Title: "the first packet of every connection to ecr.api is lost", Code: "NP-NET-117", Service: ECRAPI, Warning: true,
			// A connection is known by its port at the node: the SYN that is sent again
			// a second later passes.
			apply: chain{
				before: "\tset seen {\n\t\ttype inet_service . ipv4_addr\n\t\tflags dynamic,timeout\n\t\ttimeout 1m\n\t}\n",
				rules: func(v *VPC) []string {
					all := nftSet(v.Addresses(ECRAPI), netip.Addr.Is4)
					return []string{"ip daddr " + all + " tcp dport 443 " + syn + "tcp sport . ip daddr != @seen add @seen { tcp sport . ip daddr } drop"}
				},
			}.apply,
		},
		{
			Name: "ecr-api-other-zone", Title: "the ecr.api endpoint has no interface in the node's subnet", Code: "NP-NET-119", Warning: true,
			apply: resolve(func(v *VPC) dnsRule {
				elsewhere := []netip.Addr{v.Addresses(ECRAPI)[1], v.endpoint(ECRAPI).spare[0]}
				return dnsRule{name: v.hostOf(ECRAPI), record: &record{addresses: elsewhere}}
			}),
		},
		{
			Name: "two-endpoints-drop", Title: "two endpoints share a security group that drops 443, the third has its own", Code: "NP-NET-105",
			apply: service(drop, EC2, ECRAPI),
		},
		{
			Name: "registry-silent", Title: "the owner's registry does not answer", Code: "NP-NET-121",
			apply: all(
				resolve(func(*VPC) dnsRule {
					return dnsRule{
						name:   func(name string) bool { return name == "registry.corp.example" },
						record: &record{addresses: []netip.Addr{v4(10, 20, 77, 10)}},
					}
				}),
				prepConfig("  endpoints:\n    - {name: registry, host: registry.corp.example, role: ready, why: images of our own}\n"),
			),
		},
		{Name: "endpoints-drop", Title: "the security group that all interface endpoints share drops 443", Code: "NP-NET-120", apply: service(drop, interfaces...)},
	}
}
