package bootstrap

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// The lookups and addresses of a target behind a proxy are the proxy's. What
// fails before the proxy took CONNECT is the proxy's fault, whatever the
// layer; what fails behind it is told apart by what the proxy says and by the
// same target without it (Result.Direct).

// readers are the consumers whose environment is read, in the order in which
// findings name them.
var readers = [...]Consumer{ConsumerKubelet, ConsumerContainerd, ConsumerAgent}

// proxyGone: the path ends before the proxy answered CONNECT.
func proxyGone(v *view, p *pathView) bool {
	if !p.target.proxied() {
		return false
	}
	switch p.step.Phase {
	case probe.PhaseConnect:
		return p.cause != probe.TCPExhausted && !noRoute(v, p)
	case probe.PhaseProxy:
		return !p.proxyAnswered() && !p.proxyWaits()
	default:
		return false
	}
}

// proxyWaits: the proxy took the connection and says nothing, or ends it.
func (p *pathView) proxyWaits() bool {
	switch p.cause {
	case probe.HTTPTimeout, probe.HTTPClosed, probe.HTTPReset:
		return p.step.Phase == probe.PhaseProxy && p.step.HTTP != nil
	default:
		return false
	}
}

// proxyAnswered reports whether the failed step has an HTTP answer of the proxy.
func (p *pathView) proxyAnswered() bool {
	return p.step.Phase == probe.PhaseProxy && p.step.HTTP != nil && p.step.HTTP.Status != 0
}

// proxySays matches the status with which the proxy refuses.
func proxySays(match func(status int) bool) func(*view, *pathView) bool {
	return func(_ *view, p *pathView) bool {
		return p.cause == probe.ProxyStatus && p.proxyAnswered() && match(p.step.HTTP.Status)
	}
}

func wantsLogin(status int) bool { return status == 407 }

func proxyWaits(_ *view, p *pathView) bool { return p.proxyWaits() }

func serverError(status int) bool { return status >= 500 }

func anyStatus(int) bool { return true }

// proxyKey has no credentials: a report that was read back is judged alike.
func proxyKey(_ *view, p *pathView) string { return p.target.Proxy.String() }

// proxyFields are the fields that every finding about a proxy has.
func (v *view) proxyFields(c *candidate) []string {
	return []string{"proxy", c.targets[0].Proxy.String(), "units", v.unitsOf(c.targets)}
}

// unitsOf names the units whose environment sends the targets to the proxy.
func (v *view) unitsOf(ts []*targetView) string {
	var out []string
	for _, t := range ts {
		if u := v.unit(t.Consumer); !slices.Contains(out, u) {
			out = append(out, u)
		}
	}
	return enumerate(out)
}

// unit is where the consumer's environment comes from.
func (v *view) unit(c Consumer) string {
	return cmp.Or(v.plan.Environments[c].Unit, string(cmp.Or(c, ConsumerAgent))+".service")
}

// environment is the consumer's; one that could not be read has the agent's.
func (v *view) environment(c Consumer) Environment {
	if e, ok := v.plan.Environments[c]; ok {
		return e
	}
	return v.plan.Environments[ConsumerAgent]
}

func tellProxyGone(v *view, c *candidate, ps []*pathView) {
	p := ps[0]
	at := p.Address.String()
	port := strconv.Itoa(int(p.Address.Port()))
	units := v.unitsOf(c.targets)
	detail := ""
	switch {
	case p.step.Phase == probe.PhaseProxy:
		c.because = fmt.Sprintf("%s answers CONNECT with something that is no answer of an HTTP proxy: %s", at, cmp.Or(p.step.Err, string(p.cause)))
		detail = "what listens there is no HTTP proxy, so correct the proxy's address in " + units
	case p.silent():
		c.because = fmt.Sprintf("connecting to the proxy at %s gets no answer within %s", enumerate(stringsOf(c.addresses)), p.step.Took)
		detail = "something drops TCP " + port + " from " + v.source(c.addresses) + ": the proxy's security group, a network ACL, a route, or the proxy is gone"
	case p.cause == probe.TCPRefused || p.cause == probe.TCPReset:
		c.because = fmt.Sprintf("%s refuses the connection %s", at, tookText(p.step.Took))
		detail = "nothing listens on port " + port + ", so start the proxy or correct the port in " + units
	default:
		c.because = fmt.Sprintf("connecting to the proxy at %s fails %s: %s", at, tookText(p.step.Took), errnoText(p))
		detail = "correct the route or the rule that refuses it"
	}
	c.because += v.sharedBy(c)
	c.fields = append(v.proxyFields(c), "detail", detail+"."+v.withoutProxy(c))
	c.not = []RuledOut{{PXY106, "the proxy was never asked for the host"}}
}

// lostProxies: names of proxies that do not exist.
func lostProxies(v *view) []*candidate {
	var out []*candidate
	for _, t := range v.targets {
		if !t.proxied() || !t.unresolved() || t.decider < 0 {
			continue
		}
		i := slices.IndexFunc(out, func(c *candidate) bool { return c.targets[0].Proxy.String() == t.Proxy.String() })
		if i < 0 {
			i = len(out)
			out = append(out, &candidate{code: PXY103, addresses: []netip.Addr{v.servers[t.decider].addr.Addr()}})
		}
		out[i].targets = append(out[i].targets, t)
	}
	for _, c := range out {
		t := c.targets[0]
		says, lacks := "says NXDOMAIN", " does not know its name"
		if t.outcomes[t.decider] != outNXDomain {
			says, lacks = "gives no address", " gives its name no address"
		}
		c.because = fmt.Sprintf("DNS server %s %s for the name of the proxy %s", c.addresses[0], says, t.Proxy) + v.sharedBy(c)
		c.fields = append(v.proxyFields(c), "addresses", "DNS server "+c.addresses[0].String()+lacks,
			"detail", "correct the proxy in "+v.unitsOf(c.targets)+", or the DNS record of its name."+v.withoutProxy(c))
	}
	return out
}

// sharedBy says who depends on the proxy.
func (v *view) sharedBy(c *candidate) string {
	if len(c.targets) == 1 {
		return ""
	}
	return fmt.Sprintf("; %d targets are reached through it: %s", len(c.targets), enumerate(targetNames(c.targets)))
}

// withoutProxy is the other way out for targets that answer directly.
func (v *view) withoutProxy(c *candidate) string {
	var direct []*targetView
	for _, t := range c.targets {
		if t.passesDirectly() {
			direct = append(direct, t)
		}
	}
	if len(direct) == 0 {
		return ""
	}
	return fmt.Sprintf(" %s %s without it: adding %s to NO_PROXY of %s is enough for %s.", enumerate(hostsOf(direct)), agree(len(direct), "answers", "answer"),
		enumerateUpTo(manyEndpoints, noProxyEntries(direct)), v.unitsOf(direct), agree(len(direct), "it", "them"))
}

func hostsOf(ts []*targetView) []string {
	out := make([]string, len(ts))
	for i, t := range ts {
		out[i] = t.Host
	}
	return out
}

func tellProxyStatus(v *view, c *candidate, ps []*pathView) {
	proxy := ps[0].target.Proxy.String()
	if ps[0].proxyAnswered() {
		c.because = fmt.Sprintf("the proxy %s answers CONNECT %s with %s", proxy, enumerate(hostPorts(c.targets)), answerText(ps[0].step.HTTP))
	} else {
		how := map[probe.Cause]string{probe.HTTPTimeout: "does not answer it within " + ps[0].step.Took.String(), probe.HTTPReset: "resets the connection", probe.HTTPClosed: "closes the connection"}[ps[0].cause]
		c.because = fmt.Sprintf("the proxy %s takes CONNECT %s and %s", proxy, enumerate(hostPorts(c.targets)), how)
		c.confidence = Likely
		if ps[0].cause != probe.HTTPTimeout {
			c.confidence = Possible
		}
	}
	detail := ""
	switch c.code {
	case PXY104:
		detail = loginText(ps[0])
		if other := v.withoutProxy(c); other != "" {
			detail += "." + strings.TrimSuffix(other, ".")
		}
		c.not = []RuledOut{{PXY103, "the proxy answers"}, {PXY105, "it asks for credentials first"}}
	case PXY105:
		c.not = []RuledOut{{PXY103, "the proxy answers"}, {PXY106, "the refusal is the proxy's own"}}
	default:
		detail = ": private names of this VPC resolve and answer only inside it, and belong into NO_PROXY"
		if c.confidence == Possible {
			detail += "; if the proxy's log says that it denies the host, allow it there (" + string(PXY105) + ")"
		}
		c.not = []RuledOut{{PXY103, "the proxy takes the connection"}}
	}
	for _, t := range c.targets {
		if said := t.directSays(); said != "" {
			c.because += "; without the proxy " + said
			c.not = append(c.not, RuledOut{PXY107, t.Name + " fails without the proxy too"})
			break
		}
	}
	c.fields = append(v.proxyFields(c), "detail", detail)
}

// loginText says what putting credentials into the URL can do. Programs in Go send
// them as Basic (net/http.Transport) and know no other way.
func loginText(p *pathView) string {
	scheme, _, _ := strings.Cut(p.step.HTTP.Header["Proxy-Authenticate"], " ")
	if scheme != "" && !strings.EqualFold(scheme, "Basic") {
		return "; it asks for " + scheme + ", and kubelet and containerd only send Basic"
	}
	return ""
}

func hostPorts(ts []*targetView) []string {
	out := make([]string, len(ts))
	for i, t := range ts {
		out[i] = t.Host + ":" + strconv.Itoa(int(t.Port))
	}
	return out
}

// directPaths are the target's without its proxy.
func (t *targetView) directPaths() []*pathView {
	if t.res.Direct == nil {
		return nil
	}
	out := make([]*pathView, 0, len(t.res.Direct.Paths))
	for _, dp := range t.res.Direct.Paths {
		p := &pathView{Path: dp, target: t, addr: dp.Address.Addr().Unmap()}
		p.judge()
		out = append(out, p)
	}
	return out
}

func (t *targetView) passesDirectly() bool {
	return slices.ContainsFunc(t.directPaths(), func(p *pathView) bool { return p.ok })
}

// directSays is why the target fails without its proxy, empty when that is not known.
func (t *targetView) directSays() string {
	for _, p := range t.directPaths() {
		if p.ok {
			return ""
		}
		if !p.unknown {
			return fmt.Sprintf("%s at %s fails too (%s: %s)", t.Name, p.addr, p.step.Phase, p.cause)
		}
	}
	return ""
}

// missingExceptions: hosts that fail through the proxy and pass without it. A
// proxy that answers nobody, or wants a login, has its own finding: nothing says
// that those hosts were meant to bypass it.
func missingExceptions(v *view) []*candidate {
	type place struct{ proxy, unit string }
	var out []*candidate
	var places []place
	for _, t := range v.targets {
		if !t.proxied() || t.passed || !t.settled || !t.passesDirectly() ||
			!slices.ContainsFunc(t.paths, func(p *pathView) bool { return !proxyGone(v, p) && !proxySays(wantsLogin)(v, p) }) {
			continue
		}
		at := place{t.Proxy.String(), v.unit(t.Consumer)}
		i := slices.Index(places, at)
		if i < 0 {
			i = len(out)
			places, out = append(places, at), append(out, &candidate{code: PXY107})
		}
		out[i].targets = append(out[i].targets, t)
		for _, p := range t.directPaths() {
			if p.ok {
				out[i].addresses = append(out[i].addresses, p.addr)
			}
		}
	}
	for _, c := range out {
		v.tellException(c)
	}
	return out
}

func (v *view) tellException(c *candidate) {
	t := c.targets[0]
	c.addresses = sortAddresses(c.addresses)
	failed := t.paths[slices.IndexFunc(t.paths, func(p *pathView) bool { return !p.ok })]
	how := string(failed.step.Phase) + ": " + cmp.Or(failed.step.Err, string(failed.cause))
	if failed.proxyAnswered() {
		how = answerText(failed.step.HTTP)
	}
	c.because = fmt.Sprintf("%s %s through the proxy %s (%s) and %s without it at %s", enumerate(targetNames(c.targets)), agree(len(c.targets), "fails", "fail"),
		t.Proxy, how, agree(len(c.targets), "passes", "pass"), enumerate(stringsOf(c.addresses)))
	env := v.environment(t.Consumer)
	var detail strings.Builder
	for _, dead := range deadEntries(env.noProxy()) {
		if slices.ContainsFunc(c.targets, func(t *targetView) bool { return dead.meant(t) }) {
			fmt.Fprintf(&detail, " %s there %s.", dead.text, dead.why)
		}
	}
	entries := noProxyEntries(c.targets)
	if env.proxiesMetadata() {
		entries = append(entries, metadataAddress+" (the metadata service)")
	}
	c.fields = []string{
		"proxy", t.Proxy.String(), "units", v.unit(t.Consumer), "unit", v.unit(t.Consumer), "entries", enumerateUpTo(manyEndpoints, entries),
		"answer", agree(len(c.targets), "answers", "answer"), "detail", detail.String(),
	}
	c.not = []RuledOut{{PXY103, "the proxy answers"}, {NET105, "the addresses answer this node directly"}}
}

// metadataAddress is the metadata service's over IPv4.
const metadataAddress = "169.254.169.254"

// noProxyEntries are what covers the targets: the hosts, and for API servers the
// domain of all clusters' endpoints.
func noProxyEntries(ts []*targetView) []string {
	var out []string
	for _, t := range ts {
		e := t.Host
		if i := strings.Index(e, ".eks."); t.isAPIServer() && i > 0 {
			e += " (or " + e[i:] + ")"
		}
		if !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}
