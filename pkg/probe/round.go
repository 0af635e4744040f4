package probe

import (
	"context"
	"crypto/x509"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// grace is how long steps have to notice that their context ended.
	grace = 500 * time.Millisecond
)

// A round is the state of one Run. Work waits in queues and passes from one to
// the next: a question gives paths, and a path is connected, shaken hands with,
// and sent the requests of its target.
type round struct {
	timing    Timing
	started   time.Time
	roots     *x509.CertPool
	linkLocal *bucket

	servers   []*queue[question]
	connect   queue[*path]
	handshake queue[*path]
	exchange  queue[*path]
	chains    chainCache

	// mu guards all below and whatever targets, hosts and paths say about results.
	mu      sync.Mutex
	targets []*target
	hosts   []*host
	open    int           // work that has not ended
	idle    chan struct{} // closed when open becomes 0
	grown   chan struct{} // holds one token when a result gained something
}

// A target is a Target under way.
type target struct {
	*Target
	index int
	host  *host // nil for an address literal
	roots *x509.CertPool
	paths []*path // sorted by address
}

// newRound prepares the state; nothing is sent before begin.
func newRound(ctx context.Context, p *Prober, timing Timing, started time.Time, targets []Target) *round {
	r := &round{
		timing: timing, started: started, roots: p.Roots, linkLocal: &p.linkLocal,
		targets: make([]*target, 0, len(targets)),
		open:    1, // begin
		idle:    make(chan struct{}),
		grown:   make(chan struct{}, 1),
	}
	r.connect = queue[*path]{
		limit: maxConnects,
		work:  func(p *path) { r.dial(ctx, p) },
		hold:  func() bool { return r.handshake.waiting() >= maxUnshaken },
	}
	r.handshake = queue[*path]{limit: maxHandshakes, work: func(p *path) {
		r.connect.kick()
		r.shake(ctx, p)
	}}
	r.exchange = queue[*path]{limit: maxRequests, work: func(p *path) { r.request(ctx, p) }}

	var servers []netip.AddrPort
	for _, s := range p.Servers {
		if !slices.Contains(servers, s) {
			servers = append(servers, s)
			r.servers = append(r.servers, &queue[question]{
				limit: maxQuestions,
				work:  func(q question) { r.resolve(ctx, q) },
			})
		}
	}
	hosts := make(map[string]*host, len(targets))
	bundles := make(map[string]*x509.CertPool)
	for i := range targets {
		t := &target{Target: &targets[i], index: i, roots: p.Roots}
		r.targets = append(r.targets, t)
		if t.TLS && len(t.Roots) > 0 {
			t.roots = bundle(bundles, t.Roots)
		}
		if _, err := netip.ParseAddr(t.Host); err == nil {
			continue
		}
		key := strings.ToLower(t.Host)
		h := hosts[key]
		if h == nil {
			h = &host{name: dns.Fqdn(t.Host), lookups: questions(servers, p.IPv6)}
			hosts[key] = h
			r.hosts = append(r.hosts, h)
		}
		t.host = h
		h.targets = append(h.targets, t)
	}
	return r
}

// bundle parses a PEM bundle unless that was done before. One without a
// certificate is an empty pool, to which no chain leads.
func bundle(parsed map[string]*x509.CertPool, pem []byte) *x509.CertPool {
	pool := parsed[string(pem)]
	if pool == nil {
		pool = x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		parsed[string(pem)] = pool
	}
	return pool
}

// begin queues all questions and the paths of the address literals.
func (r *round) begin() {
	if r.roots == nil && slices.ContainsFunc(r.targets, func(t *target) bool { return t.TLS && t.roots == nil }) {
		// crypto/x509 reads the system's roots once per process, and a verification
		// would wait for that; it is done by the time the first answer is here.
		go func() { _, _ = x509.SystemCertPool() }()
	}
	r.mu.Lock()
	for _, t := range r.targets {
		if addr, err := netip.ParseAddr(t.Host); err == nil {
			r.followLocked(t, addr)
		}
	}
	r.mu.Unlock()
	for _, h := range r.hosts {
		for slot := range h.lookups {
			r.mu.Lock()
			r.open++
			r.mu.Unlock()
			server := slot * len(r.servers) / len(h.lookups)
			limited := linkLocal(h.lookups[slot].Server.Addr())
			r.servers[server].add(h.targets[0].index, question{host: h, slot: slot, limited: limited})
		}
	}
	r.end()
}

// endLookup records an ended lookup and starts the paths to new addresses.
func (r *round) endLookup(q question, l Lookup, pending bool) {
	r.mu.Lock()
	q.host.lookups[q.slot] = lookupSlot{
		Lookup: l, pending: pending,
		// One that never began says nothing, unless that it was canceled.
		ended: !pending || l.Sent > 0 || l.Cause != "",
	}
	for _, t := range q.host.targets {
		for _, addr := range l.Addresses {
			r.followLocked(t, addr)
		}
	}
	r.growLocked()
	r.mu.Unlock()
	r.end()
}

// followLocked starts the path to addr unless there is one.
func (r *round) followLocked(t *target, addr netip.Addr) {
	address := netip.AddrPortFrom(addr, t.Port)
	i, known := slices.BinarySearchFunc(t.paths, address, func(p *path, a netip.AddrPort) int {
		return p.address.Compare(a)
	})
	if known {
		return
	}
	p := &path{target: t, address: address, pending: true}
	t.paths = slices.Insert(t.paths, i, p)
	r.open++
	r.connect.add(t.index, p)
}

// step appends a step to a path; last says that none follows.
func (r *round) step(p *path, s Step, last, pending bool) {
	r.mu.Lock()
	p.steps = append(p.steps, s)
	p.pending = pending || !last
	r.growLocked()
	r.mu.Unlock()
}

func (r *round) growLocked() {
	select {
	case r.grown <- struct{}{}:
	default:
	}
}

// end says that one piece of work has ended.
func (r *round) end() {
	r.mu.Lock()
	r.open--
	if r.open == 0 {
		close(r.idle)
	}
	r.mu.Unlock()
}

// since is the time of t within the round.
func (r *round) since(t time.Time) Duration { return Duration(t.Sub(r.started)) }

// wait returns when all work has ended. Everything in here returns at once when
// ctx ends; a target's Header function might not, and must not hold the report.
func (r *round) wait(ctx context.Context) {
	select {
	case <-r.idle:
		return
	case <-ctx.Done():
	}
	limit := time.NewTimer(grace)
	defer limit.Stop()
	select {
	case <-r.idle:
	case <-limit.C:
	}
}

// report calls progress until finished is closed.
func (r *round) report(progress func(Report), finished <-chan struct{}) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-finished:
			return
		case <-pause.C:
		}
		select {
		case <-finished:
			return
		case <-r.grown:
		}
		progress(r.snapshot())
		pause.Reset(r.timing.Progress)
	}
}
