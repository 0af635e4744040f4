package bootstrap

import (
	"context"
	"slices"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// flushCap is how long emptying the resolver's cache may take.
const flushCap = 2 * time.Second

// flush empties the cache of the machine's own resolver once, when DNS was just
// repaired or answers nodeprep and not the machine, and looks again by the
// machine's own way. What the cache holds may be the failure that is over. Whether
// it could be emptied shows in what is then measured.
func (r *run) flush(ctx context.Context) {
	i := slices.IndexFunc(r.out.Plan.Targets, func(t Target) bool { return t.System })
	if i < 0 || ctx.Err() != nil {
		return
	}
	t := r.out.Plan.Targets[i].Target
	res, ok := r.out.Report.Result(t.Name)
	// Behind a proxy nobody here resolves the name: the lookups are the proxy's.
	stuck := ok && t.Proxy == "" && res.System != nil && res.System.Cause != "" && slices.ContainsFunc(res.Lookups, func(l probe.Lookup) bool { return len(l.Addresses) > 0 })
	repaired := r.dnsBlocked && !blockedByDNS(r.verdict(r.out.Report))
	r.flushed = r.flushed && stuck
	if !repaired && (!stuck || r.flushed) {
		return
	}
	r.dnsBlocked, r.flushed = false, true
	r.Extend(flushCap + grace)
	flushing, cancel := context.WithTimeout(ctx, flushCap)
	defer cancel()
	_ = r.FlushDNS(flushing)
	r.measure(ctx, []probe.Target{t}, r.bareExperiments(), false)
}
