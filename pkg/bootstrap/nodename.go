package bootstrap

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/nodeprep/nodeprep/pkg/netcfg"
)

// nodeName is the name that EC2 calls the instance's private DNS name, made
// from metadata alone. The API server renders the same name from
// ec2:DescribeInstances and admits the node only by it.
//
// The local hostname tells how the instance is named, by resource or by
// address, but not the name: its domain is that of the VPC's DHCP options,
// which EC2 leaves out of the private DNS name.
//
// Source: EC2 user guide, "Amazon EC2 instance hostname types"; the rule for
// the domain is documented for aws and aws-cn and assumed elsewhere.
func nodeName(i Instance) (string, error) {
	domain := i.Region + ".compute.internal"
	if i.Region == "us-east-1" {
		domain = "ec2.internal"
	}
	if strings.HasPrefix(i.LocalHostname, "i-") {
		// Also right where the metadata lack instance-id: the first label is it.
		label, _, _ := strings.Cut(i.LocalHostname, ".")
		return label + "." + domain, nil
	}
	if !i.LocalIPv4.Is4() {
		return "", fmt.Errorf("the metadata have no local-ipv4 and local-hostname %q is not a resource name (i-…)", i.LocalHostname)
	}
	return "ip-" + strings.ReplaceAll(i.LocalIPv4.String(), ".", "-") + "." + domain, nil
}

// nodeIP is the node's address in the family of the cluster's services.
//
// Of several IPv6 addresses in the metadata the first that a link of this
// machine has is taken: a node must not announce an address nobody assigned.
func nodeIP(i Instance, s netcfg.State, v6 bool) (netip.Addr, error) {
	if !v6 {
		if !i.LocalIPv4.Is4() {
			return netip.Addr{}, fmt.Errorf("the cluster's services are IPv4 and the metadata have no local-ipv4")
		}
		return i.LocalIPv4, nil
	}
	if len(i.IPv6) == 0 {
		return netip.Addr{}, fmt.Errorf("the cluster's services are IPv6 and the primary interface has no IPv6 address (network/interfaces/macs/%s/ipv6s)", i.MAC)
	}
	for _, a := range i.IPv6 {
		for _, l := range s.Links {
			for _, p := range l.Addresses {
				if p.Addr() == a {
					return a, nil
				}
			}
		}
	}
	return i.IPv6[0], nil
}

// providerID names the instance for the cloud controller: aws:///ZONE/ID.
// Source: cloud-provider-aws pkg/providers/v1/instances.go.
func providerID(i Instance) string { return "aws:///" + i.Zone + "/" + i.ID }
