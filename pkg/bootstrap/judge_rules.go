package bootstrap

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// rules finds causes. Each is a pure function over the view; their order makes
// no difference to the verdict, because the table of codes says what explains what.
var rules = [...]func(*view) []*candidate{
	noLink, noAddress, noDefaultRoute, severalWaysOut, strayAddress, overAllowance,
	metadataFails, noRole, badCredentials,
	noServer, deadServers, failingServers, nxdomain, noData, disagreeing,
	hostsFile, ownLookup, sinkholes, publicNames,
	localFirewall, lossy, elsewhereOnly,
	serviceCIDR, smallSubnet, panics,
	silentTargets, allSilent, allPublicSilent, allEndpointsSilent, filteredSubnets, silentAddresses,
	failedPaths, busyAPI,
	wrongClock, trustedInspection,
	lostProxies, missingExceptions, badProxies, twoSpellings, deadExceptions, differingUnits,
}

// A pathRule names the cause of a path that failed for another reason than
// silence. The first whose match holds gives the path's code.
type pathRule struct {
	code  Code
	match func(*view, *pathView) bool
	// key merges: paths of the same key are one finding. Nil: one finding per
	// target, unless every target fails so, which is one cause.
	key func(*view, *pathView) string
	// tell adds evidence and template fields.
	tell func(*view, *candidate, []*pathView)
}

func always(*view, *pathView) string { return "all" }

func causeIs(causes ...probe.Cause) func(*view, *pathView) bool {
	return func(_ *view, p *pathView) bool { return slices.Contains(causes, p.cause) }
}

// pathRules returns the rules in the order in which they are tried.
func pathRules() []pathRule {
	return []pathRule{
		{LNK106, localRoute, routeKey, tellLocalRoute},
		{LNK107, causeIs(probe.TCPProhibited), always, tellForbidden},
		{LNK106, causeIs(probe.TCPBlackhole), always, tellLocalRoute},
		{PXY103, proxyGone, proxyKey, tellProxyGone},
		{PXY104, proxySays(wantsLogin), proxyKey, tellProxyStatus},
		{PXY106, proxySays(serverError), proxyKey, tellProxyStatus},
		{PXY105, proxySays(anyStatus), proxyKey, tellProxyStatus},
		{PXY106, proxyWaits, proxyKey, tellProxyStatus},
		{NET103, goneOnLink, nil, tellNeighbour},
		{NET101, noRoute, always, tellNoRoute},
		{NET102, causeIs(probe.TCPHostUnreachable, probe.TCPNetUnreachable), always, tellErrno},
		{NET104, causeIs(probe.TCPRefused, probe.TCPReset), nil, tellRefusal},
		{NET118, causeIs(probe.TCPExhausted), always, tellExhausted},
		{CLK104, healsWithClock, always, tellClock},
		{TLS101, otherClusterCA, always, tellCA},
		{TLS114, amazonIssuer, always, tellIssuer},
		{TLS102, intercepted, issuerKey, tellIntercepted},
		{TLS103, causeIs(probe.TLSWrongHost), nil, tellNames},
		{TLS104, causeIs(probe.TLSExpired, probe.TLSNotYetValid), causeKey, tellValidity},
		{TLS106, alert(49, 112), nil, tellAlert},
		{TLS111, alert(116), nil, tellAlert},
		{TLS105, causeIs(probe.TLSAlert), nil, tellAlert},
		{TLS107, causeIs(probe.TLSNotTLS), nil, tellFirstBytes},
		{MTU101, lostOutbound, wayKey, tellOutbound},
		{MTU102, lostInbound, wayKey, tellInbound},
		{TLS112, largeHello, wayKey, tellLargeHello},
		{TLS106, nameFiltered, always, tellFiltered},
		{TLS108, causeIs(probe.TLSReset, probe.TLSClosed), triedKey, tellCut},
		{TLS109, causeIs(probe.TLSTimeout), triedKey, tellStall},
		{TLS115, causeIs(probe.TLSBadCertificate, probe.TLSError), nil, tellRaw},
		{API101, causeIs(causeNotAPI, probe.HTTPMalformed), nil, tellNotAPI},
		{API104, causeIs(probe.HTTPTimeout, probe.HTTPReset, probe.HTTPClosed), nil, tellNoAnswer},
	}
}

// A breakdown is what paths that fail by one rule have in common.
type breakdown struct {
	*candidate

	rule  int // index in pathRules
	paths []*pathView
}

// failedPaths gives every path that failed otherwise than by silence its code.
func failedPaths(v *view) []*candidate {
	rules := pathRules()
	breakdowns, tried := sortBreakdowns(v, rules)
	var out []*candidate
	for _, f := range mergeWhole(rules, breakdowns, tried) {
		f.addresses = sortAddresses(f.addresses)
		rules[f.rule].tell(v, f.candidate, f.paths)
		if slices.ContainsFunc(f.paths, func(p *pathView) bool {
			return p.addr.Is6() && p.target.trapped() && slices.ContainsFunc(p.target.paths, func(o *pathView) bool { return o.ok })
		}) {
			f.because += "; IPv4 works, but programs take IPv6 first and do not turn back once a connection is made"
		}
		if proxy := f.targets[0].Proxy; proxy != "" && f.code.Area() != "PXY" {
			f.because += "; that is through the proxy " + proxy.String()
		}
		out = append(out, f.candidate)
	}
	return out
}

// sortBreakdowns sorts paths that failed by rule and key, and counts the targets
// that were connected to.
func sortBreakdowns(v *view, rules []pathRule) (breakdowns []*breakdown, tried int) {
	type id struct {
		rule int
		key  string
	}
	sorted := map[id]*breakdown{}
	for _, t := range v.targets {
		if t == v.meta {
			continue
		}
		if len(t.paths) > 0 {
			tried++
		}
		for _, p := range t.paths {
			if p.ok || p.unknown || p.silent() && !t.proxied() || t.Pool && t.passed || !t.settled && !t.passed {
				continue
			}
			i := slices.IndexFunc(rules, func(r pathRule) bool { return r.match(v, p) })
			if i < 0 {
				continue // left to the fallback
			}
			k := id{i, t.Name}
			if rules[i].key != nil {
				k.key = rules[i].key(v, p)
			}
			f := sorted[k]
			if f == nil {
				f = &breakdown{candidate: &candidate{code: rules[i].code}, rule: i}
				sorted[k] = f
				breakdowns = append(breakdowns, f)
			}
			f.targets = appendOnce(f.targets, t)
			f.addresses = append(f.addresses, p.addr)
			f.paths = append(f.paths, p)
		}
	}
	return breakdowns, tried
}

// mergeWhole makes one failure of those of a rule by which every target fails at
// every address: one cause for all.
func mergeWhole(rules []pathRule, breakdowns []*breakdown, tried int) []*breakdown {
	whole := map[int]int{}
	for _, f := range breakdowns {
		if len(f.targets) == 1 && len(f.paths) == len(f.targets[0].paths) {
			whole[f.rule]++
		}
	}
	var out []*breakdown
	merged := map[int]*breakdown{}
	for _, f := range breakdowns {
		if rules[f.rule].key == nil && tried > 1 && whole[f.rule] == tried {
			if m := merged[f.rule]; m != nil {
				m.targets = append(m.targets, f.targets...)
				m.addresses = append(m.addresses, f.addresses...)
				m.paths = append(m.paths, f.paths...)
				continue
			}
			merged[f.rule] = f
		}
		out = append(out, f)
	}
	return out
}

// busyAPI warns of an API server that is alive and says that it is busy. One that
// sheds a request now and then is not: it answers 429, and is ready at another address.
func busyAPI(v *view) []*candidate {
	var out []*candidate
	for _, t := range v.targets {
		ready := slices.ContainsFunc(t.paths, func(p *pathView) bool { return p.ok && !p.busy })
		shed := func(p *pathView) bool { return p.answer.Status == 429 }
		busy := slices.DeleteFunc(slices.Clone(t.paths), func(p *pathView) bool { return !p.busy || ready && shed(p) })
		if len(busy) == 0 {
			continue
		}
		said := answerText(busy[0].answer)
		out = append(out, &candidate{
			code: API102, targets: []*targetView{t}, warn: true,
			addresses: pathAddresses(busy), needsAll: !slices.ContainsFunc(busy, func(p *pathView) bool { return !shed(p) }),
			because: enumerate(addressTexts(busy)) + " answered " + said + " over a verified connection",
			fields:  []string{"detail", said},
		})
	}
	return out
}

// unexplained covers what no rule explains, so that nothing fails silently.
func unexplained(v *view, found []*candidate) []*candidate {
	covered := map[*targetView]bool{}
	for _, c := range found {
		for _, t := range c.targets {
			covered[t] = covered[t] || !c.warn
		}
	}
	var out []*candidate
	for _, t := range v.targets {
		if t.passed || !t.settled || covered[t] {
			continue
		}
		c := &candidate{code: INT002, targets: []*targetView{t}, because: "no rule explains why " + t.Name + " fails"}
		detail := "nothing was measured"
		for _, p := range t.paths {
			if !p.ok {
				detail = string(p.step.Phase) + ": " + cmp.Or(p.step.Err, string(p.cause))
				c.addresses = append(c.addresses, p.addr)
			}
		}
		c.because += " (" + detail + ")"
		c.fields = []string{"detail", detail}
		out = append(out, c)
	}
	return out
}

func sortAddresses(as []netip.Addr) []netip.Addr {
	slices.SortFunc(as, netip.Addr.Compare)
	return slices.Compact(as)
}
