package probe

import (
	"net/netip"
	"slices"
	"time"
)

// A path is one address of a target under way. Its connection belongs to the
// work that holds it; the rest is guarded by round.mu.
type path struct {
	target  *target
	address netip.AddrPort

	steps   []Step
	pending bool

	conn *connection
}

// snapshot copies what is known so far.
func (r *round) snapshot() Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	report := Report{
		Started: r.started,
		Took:    Duration(time.Since(r.started)),
		Results: make([]Result, len(r.targets)),
	}
	for i, t := range r.targets {
		report.Results[i] = t.result()
	}
	return report
}

// result copies the state of one target. The round is locked.
func (t *target) result() Result {
	res := Result{Target: t.Name, Host: t.Host, Port: t.Port}
	if t.host != nil {
		ended := 0
		for _, l := range t.host.lookups {
			if l.ended {
				ended++
			}
			res.Pending = res.Pending || l.pending || !l.ended
		}
		res.Lookups = make([]Lookup, 0, ended)
		for _, l := range t.host.lookups {
			if l.ended {
				res.Lookups = append(res.Lookups, l.Lookup)
			}
		}
	}
	if len(t.paths) > 0 {
		res.Paths = make([]Path, 0, len(t.paths))
	}
	for _, p := range t.paths {
		res.Paths = append(res.Paths, Path{
			Address: p.address,
			Servers: serversOf(res.Lookups, p.address.Addr()),
			Pending: p.pending,
			Steps:   slices.Clone(p.steps),
		})
		res.Pending = res.Pending || p.pending
	}
	return res
}

// serversOf lists the servers whose answer holds addr.
func serversOf(lookups []Lookup, addr netip.Addr) []netip.AddrPort {
	var servers []netip.AddrPort
	for _, l := range lookups {
		if slices.Contains(l.Addresses, addr) {
			servers = append(servers, l.Server)
		}
	}
	return servers
}
