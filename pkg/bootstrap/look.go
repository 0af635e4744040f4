package bootstrap

import (
	"context"
	"net/netip"
	"slices"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// maxLooks is how many addresses the kernel is asked about after a round.
const maxLooks = 64

// look adds to the network's state how the kernel would reach what failed: the
// addresses of failed paths, silent DNS servers and, beside them, the API server.
// While nothing fails it asks for nothing. It reports whether it asked.
func (r *run) look(ctx context.Context, report probe.Report) bool {
	addrs, starved := suspects(report)
	if len(addrs) == 0 {
		r.out.Network.Destinations = nil
		return false
	}
	if ds, err := r.Look(ctx, addrs); err == nil {
		r.out.Network.Destinations = ds
	}
	if !starved {
		return true
	}
	// Silent DNS may be this machine's own doing; the counter was read before
	// the round.
	if s, err := r.Network(ctx); err == nil {
		r.out.Network.LinkLocalDropped = r.droppedSince(s.LinkLocalDropped)
	}
	return true
}

// suspects are the addresses to ask the kernel about, and whether a DNS server or
// the metadata service was silent.
func suspects(report probe.Report) (addrs []netip.Addr, starved bool) {
	add := func(a netip.Addr) {
		if a = a.Unmap(); len(addrs) < maxLooks && a.IsValid() && !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	for _, res := range report.Results {
		for _, l := range res.Lookups {
			if l.Cause == probe.DNSTimeout {
				starved = true
				add(l.Server.Addr())
			}
		}
		for _, p := range res.Paths {
			if p.Cause() != "" {
				starved = starved || res.Target == MetadataTarget
				add(p.Address.Addr())
			}
		}
		if s := res.System; s != nil && s.Path != nil && s.Path.Cause() != "" {
			add(s.Path.Address.Addr())
		}
	}
	if api, ok := report.Result(apiServerName); ok && len(addrs) > 0 {
		for _, p := range api.Paths {
			add(p.Address.Addr())
		}
	}
	return addrs, starved
}

// droppedSince is by how much the counter of dropped packets grew since the run
// began. A counter that fell was reset with its device.
func (r *run) droppedSince(now uint64) uint64 {
	if r.dropped == nil || now < *r.dropped {
		r.dropped = &now
	}
	return now - *r.dropped
}
