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
	started time.Time // the round of which the report is
	// clock compares this machine's with others.
	clock []probe.ClockReading
	// ways is what is known of failed handshakes, once somebody asks (like).
	ways map[failedWay]*way
	// v4 and v6 say which families the node can use.
	v4, v6 bool
	// targets of the plan, gate first, then by name; then the metadata service
	// when the report has it.
	targets []*targetView
	meta    *targetView
	// direct are the targets that this machine itself resolves and connects to:
	// neither the metadata service nor those behind a proxy.
	direct  []*targetView
	servers []*serverView
	// destinations are what the kernel said about single addresses.
	destinations map[netip.Addr]netcfg.Destination
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
	// paths are those of the addresses that programs use: the hosts file's when it
	// has the name, else the decider's. spare are those that programs would find
	// elsewhere: at other servers, or in DNS beside the hosts file.
	paths, spare []*pathView
	// referred are connects to addresses that only a reference gave: nobody here
	// uses them.
	referred []*pathView
	// ref is what AmazonProvidedDNS says about the name of a target that fails.
	ref reference
}

// proxied reports whether the target is reached through a proxy: lookups and
// addresses are then the proxy's.
func (t *targetView) proxied() bool { return t.Proxy != "" }

// hosted reports whether the hosts file has the name, which programs read
// before they ask DNS (nsswitch.conf: files dns).
func (t *targetView) hosted() bool { return len(t.Hosts) > 0 && !t.proxied() }

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

func newView(p Plan, r probe.Report, s netcfg.State, h History, now time.Time) *view {
	v := &view{
		plan: p, state: s, history: h, now: now, started: r.Started, clock: r.Clock, subnets: map[netip.Prefix]*subnetView{},
		stateKnown: len(s.Links) > 0 || len(s.Routes) > 0,
	}
	v.families()
	v.lookedUp()
	over := r.Ended || max(time.Duration(r.Took), now.Sub(r.Started)) >= probe.RoundBudget(len(p.Targets))-roundOver
	results := make(map[string]*probe.Result, len(r.Results))
	for i := range r.Results {
		results[r.Results[i].Target] = &r.Results[i]
	}
	for _, t := range p.Targets {
		seen := &targetView{Target: t, decider: -1, aws: isAWS(t.Host, p.Instance.DNSSuffix)}
		if res := results[t.Name]; res != nil {
			seen.res = *res
		}
		v.targets = append(v.targets, seen)
	}
	rank := []Role{RoleGate, RoleReady, RoleWorkload, RoleOptional}
	slices.SortStableFunc(v.targets, func(a, b *targetView) int {
		return cmp.Or(cmp.Compare(slices.Index(rank, a.Role), slices.Index(rank, b.Role)), cmp.Compare(a.Name, b.Name))
	})
	if res := results[MetadataTarget]; res != nil {
		v.meta = &targetView{res: *res, decider: -1, Target: Target{Role: RoleGate, Service: MetadataTarget}}
		v.meta.Name, v.meta.Host, v.meta.Port, v.meta.Pool = MetadataTarget, res.Host, res.Port, true
		v.targets = append(v.targets, v.meta)
	}
	for _, t := range v.targets {
		if t != v.meta && !t.proxied() {
			v.direct = append(v.direct, t)
		}
	}
	v.askedServers()
	for _, t := range v.targets {
		v.decide(t)
		v.follow(t)
		if results[t.Name] == nil || t.res.Pending && !over {
			t.settled = false
		}
		v.partial = v.partial || !t.settled && !over
		if t.passed = v.pass(t); !t.passed {
			v.refer(t)
		}
	}
	for _, g := range v.subnets {
		g.filtered = !g.own && len(g.answering) == 0 && len(g.silent) > 1 &&
			slices.ContainsFunc(g.silent, (*targetView).answers)
	}
	return v
}

// families finds out which IP families the node can use.
func (v *view) families() {
	i := v.plan.Instance
	v.v4 = i.LocalIPv4.IsValid() || slices.ContainsFunc(v.state.Links, func(l netcfg.Link) bool { return !l.Loopback && len(l.Usable(false)) > 0 })
	v.v6 = len(i.IPv6) > 0 || v.state.HasIPv6()
	if !v.v4 && !v.v6 {
		v.v4 = true
	}
}

func (v *view) usable(a netip.Addr) bool { return a.Is4() && v.v4 || a.Is6() && v.v6 }

// asksFor reports whether the node has a use for records of a type, A or AAAA.
func (v *view) asksFor(records string) bool {
	if records == "AAAA" {
		return v.v6
	}
	return v.v4
}

// follow sorts the target's paths and records where answers came from.
func (v *view) follow(t *targetView) {
	t.settled = true
	var decider netip.AddrPort // that of no path while no server decides
	if t.decider >= 0 {
		decider = v.servers[t.decider].addr
	}
	literal := len(t.res.Lookups) == 0
	for _, rp := range t.res.Paths {
		a := rp.Address.Addr().Unmap()
		here := t.hosted() && slices.Contains(t.Hosts, a)
		if !literal && !here && !v.usable(a) {
			continue
		}
		p := &pathView{Path: rp, target: t, addr: a, kind: v.kindOf(a)}
		p.subnet = v.subnetOf(a, p.kind)
		p.judge()
		switch {
		case rp.Reference:
			t.referred = append(t.referred, p)
			continue
		case here, !t.hosted() && (literal || slices.Contains(rp.Servers, decider)):
			t.paths = append(t.paths, p)
			t.settled = t.settled && !p.unknown
		default:
			t.spare = append(t.spare, p)
		}
		// What a proxy is, and what only the hosts file says, is no evidence about the VPC.
		fileAlone := here && len(rp.Servers) == 0
		if g := p.subnet; g != nil && !t.proxied() && !fileAlone {
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
	slices.SortFunc(t.referred, sortPaths)
	if len(t.paths) == 0 && len(t.outcomes) > 0 && !slices.ContainsFunc(t.outcomes, outcome.known) {
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
		if s.HTTP != nil && s.Phase == probe.PhaseHTTP && p.target.isAPIServer() {
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
	if r := p.reverified(); r != nil && r.Cause != "" && p.cause != "" {
		p.cause = r.Cause // with the right time the chain fails by this
	}
	switch {
	case p.cause == probe.Canceled, p.cause == "" && (p.Pending || len(p.Steps) == 0):
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
		return t.settled && len(t.paths) > 0 && !slices.ContainsFunc(t.paths, func(p *pathView) bool { return !p.ok }) &&
			(t.hosted() || !slices.ContainsFunc(t.outcomes, outcome.broken))
	}
	return t.works() && v.reachedByPods(t)
}

// reachedByPods reports whether the API server answers over IPv6 where the cluster's
// services have IPv6 addresses: pods, aws-node among them, know it by those alone
// (EKS user guide, "IPv6 addresses to clusters, pods, and services"). An endpoint of
// before October 2024 has no IPv6 address and cannot be judged by it.
func (v *view) reachedByPods(t *targetView) bool {
	if !t.isAPIServer() || t.proxied() || !v.plan.Cluster.ServiceCIDR.Addr().Is6() {
		return true
	}
	six := slices.DeleteFunc(slices.Clone(t.paths), func(p *pathView) bool { return !p.addr.Is6() })
	return len(six) == 0 || slices.ContainsFunc(six, func(p *pathView) bool { return p.ok })
}

// works reports whether some address answers as it should, which is less than
// strict mode asks of a target that passes.
func (t *targetView) works() bool {
	return slices.ContainsFunc(t.paths, func(p *pathView) bool { return p.ok }) && !t.trapped()
}

// trapped reports whether programs fail although an address works: they prefer IPv6
// (RFC 6724 section 2.1, unique local addresses apart) and turn to IPv4 only as long as
// no connection is made (RFC 8305 section 5). What fails after that, fails each time.
func (t *targetView) trapped() bool {
	preferred := false
	for _, p := range t.paths {
		if t.proxied() || !p.addr.Is6() || p.addr.IsPrivate() {
			continue
		}
		if p.ok {
			return false
		}
		made := len(p.Steps) > 0 && p.Steps[0].Phase == probe.PhaseConnect && p.Steps[0].Cause == ""
		preferred = preferred || made || p.unknown && t.res.Pending
	}
	return preferred
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

func (p *pathView) public() bool { return p.kind == kindPublic }

func (t *targetView) public() bool { return t.all((*pathView).public) }

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
