package netcfg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// LookLimit is how many addresses one Look asks about.
const LookLimit = 256

// Look asks the kernel how it would send a packet from this process to each of
// the addresses, and in which state the next hop's neighbour entry is. The answers
// are in the order of addresses, of which those beyond LookLimit are left out. An
// address that the kernel cannot route at all has a Destination without a Type.
//
// It sends no packet. The kernel itself may probe an IPv6 router that it has not
// heard of for a minute, as it does for every packet (RFC 4191 section 3.5).
//
// With an error, which is the operating system's, comes what was answered before it.
func Look(ctx context.Context, addresses []netip.Addr) ([]Destination, error) {
	k, err := openKernel()
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	defer k.close()

	l := looker{kernel: k, names: map[int]string{}}
	out := make([]Destination, 0, min(len(addresses), LookLimit))
	hops := make([]hop, 0, cap(out))
	for _, a := range addresses[:cap(out)] {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		d, h, err := l.route(a)
		if err != nil {
			return out, fmt.Errorf("look up the route to %s: %w", a, err)
		}
		out, hops = append(out, d), append(hops, h)
	}
	states, err := k.neighbours(hops)
	if err != nil {
		return out, fmt.Errorf("read neighbours: %w", err)
	}
	for i, h := range hops {
		out[i].Neighbour = states[h]
	}
	return out, nil
}

// A hop is where a packet is handed to a link.
type hop struct {
	link int
	addr netip.Addr // without a zone; invalid for none
}

// A looker asks about one address after the other.
type looker struct {
	*kernel

	names map[int]string // of links, by index
}

// refusals are the kernel's answers for addresses that a route or rule excludes
// (fib_props in net/ipv4/fib_semantics.c, fib6_prop in net/ipv6/route.c), and for those
// that no route matches, or that are of a family this machine does not have.
var refusals = map[syscall.Errno]string{
	unix.EINVAL:        "blackhole",
	unix.EACCES:        "prohibit",
	unix.EHOSTUNREACH:  "unreachable",
	unix.ENETUNREACH:   "",
	unix.EAFNOSUPPORT:  "",
	unix.EOPNOTSUPP:    "",
	unix.ENODEV:        "", // the link of a zone is gone
	unix.EADDRNOTAVAIL: "", // no address of this family to send from
}

func (l *looker) route(a netip.Addr) (Destination, hop, error) {
	d := Destination{Address: a}
	to := a.Unmap()
	if !to.IsValid() || to.IsUnspecified() {
		return d, hop{}, nil
	}
	var options *netlink.RouteGetOptions
	if zone := to.Zone(); zone != "" {
		index, ok := l.index(zone)
		if !ok {
			return d, hop{}, nil
		}
		options = &netlink.RouteGetOptions{OifIndex: index}
		to = to.WithZone("")
	}
	var routes []netlink.Route
	err := retry(func() error {
		var err error
		routes, err = l.handle.RouteGetWithOptions(net.IP(to.AsSlice()), options)
		return err
	})
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		if typ, ok := refusals[errno]; ok {
			d.Type = typ
			return d, hop{}, nil
		}
	}
	if err != nil || len(routes) == 0 {
		return d, hop{}, err
	}
	r := routes[0]
	d.Type = routeTypes[r.Type]
	if r.Type == unix.RTN_LOCAL {
		d.Type = "local"
	}
	d.Link, d.Source, d.Gateway = l.name(r.LinkIndex), addr(r.Src), gateway(r.Gw, r.Via)
	switch {
	case r.Type != unix.RTN_UNICAST:
		return d, hop{}, nil
	case d.Gateway.IsValid():
		return d, hop{r.LinkIndex, d.Gateway}, nil
	default:
		return d, hop{r.LinkIndex, to}, nil
	}
}

// index is that of the link that a zone names or numbers.
func (l *looker) index(zone string) (int, bool) {
	if n, err := strconv.ParseUint(zone, 10, 31); err == nil {
		return int(n), true
	}
	link, err := l.handle.LinkByName(zone)
	if err != nil {
		return 0, false
	}
	return link.Attrs().Index, true
}

// name is that of a link, empty for one that is gone.
func (l *looker) name(index int) string {
	name, known := l.names[index]
	if !known && index != 0 {
		if link, err := l.handle.LinkByIndex(index); err == nil {
			name = link.Attrs().Name
		}
		l.names[index] = name
	}
	return name
}

// neighbourStates are the names that ip-neighbour(8) has for the states of an entry.
var neighbourStates = map[int]string{
	netlink.NUD_INCOMPLETE: "incomplete",
	netlink.NUD_REACHABLE:  "reachable",
	netlink.NUD_STALE:      "stale",
	netlink.NUD_DELAY:      "delay",
	netlink.NUD_PROBE:      "probe",
	netlink.NUD_FAILED:     "failed",
	netlink.NUD_NOARP:      "noarp",
	netlink.NUD_PERMANENT:  "permanent",
}

// neighbours returns the states of the entries of hops, as far as there are entries.
// One listing is asked for in place of single entries: a node has few neighbours, and
// kernels before 5.0 do not answer for one.
func (k *kernel) neighbours(hops []hop) (map[hop]string, error) {
	wanted := make(map[hop]bool, len(hops))
	for _, h := range hops {
		if h.addr.IsValid() {
			wanted[h] = true
		}
	}
	states := make(map[hop]string, len(wanted))
	if len(wanted) == 0 {
		return states, nil
	}
	var list []netlink.Neigh
	err := retry(func() error {
		var err error
		list, err = k.handle.NeighList(0, netlink.FAMILY_ALL)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, n := range list {
		h := hop{n.LinkIndex, addr(n.IP)}
		if wanted[h] {
			states[h] = neighbourStates[n.State]
		}
	}
	return states, nil
}
