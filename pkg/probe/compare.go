package probe

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// lateAfter is when a connect or a proxy's answer is late: by then the first SYN
	// was sent again (RFC 6298 section 2.1).
	lateAfter = time.Second
	// maxReferenced bounds the connects to addresses that only references gave, and
	// those around a proxy, of one target.
	maxReferenced = 3
)

// watch tells when the step that p begins is late.
func (r *round) watch(p *path) *time.Timer {
	begun := len(p.steps)
	return time.AfterFunc(lateAfter, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(p.steps) == begun && p.pending {
			if begun == 0 {
				r.testUDPLocked(p)
			}
			r.lateLocked(p)
		}
	})
}

// lateLocked starts what a late connect or proxy calls for.
func (r *round) lateLocked(p *path) {
	p.troubled = true
	if p.target.proxy != nil {
		r.aroundLocked(p.target)
	} else if !p.reference {
		r.compareLocked(p.target.host)
	}
}

// troubleLocked starts what the failed step s of p calls for.
func (r *round) troubleLocked(p *path, s Step) {
	p.troubled = true
	switch {
	case s.Cause == Canceled, p.reference:
	case p.target.proxy != nil:
		r.aroundLocked(p.target)
	case doubtsAddress(s):
		r.compareLocked(p.target.host)
	}
}

// doubtsAddress reports whether s may have failed because the address is not
// that of the target.
func doubtsAddress(s Step) bool {
	switch s.Cause {
	case TLSWrongHost, TLSUnknownAuthority, TLSNotTLS:
		return s.Phase == PhaseTLS
	case TCPExhausted:
		return false // this machine's own trouble
	default:
		return s.Phase == PhaseConnect
	}
}

// lateLookup starts what a question calls for that must be sent again.
func (r *round) lateLookup(q question) {
	if q.reference {
		return
	}
	r.mu.Lock()
	if !q.host.unasked() {
		r.compareLocked(q.host)
	}
	r.mu.Unlock()
}

// unasked reports whether programs of this machine find the name in the hosts file: what
// the servers say about it makes no difference to them then.
func (h *host) unasked() bool {
	return !slices.ContainsFunc(h.targets, func(t *target) bool { return len(t.Hosts) == 0 || t.proxy != nil })
}

// answeredLocked starts what the lookups of h that have ended call for.
func (r *round) answeredLocked(h *host) {
	if h.compare && h.compared == nil && !h.unasked() && r.doubtful(h) {
		r.compareLocked(h)
	}
	if !slices.ContainsFunc(h.lookups, func(l lookupSlot) bool { return !l.ended || len(l.Addresses) > 0 }) {
		for _, t := range h.targets {
			r.aroundLocked(t)
		}
	}
}

// doubtful reports whether a server has failed to give an address of h. That it has
// none of one family is no failure while it has some of the other.
func (r *round) doubtful(h *host) bool {
	for i, l := range h.lookups {
		switch {
		case !l.ended || l.pending, l.Cause == "", l.Cause == Canceled:
		case l.Cause == Other && l.Sent == 0:
			// Nothing was asked: the name or this machine does not allow it.
		case l.Cause == DNSNoData && r.ipv6:
			// A and AAAA of a server are neighbours.
			other := h.lookups[i^1]
			if other.ended && !other.pending && other.Cause != "" {
				return true
			}
		default:
			return true
		}
	}
	return false
}

// compareLocked asks the references for h, once.
func (r *round) compareLocked(h *host) {
	if h == nil || !h.compare || h.compared != nil || len(r.references) == 0 || r.open == 0 {
		return
	}
	h.compared = questions(r.references, r.ipv6)
	r.askLocked(h, h.compared, r.comparisons, true)
}

// comparedLocked connects to private ones among the addresses that a reference gave
// and no server did, so that it is known whether they would work.
func (r *round) comparedLocked(h *host, addresses []netip.Addr) {
	for _, t := range h.targets {
		if t.proxy != nil {
			continue
		}
		for _, addr := range addresses {
			if private(addr) && r.mayDial(t, addr) {
				r.referLocked(t, addr)
			}
		}
	}
}

// referLocked starts a connect to an address unless there is a path or there are enough.
func (r *round) referLocked(t *target, addr netip.Addr) {
	n := 0
	for _, p := range t.paths {
		if p.reference {
			n++
		}
	}
	i, known := t.search(addr)
	if known || n >= maxReferenced {
		return
	}
	p := &path{target: t, address: netip.AddrPortFrom(addr, t.port), pending: true, reference: true}
	t.paths = slices.Insert(t.paths, i, p)
	r.open++
	r.connect.add(t.index, p)
}

// private reports whether addr is one of a VPC or of a network joined to it: RFC 1918,
// RFC 6598, RFC 4193.
func private(addr netip.Addr) bool {
	shared := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10)
	return !linkLocal(addr) && (addr.IsPrivate() || shared.Contains(addr))
}
