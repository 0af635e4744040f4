package vpc

import "net/netip"

// placed are the addresses of a service's interface endpoint, one in each zone, with
// the given last byte.
func (o Options) placed(service string, last byte) []netip.Addr {
	first := [3]byte{10, 20, 1}
	switch {
	case o.SharedEndpoints && service != S3:
		first = [3]byte{10, 40, 1}
	case o.EndpointSubnets:
		first = [3]byte{10, 20, 8}
	case o.SecondaryCIDR:
		first = [3]byte{100, 64, 1}
	}
	out := make([]netip.Addr, o.Zones)
	for i := range out {
		out[i] = v4(first[0], first[1], first[2]+byte(i), last)
	}
	return out
}

// blocks are the VPC's, its primary one first.
func (o Options) blocks() []netip.Prefix {
	out := []netip.Prefix{netip.MustParsePrefix(vpcBlock)}
	if o.SecondaryCIDR {
		out = append(out, netip.MustParsePrefix(secondBlock))
	}
	return out
}

// subnet is the node's.
func (o Options) subnet() netip.Prefix {
	if o.SecondaryCIDR {
		return netip.MustParsePrefix(secondSubnetA)
	}
	return netip.MustParsePrefix(subnetA)
}

// gateway is the VPC's router in the node's subnet.
func (o Options) gateway() netip.Addr { return o.subnet().Addr().Next() }

// node is the node's address.
func (o Options) node() netip.Addr {
	a := o.subnet().Addr().As4()
	a[3] = NodeAddr().As4()[3]
	return netip.AddrFrom4(a)
}
