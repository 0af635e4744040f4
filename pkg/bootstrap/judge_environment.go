package bootstrap

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// A deadEntry is an entry of NO_PROXY that covers no host name, by the rules of
// golang.org/x/net/http/httpproxy, which kubelet and containerd use.
type deadEntry struct {
	text, why string
	// network has the addresses that were meant, domain the end of the names.
	network netip.Prefix
	domain  string
}

// deadEntries are those of the list that cover address literals alone, or nothing.
func deadEntries(noProxy string) []deadEntry {
	var out []deadEntry
	for e := range strings.SplitSeq(noProxy, ",") {
		e = strings.ToLower(strings.TrimSpace(e))
		if e == "*" {
			return nil
		}
		if network, err := netip.ParsePrefix(e); err == nil {
			out = append(out, deadEntry{text: e, network: network, why: "covers URLs with an address, not a host name"})
		} else if a, err := netip.ParseAddr(e); err == nil {
			out = append(out, deadEntry{text: e, network: netip.PrefixFrom(a, a.BitLen()), why: "covers URLs with that address, not a host name"})
		} else if _, rest, ok := strings.Cut(e, "://"); ok {
			host, _, _ := strings.Cut(rest, "/")
			out = append(out, deadEntry{text: e, domain: strings.TrimPrefix(host, "*"), why: "is a URL, which covers nothing: an entry is a host name or a domain"})
		} else if strings.HasPrefix(e, "*") && !strings.HasPrefix(e, "*.") && len(e) > 1 {
			out = append(out, deadEntry{text: e, domain: e[1:], why: "has a wildcard without a dot, which covers nothing: write ." + e[1:]})
		}
	}
	return out
}

// meant reports whether the entry was meant for the target.
func (d deadEntry) meant(t *targetView) bool {
	if d.domain != "" {
		return strings.HasSuffix(strings.ToLower(t.Host), d.domain)
	}
	if _, err := netip.ParseAddr(t.Host); err == nil || !d.network.IsValid() {
		return false
	}
	in := func(a netip.Addr) bool { return d.network.Contains(a.Unmap()) }
	if slices.ContainsFunc(t.Hosts, in) || t.res.System != nil && slices.ContainsFunc(t.res.System.Addresses, in) {
		return true
	}
	return t.res.Direct != nil && (slices.ContainsFunc(t.res.Direct.Paths, func(p probe.Path) bool { return in(p.Address.Addr()) }) ||
		slices.ContainsFunc(t.res.Direct.Lookups, func(l probe.Lookup) bool { return slices.ContainsFunc(l.Addresses, in) }))
}

// proxiesMetadata reports whether a program with this environment asks the proxy
// for what it must ask the metadata service itself.
func (e Environment) proxiesMetadata() bool {
	u, err := e.proxyConfig().ProxyFunc()(&url.URL{Scheme: "http", Host: metadataAddress})
	return err == nil && u != nil
}

// deadExceptions: entries of NO_PROXY that were meant for a target and do not cover it.
func deadExceptions(v *view) []*candidate {
	if len(v.plan.Environments) == 0 {
		return nil
	}
	var out []*candidate
	for _, consumer := range readers {
		env, ok := v.plan.Environments[consumer]
		if !ok {
			continue
		}
		for _, dead := range deadEntries(env.noProxy()) {
			c := &candidate{code: PXY108, warn: true}
			for _, t := range v.targets {
				if t.proxied() && v.unit(t.Consumer) == v.unit(consumer) && dead.meant(t) {
					c.targets = append(c.targets, t)
				}
			}
			if len(c.targets) == 0 {
				continue
			}
			c.because = fmt.Sprintf("NO_PROXY of %s lists %s, which %s; %s %s through the proxy %s", v.unit(consumer), dead.text, dead.why,
				enumerate(c.hosts()), agree(len(c.targets), "goes", "go"), c.targets[0].Proxy)
			c.fields = []string{"units", v.unit(consumer), "entry", dead.text, "entries", enumerateUpTo(manyEndpoints, noProxyEntries(c.targets))}
			out = append(out, c)
		}
	}
	return out
}

// A proxyVariable is one proxy variable of one unit.
type proxyVariable struct {
	name  string
	value probe.Proxy
}

// proxies are the variables as Go programs read them.
func (e Environment) proxies() [2]proxyVariable {
	out := [2]proxyVariable{{"HTTPS_PROXY", e.HTTPSProxy}, {"HTTP_PROXY", e.HTTPProxy}}
	if e.Lower != nil {
		out[0].value, out[1].value = cmp.Or(out[0].value, e.Lower.HTTPSProxy), cmp.Or(out[1].value, e.Lower.HTTPProxy)
	}
	return out
}

// noProxy is the list as Go programs read it.
func (e Environment) noProxy() string {
	if e.Lower != nil {
		return cmp.Or(e.NoProxy, e.Lower.NoProxy)
	}
	return e.NoProxy
}

func (e Environment) usesProxy() bool {
	p := e.proxies()
	return p[0].value != "" || p[1].value != ""
}

// isProxy reports whether programs can use the value of a variable. HOST:PORT
// stands for http (httpproxy.Config), and net/http speaks SOCKS too.
func isProxy(value probe.Proxy) bool {
	u, err := url.Parse(string(value))
	if err != nil || u.Scheme == "" || u.Host == "" {
		// httpproxy does the same to a URL that does not parse, and takes http for its host.
		if u, err = url.Parse("http://" + string(value)); err != nil || strings.Contains(string(value), "//") {
			return false
		}
	}
	return takesConnect(u) || (u.Scheme == "socks5" || u.Scheme == "socks5h") && isHost(u.Hostname())
}

// badProxies: values that programs pass over. What they were to reach is dialled
// directly then, and fails where only the proxy has a way.
func badProxies(v *view) []*candidate {
	if len(v.plan.Environments) == 0 {
		return nil
	}
	var variables []string
	c := &candidate{code: PXY101, warn: true}
	var bad []Consumer
	for _, consumer := range readers {
		env, ok := v.plan.Environments[consumer]
		if !ok {
			continue
		}
		for _, p := range env.proxies() {
			if p.value == "" || isProxy(p.value) {
				continue
			}
			variables = append(variables, p.name+" of "+v.unit(consumer))
			if p.name == "HTTPS_PROXY" {
				bad = append(bad, consumer)
			}
		}
	}
	if len(variables) == 0 {
		return nil
	}
	c.because = enumerate(variables) + " " + agree(len(variables), "is", "are") + " not of the form http://HOST:PORT, and programs pass over " + agree(len(variables), "it", "them")
	c.fields = []string{"variables", enumerate(variables), "effect", "The program goes without a proxy; what only the proxy reaches fails."}
	v.unproxied(c, bad)
	return []*candidate{c}
}

// unproxied gives a finding about settings the targets that fail without the
// proxy that their consumers lack.
func (v *view) unproxied(c *candidate, consumers []Consumer) {
	for _, t := range v.targets {
		if t == v.meta || t.passed || !t.settled || !slices.Contains(consumers, t.Consumer) {
			continue
		}
		if t.proxied() || t.public() && t.silent() {
			c.targets = append(c.targets, t)
			c.addresses = append(c.addresses, pathAddresses(t.paths)...)
		}
	}
	if len(c.targets) == 0 {
		return
	}
	c.warn, c.needsAll, c.confidence = false, true, Likely
	c.fields = c.fields[:2] // the effect is that of the targets
	c.addresses = sortAddresses(c.addresses)
	c.because += fmt.Sprintf("; %s %s for want of the proxy", enumerate(targetNames(c.targets)), agree(len(c.targets), "fails", "fail"))
}

// twoSpellings: one unit says one thing in upper case and another in lower case.
func twoSpellings(v *view) []*candidate {
	var said []string
	for _, consumer := range readers {
		env, ok := v.plan.Environments[consumer]
		if !ok || env.Lower == nil {
			continue
		}
		effective, lower := env.proxies(), env.Lower.proxies()
		for i, p := range effective {
			if other := lower[i].value; other != "" && p.value.String() != other.String() {
				said = append(said, fmt.Sprintf("%s has %s %s and %s %s", v.unit(consumer), p.name, p.value, strings.ToLower(p.name), other))
			}
		}
		if env.NoProxy != "" && env.Lower.NoProxy != "" && !sameList(env.NoProxy, env.Lower.NoProxy) {
			said = append(said, fmt.Sprintf("%s has NO_PROXY %s and no_proxy %s", v.unit(consumer), env.NoProxy, env.Lower.NoProxy))
		}
	}
	if len(said) == 0 {
		return nil
	}
	return []*candidate{{code: PXY102, warn: true, because: enumerate(said), fields: []string{"variables", enumerate(said)}}}
}

// sameList compares two values of NO_PROXY as sets.
func sameList(a, b string) bool {
	if a == b {
		return true
	}
	set := func(s string) []string {
		var out []string
		for e := range strings.SplitSeq(s, ",") {
			if e = strings.ToLower(strings.TrimSpace(e)); e != "" {
				out = append(out, e)
			}
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	return slices.Equal(set(a), set(b))
}

// differingUnits: the kubelet and containerd, or a proxy that only nodeprep has.
func differingUnits(v *view) []*candidate {
	if len(v.plan.Environments) < 2 || !slices.ContainsFunc(readers[:], func(c Consumer) bool { return v.plan.Environments[c].usesProxy() }) {
		return nil
	}
	var units []Consumer
	for _, consumer := range readers {
		if _, ok := v.plan.Environments[consumer]; ok {
			units = append(units, consumer)
		}
	}
	first := v.plan.Environments[units[0]]
	var said []string
	var without []Consumer
	for _, consumer := range units {
		env := v.plan.Environments[consumer]
		if env.proxies()[0].value == "" {
			without = append(without, consumer)
		}
		if consumer == ConsumerAgent && !env.usesProxy() {
			continue // nodeprep itself needs none: it measures with those of the others
		}
		for i, p := range env.proxies() {
			if q := first.proxies()[i]; p.value.String() != q.value.String() {
				said = append(said, fmt.Sprintf("%s has %s %s, %s %s", v.unit(units[0]), p.name, proxyText(q.value), v.unit(consumer), proxyText(p.value)))
			}
		}
		if env.usesProxy() && first.usesProxy() && !sameList(env.noProxy(), first.noProxy()) {
			said = append(said, fmt.Sprintf("%s has NO_PROXY %s, %s %s", v.unit(units[0]), cmp.Or(first.noProxy(), "unset"), v.unit(consumer), cmp.Or(env.noProxy(), "unset")))
		}
	}
	if len(said) == 0 {
		return nil
	}
	c := &candidate{code: PXY109, warn: true, because: enumerate(said)}
	c.fields = []string{"variables", enumerate(said), "effect", "What works for one program fails for the other: the kubelet's login to the registry, say, and containerd's pull."}
	if len(without) < len(units) {
		v.unproxied(c, without)
	}
	return []*candidate{c}
}

func proxyText(p probe.Proxy) string { return cmp.Or(p.String(), "unset") }
