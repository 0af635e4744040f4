package vpc

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/nodeprep/nodeprep/test/e2e/vpc/internal/layer"
)

// A Question is one DNS question that reached a server.
type Question struct {
	At     time.Time
	Server netip.Addr
	Name   string // as asked, without the trailing dot
	Type   string // A, AAAA, …
}

// A record is what a name has.
type record struct {
	// cname is another name, which has addresses unless it is a name of the resolver's.
	cname     string
	addresses []netip.Addr
}

// A dnsRule changes the answers to some questions.
type dnsRule struct {
	// servers it concerns; nil means all.
	servers []netip.Addr
	// name says for a lower-case name without trailing dot whether the rule concerns it.
	name func(string) bool
	// types of questions it concerns, dns.TypeA and the like; nil means all.
	types []uint16
	// One of these: no answer at all, an answer with this rcode, or a record.
	silent bool
	rcode  int
	record *record
	// vary makes a record for each answer.
	vary func() record
	// truncate answers over UDP that the answer does not fit into a datagram.
	truncate bool
}

// A resolver is all DNS servers of the VPC. They know the same names.
type resolver struct {
	zone  map[string]record // lower case; a key may begin with "*."
	delay time.Duration
	rules layer.Stack[dnsRule]
	done  chan struct{}

	mu        sync.Mutex
	closers   []func() error
	count     int
	questions []Question
}

const dnsTTL = 60 // seconds

// newResolver knows the names of the endpoints and of the node.
func newResolver(endpoints []*endpoint, nodeName string, o Options) *resolver {
	r := &resolver{
		zone: map[string]record{
			nodeName:  {addresses: []netip.Addr{o.node()}},
			proxyHost: {addresses: []netip.Addr{ProxyAddr()}},
		},
		delay: o.DNSDelay,
		done:  make(chan struct{}),
	}
	for _, e := range endpoints {
		rec := record{addresses: e.addresses()}
		if e.service == S3 {
			_, zone, _ := strings.Cut(e.hosts[2], ".")
			alias := "s3-r-w." + zone
			r.zone[strings.ToLower(alias)] = rec
			rec = record{cname: alias}
		}
		for _, h := range e.hosts {
			r.zone[strings.ToLower(h)] = rec
		}
	}
	return r
}

// listen starts a server on UDP and TCP port 53 of an address. It wants to be
// called in the router's namespace.
func (r *resolver) listen(ctx context.Context, server netip.Addr) error {
	at := netip.AddrPortFrom(server, 53).String()
	pc, err := new(net.ListenConfig).ListenPacket(ctx, "udp", at)
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", at)
	if err != nil {
		_ = pc.Close()
		return err
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { r.serve(server, w, q) })
	r.mu.Lock()
	r.closers = append(r.closers, pc.Close, l.Close)
	r.mu.Unlock()
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: handler}, {Listener: l, Handler: handler}} {
		// Both return when their socket is closed.
		go func() { _ = s.ActivateAndServe() }()
	}
	return nil
}

func (r *resolver) close() {
	close(r.done)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.closers {
		_ = c()
	}
}

func (r *resolver) serve(server netip.Addr, w dns.ResponseWriter, q *dns.Msg) {
	if len(q.Question) != 1 {
		return
	}
	question := q.Question[0]
	r.note(server, question)
	if r.delay > 0 {
		timer := time.NewTimer(r.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.done:
			return
		}
	}
	_, udp := w.RemoteAddr().(*net.UDPAddr)
	m := r.answer(server, q, udp)
	if m == nil {
		return
	}
	size := dns.MinMsgSize
	if opt := q.IsEdns0(); opt != nil {
		size = int(opt.UDPSize())
		m.SetEdns0(opt.UDPSize(), false)
	}
	if udp {
		m.Truncate(size)
	}
	// The client may have gone away; there is nobody to tell.
	_ = w.WriteMsg(m)
}

func (r *resolver) note(server netip.Addr, q dns.Question) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	if len(r.questions) < 1<<16 {
		r.questions = append(r.questions, Question{
			At: time.Now(), Server: server,
			Name: strings.TrimSuffix(q.Name, "."), Type: dns.TypeToString[q.Qtype],
		})
	}
}

// answer is nil for silence.
func (r *resolver) answer(server netip.Addr, q *dns.Msg, udp bool) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	name := strings.ToLower(strings.TrimSuffix(q.Question[0].Name, "."))
	rec, found := r.lookup(name)
	for _, rule := range slices.Backward(r.rules.All()) {
		if rule.servers != nil && !slices.Contains(rule.servers, server) || !rule.name(name) ||
			rule.types != nil && !slices.Contains(rule.types, q.Question[0].Qtype) {
			continue
		}
		switch {
		case rule.silent:
			return nil
		case rule.truncate:
			if udp {
				m.Truncated = true
				return m
			}
		case rule.record != nil:
			rec, found = *rule.record, true
		case rule.vary != nil:
			rec, found = rule.vary(), true
		default:
			m.Rcode = rule.rcode
			if m.Rcode == dns.RcodeNameError {
				m.Ns = soa(name)
			}
			return m
		}
		break
	}
	if !found {
		m.Rcode = dns.RcodeNameError
		m.Ns = soa(name)
		return m
	}
	r.fill(m, rec)
	if len(m.Answer) == 0 || rec.cname != "" && len(m.Answer) == 1 {
		m.Ns = soa(name)
	}
	return m
}

// fill adds the records for the question, addresses in an order that changes
// from answer to answer.
func (r *resolver) fill(m *dns.Msg, rec record) {
	q := m.Question[0]
	owner := q.Name
	if rec.cname != "" {
		m.Answer = append(m.Answer, &dns.CNAME{Hdr: header(owner, dns.TypeCNAME), Target: dns.Fqdn(rec.cname)})
		owner = dns.Fqdn(rec.cname)
		if alias, ok := r.lookup(strings.ToLower(rec.cname)); ok {
			rec = alias
		}
	}
	var answers []dns.RR
	for _, a := range rec.addresses {
		switch {
		case q.Qtype == dns.TypeA && a.Is4():
			answers = append(answers, &dns.A{Hdr: header(owner, dns.TypeA), A: a.AsSlice()})
		case q.Qtype == dns.TypeAAAA && a.Is6():
			answers = append(answers, &dns.AAAA{Hdr: header(owner, dns.TypeAAAA), AAAA: a.AsSlice()})
		}
	}
	rand.Shuffle(len(answers), func(i, j int) { answers[i], answers[j] = answers[j], answers[i] })
	m.Answer = append(m.Answer, answers...)
}

// lookup finds a name, or the wildcard one label above it.
func (r *resolver) lookup(name string) (record, bool) {
	if rec, ok := r.zone[name]; ok {
		return rec, true
	}
	_, parent, _ := strings.Cut(name, ".")
	rec, ok := r.zone["*."+parent]
	return rec, ok
}

func header(name string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: dnsTTL}
}

func soa(name string) []dns.RR {
	_, zone, ok := strings.Cut(name, ".")
	if !ok {
		zone = name
	}
	return []dns.RR{&dns.SOA{
		Hdr: header(dns.Fqdn(zone), dns.TypeSOA), Ns: "ns." + dns.Fqdn(zone), Mbox: "hostmaster." + dns.Fqdn(zone),
		Serial: 1, Refresh: 7200, Retry: 900, Expire: 1209600, Minttl: dnsTTL,
	}}
}
