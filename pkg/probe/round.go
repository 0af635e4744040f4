package probe

import (
	"context"
	"crypto/x509"
	"net/netip"
	"slices"
	"sync"
	"time"
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

	ipv6      bool
	servers   []netip.AddrPort
	questions []*queue[question] // one per server
	connect   queue[*path]
	tunnel    queue[*path]
	handshake queue[*path]
	exchange  queue[*path]
	trials    trials
	chains    chainCache

	experiments Experiments
	references  []netip.AddrPort   // those that are not among servers
	comparisons []*queue[question] // one per reference
	clock       clock
	given       []Target  // as given to Run
	results     []*target // of each of them

	// mu guards all below and whatever targets, hosts and paths say about results.
	mu      sync.Mutex
	targets []*target // distinct ones
	hosts   map[string]*host
	open    int           // work that has not ended
	idle    chan struct{} // closed when open becomes 0
	grown   chan struct{} // holds one token when a result gained something
}

// A target is a Target under way, or several that ask for the same.
type target struct {
	*Target
	index int
	host  *host // the name to look up; nil for an address literal
	port  uint16
	roots *x509.CertPool
	proxy *proxy  // nil for none
	paths []*path // sorted by address

	direct *target // without the proxy, once that is tried
	around bool    // this is such a target
	system *system // nil unless asked for
	err    string  // why it cannot be probed
}

// newRound prepares the state; nothing is sent before begin.
func newRound(ctx context.Context, p *Prober, timing Timing, started time.Time, targets []Target) *round {
	r := &round{
		timing: timing, started: started, roots: p.Roots, linkLocal: &p.linkLocal, ipv6: p.IPv6,
		experiments: p.Experiments,
		given:       targets,
		results:     make([]*target, 0, len(targets)),
		targets:     make([]*target, 0, len(targets)),
		hosts:       make(map[string]*host, len(targets)),
		open:        1, // begin
		idle:        make(chan struct{}),
		grown:       make(chan struct{}, 1),
	}
	r.connect = queue[*path]{
		limit: maxConnects,
		work:  func(p *path) { r.dial(ctx, p) },
		hold:  func() bool { return r.handshake.waiting() >= maxUnshaken },
	}
	r.tunnel = queue[*path]{limit: maxRequests, work: func(p *path) { r.passProxy(ctx, p) }}
	r.handshake = queue[*path]{limit: maxHandshakes, work: func(p *path) {
		r.connect.kick()
		r.shake(ctx, p)
	}}
	r.exchange = queue[*path]{limit: maxRequests, work: func(p *path) { r.request(ctx, p) }}
	r.trials.queue = queue[*trial]{limit: maxTrials, work: func(t *trial) { r.try(ctx, t) }}

	r.servers, r.questions = r.askers(ctx, p.Servers, nil)
	r.references, r.comparisons = r.askers(ctx, p.Experiments.References, r.servers)
	r.prepare(targets)
	return r
}

// askers makes one queue of questions for each server that is not among others.
func (r *round) askers(ctx context.Context, servers, others []netip.AddrPort) ([]netip.AddrPort, []*queue[question]) {
	var distinct []netip.AddrPort
	var queues []*queue[question]
	for _, s := range servers {
		if !slices.Contains(distinct, s) && !slices.Contains(others, s) {
			distinct = append(distinct, s)
			queues = append(queues, &queue[question]{
				limit: maxQuestions,
				work:  func(q question) { r.resolve(ctx, q) },
			})
		}
	}
	return distinct, queues
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

// begin queues all questions and the paths of the addresses that are known already.
func (r *round) begin(ctx context.Context) {
	if r.roots == nil && slices.ContainsFunc(r.targets, func(t *target) bool { return t.TLS && t.roots == nil }) {
		// crypto/x509 reads the system's roots once per process, and a verification
		// would wait for that; it is done by the time the first answer is here.
		go func() { _, _ = x509.SystemCertPool() }()
	}
	r.mu.Lock()
	for _, t := range r.targets {
		if t.system != nil {
			r.open++
			go r.lookSystem(ctx, t)
		}
		r.startLocked(t)
	}
	r.mu.Unlock()
	r.end()
}

// step appends a step to a path; last says that none follows.
func (r *round) step(p *path, s Step, last, pending bool) {
	r.mu.Lock()
	p.steps = append(p.steps, s)
	p.pending = pending || !last
	if s.Cause != "" && !pending {
		r.troubleLocked(p, s)
	}
	r.settleLocked(p, s, pending)
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
