package probe

import (
	"crypto/x509"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// sameness is what two targets have in common that share their measurements.
type sameness struct {
	host  string // in lower case
	port  uint16
	tls   bool
	roots *x509.CertPool
	proxy Proxy
}

// prepare makes the targets under way and their hosts. Targets that ask the same
// of the same name are measured once.
func (r *round) prepare(targets []Target) {
	bundles := make(map[string]*x509.CertPool)
	known := make(map[sameness]*target, len(targets))
	for i := range targets {
		given := &targets[i]
		roots := r.roots
		if given.TLS && len(given.Roots) > 0 {
			roots = bundle(bundles, given.Roots)
		}
		key := sameness{strings.ToLower(given.Host), given.Port, given.TLS, roots, given.Proxy}
		t := known[key]
		if t == nil || !slices.Equal(t.Hosts, given.Hosts) || !slices.EqualFunc(t.Requests, given.Requests, sameRequest) {
			t = r.newTarget(given, i, roots)
			known[key] = t
		}
		if given.System && t.system == nil {
			t.system = new(system)
		}
		if t.host != nil && t.proxy == nil && given.Compare {
			t.host.compare = true
		}
		r.results = append(r.results, t)
	}
}

// sameRequest reports whether the answers to a are answers to b. Functions
// cannot be compared.
func sameRequest(a, b Request) bool {
	return a.Method == b.Method && a.Path == b.Path && a.BodyLimit == b.BodyLimit && a.Header == nil && b.Header == nil
}

// newTarget adds the target and the name that must be looked up for it.
func (r *round) newTarget(given *Target, index int, roots *x509.CertPool) *target {
	t := &target{Target: given, index: index, port: given.Port, roots: roots}
	r.targets = append(r.targets, t)
	name := given.Host
	if given.Proxy != "" {
		var err error
		if t.proxy, err = parseProxy(given.Proxy); err != nil {
			t.err = err.Error()
			return t
		}
		name, t.port = t.proxy.host, t.proxy.port
	}
	if _, err := netip.ParseAddr(name); err != nil {
		t.host = r.hostLocked(name, index)
		t.host.targets = append(t.host.targets, t)
	}
	return t
}

// hostLocked is the host with the given name, a new one when there is none.
func (r *round) hostLocked(name string, index int) *host {
	key := strings.ToLower(name)
	h := r.hosts[key]
	if h == nil {
		h = &host{name: dns.Fqdn(name), index: index}
		r.hosts[key] = h
	}
	return h
}

// startLocked puts the questions of t's host, unless that was done, and follows
// the addresses that are known.
func (r *round) startLocked(t *target) {
	if t.err != "" {
		return
	}
	if t.proxy == nil {
		for _, addr := range t.Hosts {
			r.followLocked(t, addr)
		}
	}
	if t.host == nil {
		name := t.Host
		if t.proxy != nil {
			name = t.proxy.host
		}
		if addr, err := netip.ParseAddr(name); err == nil {
			r.followLocked(t, addr)
		}
		return
	}
	for _, l := range t.host.lookups {
		for _, addr := range l.Addresses {
			r.followLocked(t, addr)
		}
	}
	if t.host.lookups == nil {
		t.host.lookups = questions(r.servers, r.ipv6)
		r.askLocked(t.host, t.host.lookups, r.questions, false)
	}
}

// askLocked queues one question for each slot.
func (r *round) askLocked(h *host, slots []lookupSlot, queues []*queue[question], reference bool) {
	r.open += len(slots)
	for slot := range slots {
		limited := linkLocal(slots[slot].Server.Addr())
		queues[slot*len(queues)/len(slots)].add(h.index, question{host: h, slot: slot, limited: limited, reference: reference})
	}
}

// followLocked starts the path to addr unless there is one.
func (r *round) followLocked(t *target, addr netip.Addr) {
	i, known := t.search(addr)
	p := &path{target: t, address: netip.AddrPortFrom(addr, t.port), pending: true}
	switch {
	case known && t.paths[i].reference:
		// Until now only a reference knew the address, and it was not followed to its end.
		t.paths[i] = p
	case known || !r.mayDial(t, addr):
		return
	default:
		t.paths = slices.Insert(t.paths, i, p)
	}
	r.open++
	r.connect.add(t.index, p)
}

// search is where the path to addr is or belongs.
func (t *target) search(addr netip.Addr) (int, bool) {
	return slices.BinarySearchFunc(t.paths, netip.AddrPortFrom(addr, t.port), func(p *path, a netip.AddrPort) int {
		return p.address.Compare(a)
	})
}

// pass records the passed step s of p and hands p on, or ends it when s is the last.
func (r *round) pass(p *path, s Step) {
	next := r.next(p, s.Phase)
	r.step(p, s, next == nil, false)
	if next == nil {
		r.endPath(p)
		return
	}
	next.add(p.target.index, p)
}

// next is where a path goes after a passed phase, nil when it has ended.
func (r *round) next(p *path, after Phase) *queue[*path] {
	switch {
	case p.reference:
		return nil
	case after == PhaseConnect && p.target.proxy != nil:
		return &r.tunnel
	case p.target.TLS && after != PhaseTLS:
		return &r.handshake
	case len(p.target.Requests) > 0:
		return &r.exchange
	default:
		return nil
	}
}
