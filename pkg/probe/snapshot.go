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
	// reference says that only a reference gave the address: it is connected to, and no more.
	reference bool
	// troubled says that a step failed or is late.
	troubled bool

	conn   *connection
	trials []*trial
}

// snapshot copies what is known so far.
func (r *round) snapshot() Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	report := Report{
		Started: r.started,
		Took:    Duration(time.Since(r.started)),
		Results: make([]Result, len(r.results)),
		Clock:   r.clockReadings(),
	}
	for i, t := range r.results {
		report.Results[i] = t.result(&r.given[i])
	}
	return report
}

// result copies the state of t as the result of given, which is t or asks for
// the same. The round is locked.
func (t *target) result(given *Target) Result {
	res := Result{Target: given.Name, Host: given.Host, Port: given.Port, Err: t.err}
	if t.host != nil {
		var pending, open bool
		res.Lookups, pending = shown(t.host.lookups)
		res.Compared, open = shown(t.host.compared)
		res.Pending = pending || open
	}
	if len(t.paths) > 0 {
		res.Paths = make([]Path, 0, len(t.paths))
	}
	for _, p := range t.paths {
		servers := serversOf(res.Lookups, p.address.Addr())
		if p.reference {
			servers = serversOf(res.Compared, p.address.Addr())
		}
		made, open := p.experiments()
		res.Paths = append(res.Paths, Path{
			Address:     p.address,
			Servers:     servers,
			Reference:   p.reference,
			Pending:     p.pending,
			Steps:       slices.Clone(p.steps),
			Experiments: made,
		})
		res.Pending = res.Pending || p.pending || open
	}
	if t.direct != nil {
		direct := t.direct.result(given)
		res.Direct = &direct
		res.Pending = res.Pending || direct.Pending
	}
	if given.System && t.system != nil {
		res.System = t.system.result()
		res.Pending = res.Pending || t.system.pending || res.System == nil
	}
	return res
}

// shown copies the lookups that may be shown and says whether some did not end.
func shown(slots []lookupSlot) (lookups []Lookup, pending bool) {
	if len(slots) == 0 {
		return nil, false
	}
	ended := 0
	for _, l := range slots {
		if l.ended {
			ended++
		}
		pending = pending || l.pending || !l.ended
	}
	lookups = make([]Lookup, 0, ended)
	for _, l := range slots {
		if l.ended {
			lookups = append(lookups, l.Lookup)
		}
	}
	return lookups, pending
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
