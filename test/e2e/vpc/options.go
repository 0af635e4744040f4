package vpc

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Options say what VPC to build. The zero value is a healthy private IPv4
// cluster in us-west-2.
type Options struct {
	// Region is an AWS region id; us-west-2 when empty. Names, DNS suffix,
	// partition and registry account follow from it.
	Region string
	// ClusterName is the cluster's name, "lab" when empty.
	ClusterName string
	// ServiceCIDR is 172.20.0.0/16 when zero, or fd40:6404:f93b::/108 with IPv6.
	ServiceCIDR netip.Prefix
	// IPv6 makes it an IPv6 cluster: VPC and node have IPv6 blocks beside the
	// IPv4 ones, the API server has a dual-stack name, and metadata and
	// resolver answer on fd00:ec2:: too.
	IPv6 bool
	// IPv4Cluster leaves the cluster in a VPC with IPv6 an IPv4 one.
	IPv4Cluster bool
	// CustomDNS runs a DNS server of the VPC's owner on CustomDNSAddr. It
	// forwards to the VPC's resolver.
	CustomDNS bool
	// DNSServers are the servers resolv.conf names. When empty that is
	// CustomDNSAddr with CustomDNS, else AmazonDNSAddr.
	DNSServers []netip.Addr
	// SharedEndpoints puts the interface endpoints into another VPC, 10.40.0.0/16, to
	// which a peering connection leads, as where a network team owns them all. That
	// of S3 stays in this VPC.
	SharedEndpoints bool
	// EndpointSubnets puts the interface endpoints into subnets of their own,
	// 10.20.8.0/24 and following, none of which is the node's.
	EndpointSubnets bool
	// SecondaryCIDR gives the VPC the block 100.64.0.0/16 beside its first one. The
	// node and the interface endpoints are there, the API server is not.
	SecondaryCIDR bool
	// Zones is the number of availability zones with a subnet and an address of each
	// interface endpoint: 1 to 3, 2 when 0. The API server always has two.
	Zones int
	// S3Interface gives S3 an interface endpoint in place of the gateway endpoint.
	S3Interface bool
	// AllEndpoints gives each AWS API an interface endpoint, not only those that a
	// node needs by default. S3 keeps what S3Interface says.
	AllEndpoints bool
	// NAT gives the node a way to public addresses, of which only those that
	// names of the VPC resolve to exist.
	NAT bool
	// UserData is what metadata serves; nil means NodeConfig. NoUserData means none.
	UserData   []byte
	NoUserData bool
	// InstanceType is m5.large when empty.
	InstanceType string
	// HopLimit is the metadata service's, 1 to 64; 0 means 64.
	HopLimit int
	// IMDSDelay, DNSDelay and TLSDelay hold back every metadata answer, every
	// DNS answer, and every handshake after the TCP connection stands.
	IMDSDelay, DNSDelay, TLSDelay time.Duration
	// Latency is how long each packet between the node and the rest takes, one way.
	Latency time.Duration
	// ClockOffset is how far the world is ahead of the node's clock: what time metadata,
	// time servers and certificates have. A process cannot be given a clock of its
	// own, so a node that is three hours behind is a world that is three hours ahead.
	ClockOffset time.Duration
	// ExtraEndpoints is the number of further names with TLS and an address in
	// each zone, at most MaxExtraEndpoints. See VPC.ExtraHosts.
	ExtraEndpoints int
	// names are further host names of services.
	names map[string][]string
}

// MaxExtraEndpoints is the largest number of extra endpoints.
const MaxExtraEndpoints = 8000

// AmazonDNSAddr is the VPC's resolver, the VPC's base plus two.
func AmazonDNSAddr() netip.Addr { return netip.AddrFrom4([4]byte{10, 20, 0, 2}) }

// LinkLocalDNSAddr is where the same resolver answers in every VPC.
func LinkLocalDNSAddr() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 169, 253}) }

// CustomDNSAddr is the DNS server of the VPC's owner.
func CustomDNSAddr() netip.Addr { return netip.AddrFrom4([4]byte{10, 20, 0, 53}) }

// MetadataAddr is the instance metadata service.
func MetadataAddr() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 169, 254}) }

// TimeAddr is the Amazon Time Sync Service.
func TimeAddr() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 169, 123}) }

// ProxyAddr is the HTTP proxy of the VPC's owner, on port 3128.
func ProxyAddr() netip.Addr { return netip.AddrFrom4([4]byte{10, 20, 0, 80}) }

// NodeAddr is the node's address.
func NodeAddr() netip.Addr { return netip.AddrFrom4([4]byte{10, 20, 1, 50}) }

const (
	linkLocalDNS6 = "fd00:ec2::253"
	metadata6     = "fd00:ec2::254"
	time6         = "fd00:ec2::123"
	node6         = "2600:1f14:c0:de01::50"
	vpcBlock      = "10.20.0.0/16"
	vpcBlock6     = "2600:1f14:c0:de00::/56"
	secondBlock   = "100.64.0.0/16"
	sharedBlock   = "10.40.0.0/16"
	subnetA       = "10.20.1.0/24"
	secondSubnetA = "100.64.1.0/24"
	subnetA6      = "2600:1f14:c0:de01::/64"
	s3Block       = "3.5.76.0/22"
	nodeMAC       = "02:4e:50:14:01:32"
	wireMTU       = 9001
)

// extraBlocks hold the addresses of extra endpoints.
func extraBlocks() []string { return []string{"10.20.64.0/18", "10.20.128.0/19"} }

// natBlocks are the public addresses behind the NAT gateway.
func natBlocks() []string { return []string{"3.0.0.0/8", "52.94.0.0/16"} }

// complete fills in the defaults and refuses what cannot be built.
func (o Options) complete() (Options, error) {
	if o.Region == "" {
		o.Region = "us-west-2"
	}
	if o.ClusterName == "" {
		o.ClusterName = "lab"
	}
	if o.InstanceType == "" {
		o.InstanceType = "m5.large"
	}
	if o.Zones == 0 {
		o.Zones = 2
	}
	if !o.ServiceCIDR.IsValid() {
		o.ServiceCIDR = netip.MustParsePrefix("172.20.0.0/16")
		if o.IPv6 && !o.IPv4Cluster {
			o.ServiceCIDR = netip.MustParsePrefix("fd40:6404:f93b::/108")
		}
	}
	if len(o.DNSServers) == 0 {
		o.DNSServers = []netip.Addr{AmazonDNSAddr()}
		if o.CustomDNS {
			o.DNSServers = []netip.Addr{CustomDNSAddr()}
		}
	}
	switch {
	case o.ExtraEndpoints < 0 || o.ExtraEndpoints > MaxExtraEndpoints:
		return o, fmt.Errorf("ExtraEndpoints is %d, not 0 to %d", o.ExtraEndpoints, MaxExtraEndpoints)
	case o.Zones < 1 || o.Zones > 3:
		return o, fmt.Errorf("number of zones is %d, not 1 to 3", o.Zones)
	case o.UserData != nil && o.NoUserData:
		return o, errors.New("UserData and NoUserData exclude each other")
	case slices.Contains(o.DNSServers, CustomDNSAddr()) && !o.CustomDNS:
		return o, errors.New("DNSServers names the custom server, which CustomDNS does not start")
	}
	return o, nil
}

// A partition is a group of regions with one DNS suffix.
type partition struct {
	id, suffix, dualStack, account string
}

// partitionOf follows botocore's partitions.json; the registry accounts are
// those of "Amazon container image registries" in the EKS User Guide.
func partitionOf(region string) partition {
	prefix := func(p string) bool { return strings.HasPrefix(region, p) }
	switch {
	case prefix("cn-"):
		account := "918309763551"
		if region == "cn-northwest-1" {
			account = "961992271922"
		}
		return partition{"aws-cn", "amazonaws.com.cn", "api.amazonwebservices.com.cn", account}
	case prefix("us-gov-"):
		account := "013241004608"
		if region == "us-gov-east-1" {
			account = "151742754352"
		}
		return partition{"aws-us-gov", "amazonaws.com", "api.aws", account}
	case prefix("us-iso-"):
		account := "725322719131"
		if region == "us-iso-west-1" {
			account = "608367168043"
		}
		return partition{"aws-iso", "c2s.ic.gov", "", account}
	case prefix("eusc-"):
		return partition{"aws-eusc", "amazonaws.eu", "api.amazonwebservices.eu", "877088126301"}
	default:
		return partition{"aws", "amazonaws.com", "api.aws", "602401143452"}
	}
}

// privateDomain is the domain of EC2's IP-based names.
func privateDomain(region string) string {
	if region == "us-east-1" {
		return "ec2.internal"
	}
	return region + ".compute.internal"
}
