package bootstrap

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// roundOver is how long before the end of a round's budget its pending results
// are judged by what is known of them.
const roundOver = 500 * time.Millisecond

// A view is a report prepared for the rules: what was asked, sorted by what it
// means. Rules only read it.
type view struct {
	plan    Plan
	state   netcfg.State
	history History
	now     time.Time
	// v4 and v6 say which families the node can use.
	v4, v6 bool
	// targets of the plan, gate first, then by name; then the metadata service
	// when the report has it.
	targets []*targetView
	meta    *targetView
	servers []*serverView
	// subnets by their prefix.
	subnets map[netip.Prefix]*subnetView
	// partial says that some result is still pending.
	partial bool
	// stateKnown is false on a laptop, where no network state was given.
	stateKnown bool
}

// A targetView is one target of the plan with what was measured.
type targetView struct {
	Target
	res probe.Result
	// settled says that nothing about it is under way or unknown.
	settled bool
	passed  bool
	// aws says that the name is one of AWS's.
	aws bool
	// outcomes has what each of view.servers said about the name.
	outcomes []outcome
	// decider is the index of the server whose answer the node's programs use,
	// -1 while no server gives one.
	decider int
	// paths are those of the decider's addresses, spare those that only other
	// servers know.
	paths, spare []*pathView
}

func (t *targetView) name() string {
	if t == nil {
		return ""
	}
	return t.Name
}

// A pathView is one address of a target.
type pathView struct {
	probe.Path
	target *targetView
	addr   netip.Addr
	kind   kind
	subnet *subnetView
	// ok, unknown: otherwise the path failed by cause in step.
	ok, unknown bool
	cause       probe.Cause
	step        probe.Step
	// answer is the HTTP answer that made the path fail or show a busy server.
	answer *probe.HTTPInfo
	busy   bool
}

// Causes that follow from what an HTTP answer means.
const (
	causeNotAPI   probe.Cause = "not-an-api-server"
	causeMetadata probe.Cause = "metadata-refused" // any status but 200
)

func (p *pathView) silent() bool { return p.cause == probe.TCPTimeout }

// answered reports whether a packet from the address itself came back.
func (p *pathView) answered() bool {
	if len(p.Steps) == 0 {
		return false
	}
	return p.step.Phase != probe.PhaseConnect || p.step.Cause == "" || p.cause == probe.TCPRefused || p.cause == probe.TCPReset
}

// A kind says where an address lies, seen from the node.
type kind uint8

const (
	kindLinkLocal kind = iota
	kindSubnet         // in the node's own subnet
	kindVPC            // elsewhere in the VPC
	kindPrivate        // private, outside the VPC
	kindPublic
)

func (k kind) inVPC() bool { return k == kindSubnet || k == kindVPC }

// sharedSpace is the carriers' range, which VPCs use too (RFC 6598).
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

func (v *view) kindOf(a netip.Addr) kind {
	in := func(ps []netip.Prefix) bool {
		return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	switch {
	case a.IsLinkLocalUnicast():
		return kindLinkLocal
	case in(v.plan.Instance.Subnet):
		return kindSubnet
	case in(v.plan.Instance.VPC):
		return kindVPC
	case a.IsPrivate(), sharedSpace.Contains(a):
		if len(v.plan.Instance.VPC) == 0 {
			return kindVPC // nothing is known of the VPC: the common case
		}
		return kindPrivate
	}
	return kindPublic
}

// A subnetView is the addresses that share a subnet, as far as the node can know:
// its own subnet is given, others are taken to be as large.
type subnetView struct {
	prefix netip.Prefix
	// answering and silent are the targets with such an address in the group.
	answering, silent []*targetView
	// filtered says that the pattern follows the subnet: nothing in it answers,
	// and a target silent here answers elsewhere.
	filtered bool
}

func (v *view) subnetOf(a netip.Addr, k kind) *subnetView {
	if !k.inVPC() {
		return nil
	}
	bits := 24
	if a.Is6() {
		bits = 64
	}
	for _, p := range v.plan.Instance.Subnet {
		if p.Addr().Is6() == a.Is6() {
			bits = p.Bits()
		}
	}
	prefix, err := a.Prefix(bits)
	if err != nil {
		return nil
	}
	g := v.subnets[prefix]
	if g == nil {
		g = &subnetView{prefix: prefix}
		v.subnets[prefix] = g
	}
	return g
}

func newView(p Plan, r probe.Report, s netcfg.State, h History, now time.Time) *view {
	v := &view{
		plan: p, state: s, history: h, now: now, subnets: map[netip.Prefix]*subnetView{},
		stateKnown: len(s.Links) > 0 || len(s.Routes) > 0,
	}
	v.families()
	over := max(time.Duration(r.Took), now.Sub(r.Started)) >= probe.RoundBudget(len(p.Targets))-roundOver
	results := make(map[string]probe.Result, len(r.Results))
	for _, res := range r.Results {
		results[res.Target] = res
	}
	for _, t := range p.Targets {
		v.targets = append(v.targets, &targetView{
			Target: t, res: results[t.Name], decider: -1, aws: isAWS(t.Host, p.Instance.DNSSuffix),
		})
	}
	rank := []Role{RoleGate, RoleReady, RoleWorkload, RoleOptional}
	slices.SortStableFunc(v.targets, func(a, b *targetView) int {
		return cmp.Or(cmp.Compare(slices.Index(rank, a.Role), slices.Index(rank, b.Role)), cmp.Compare(a.Name, b.Name))
	})
	if res, ok := results[MetadataTarget]; ok {
		v.meta = &targetView{res: res, decider: -1, Target: Target{Role: RoleGate, Service: MetadataTarget}}
		v.meta.Name, v.meta.Host, v.meta.Port, v.meta.Pool = MetadataTarget, res.Host, res.Port, true
		v.targets = append(v.targets, v.meta)
	}
	v.askedServers()
	for _, t := range v.targets {
		v.decide(t)
		v.follow(t)
		if _, ok := results[t.Name]; !ok || t.res.Pending && !over {
			t.settled = false
		}
		v.partial = v.partial || !t.settled && !over
		t.passed = v.pass(t)
	}
	for _, g := range v.subnets {
		g.filtered = len(g.answering) == 0 && len(g.silent) > 1 &&
			slices.ContainsFunc(g.silent, (*targetView).answers)
	}
	return v
}

// families finds out which IP families the node can use.
func (v *view) families() {
	i := v.plan.Instance
	v.v4, v.v6 = i.LocalIPv4.IsValid(), len(i.IPv6) > 0 || v.state.HasIPv6()
	for _, l := range v.state.Links {
		v.v4 = v.v4 || !l.Loopback && len(l.Usable(false)) > 0
	}
	if !v.v4 && !v.v6 {
		v.v4 = true
	}
}

func (v *view) usable(a netip.Addr) bool { return a.Is4() && v.v4 || a.Is6() && v.v6 }

// follow sorts the target's paths and records where answers came from.
func (v *view) follow(t *targetView) {
	t.settled = true
	var decider netip.AddrPort
	if t.decider >= 0 {
		decider = v.servers[t.decider].addr
	}
	literal := len(t.res.Lookups) == 0
	for _, rp := range t.res.Paths {
		a := rp.Address.Addr().Unmap()
		if !literal && !v.usable(a) {
			continue
		}
		p := &pathView{Path: rp, target: t, addr: a, kind: v.kindOf(a)}
		p.subnet = v.subnetOf(a, p.kind)
		p.judge()
		if literal || len(rp.Servers) == 0 || decider.IsValid() && slices.Contains(rp.Servers, decider) {
			t.paths = append(t.paths, p)
			t.settled = t.settled && !p.unknown
		} else {
			t.spare = append(t.spare, p)
		}
		if g := p.subnet; g != nil {
			switch {
			case p.answered():
				g.answering = appendOnce(g.answering, t)
			case p.silent():
				g.silent = appendOnce(g.silent, t)
			}
		}
	}
	sortPaths := func(a, b *pathView) int { return a.addr.Compare(b.addr) }
	slices.SortFunc(t.paths, sortPaths)
	slices.SortFunc(t.spare, sortPaths)
	if len(t.paths) == 0 && slices.Contains(t.outcomes, outUnknown) && t.decider < 0 && !slices.ContainsFunc(t.outcomes, outcome.failed) {
		t.settled = false
	}
}

// appendOnce appends t unless it is the last: targets are visited one by one.
func appendOnce(ts []*targetView, t *targetView) []*targetView {
	if n := len(ts); n > 0 && ts[n-1] == t {
		return ts
	}
	return append(ts, t)
}

// judge finds out whether the path is good and by what it failed.
func (p *pathView) judge() {
	p.cause = p.Cause()
	for _, s := range p.Steps {
		p.step = s
		if s.HTTP != nil && p.target.Service == MetadataTarget && s.HTTP.Status != 200 {
			p.cause, p.answer = causeMetadata, s.HTTP
			break
		}
		if s.Cause != "" {
			break
		}
		if s.HTTP != nil && p.target.isAPIServer() {
			busy, alive := aliveAPI(s.HTTP)
			if busy || !alive {
				p.answer = s.HTTP
			}
			p.busy = p.busy || busy
			if !alive {
				p.cause = causeNotAPI
				break
			}
		}
	}
	switch {
	case p.cause == probe.Canceled, p.cause == "" && !p.OK():
		p.unknown, p.cause = true, ""
	case p.cause == "":
		p.ok = true
	}
}

// aliveAPI says whether an answer over a verified connection is an API
// server's, and whether it says that it is busy or not ready.
func aliveAPI(h *probe.HTTPInfo) (busy, alive bool) {
	if h.Status == 429 || h.Status >= 500 {
		return true, true
	}
	// Anything can answer 200; an API server that is ready says ok.
	if h.Status == 200 && strings.HasPrefix(h.Path, "/readyz") {
		return false, strings.TrimSpace(h.Body) == "ok"
	}
	body := strings.Map(func(r rune) rune {
		if r == ' ' || r == '\n' || r == '\r' || r == '\t' {
			return -1
		}
		return r
	}, h.Body)
	return false, strings.Contains(body, `"kind":"Status"`)
}

// pass reports whether the target is as reachable as the mode asks.
func (v *view) pass(t *targetView) bool {
	if v.undecided(t) {
		return false
	}
	if v.plan.Policy.Mode == ModeStrict && !t.Pool {
		return t.settled && len(t.paths) > 0 && !slices.ContainsFunc(t.paths, func(p *pathView) bool { return !p.ok })
	}
	return slices.ContainsFunc(t.paths, func(p *pathView) bool { return p.ok })
}

func (t *targetView) isAPIServer() bool { return t.Service == apiServerName }
func (t *targetView) isS3() bool        { return t.Service == "s3" }

// isService reports whether the target is an AWS service other than S3, one
// that an interface endpoint can stand for.
func (v *view) isService(t *targetView) bool {
	return t != v.meta && !t.isAPIServer() && !t.isS3() && t.aws
}

// awsSuffixes are the DNS suffixes of the public partitions' service names
// (botocore's partitions.json); the metadata service names the others'.
var awsSuffixes = []string{
	"amazonaws.com", "amazonaws.com.cn", "api.aws", "on.aws", "amazonwebservices.com.cn",
	"amazonaws.eu", "amazonwebservices.eu", "on.amazonwebservices.eu",
}

func isAWS(host, metadataSuffix string) bool {
	has := func(suffix string) bool {
		zone, ok := strings.CutSuffix(host, suffix)
		return ok && suffix != "" && strings.HasSuffix(zone, ".")
	}
	return has(metadataSuffix) || slices.ContainsFunc(awsSuffixes, has)
}

// all reports whether the target has paths and each of them is so.
func (t *targetView) all(f func(*pathView) bool) bool {
	return len(t.paths) > 0 && !slices.ContainsFunc(t.paths, func(p *pathView) bool { return !f(p) })
}

// silent reports whether nothing came back from any address.
func (t *targetView) silent() bool { return t.settled && t.all((*pathView).silent) }

// answers reports whether some address of the target answers.
func (t *targetView) answers() bool { return slices.ContainsFunc(t.paths, (*pathView).answered) }

func (t *targetView) public() bool {
	return t.all(func(p *pathView) bool { return p.kind == kindPublic })
}

func (t *targetView) inVPC() bool { return t.all(func(p *pathView) bool { return p.kind.inVPC() }) }

// addresses returns those of the paths for which f holds.
func (t *targetView) addresses(f func(*pathView) bool) []netip.Addr {
	var out []netip.Addr
	for _, p := range t.paths {
		if f(p) {
			out = append(out, p.addr)
		}
	}
	return out
}
