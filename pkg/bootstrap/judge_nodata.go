package bootstrap

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// noData: the name is there, without an address this node could use. Where
// AmazonProvidedDNS has one, the server that answers has a zone of its own.
func noData(v *view) []*candidate {
	c := &candidate{code: DNS119}
	var out []*candidate
	for _, t := range v.direct {
		if !t.unresolved() || t.decider < 0 || t.outcomes[t.decider] != outNoData {
			continue
		}
		a := v.servers[t.decider].addr.Addr()
		if t.ref.answered() {
			out = append(out, &candidate{
				code: DNS109, targets: []*targetView{t}, addresses: []netip.Addr{a},
				because: fmt.Sprintf("%s has no address for %s; %s gives %s", a, t.Host, t.ref.server, enumerate(stringsOf(t.ref.addresses))),
				fields:  []string{"detail", sentence(v.forward([]netip.Addr{a}, t.Host))},
				not:     []RuledOut{{DNS119, "the VPC's resolver has an address that this node can use"}},
			})
			continue
		}
		c.targets = append(c.targets, t)
		c.addresses = append(c.addresses, a)
	}
	if len(c.targets) == 0 {
		return out
	}
	types := nonEmpty(textIf(v.v4, "A"), textIf(v.v6, "AAAA"))
	c.addresses = sortAddresses(c.addresses)
	c.because = fmt.Sprintf("%s: the name exists and has no %s record", enumerate(targetNames(c.targets)), enumerate(types))
	c.fields = []string{"types", enumerate(types)}
	c.not = []RuledOut{{DNS121, "the answer is an empty one, not NXDOMAIN"}}
	return append(out, c)
}

func textIf(b bool, s string) string {
	if b {
		return s
	}
	return ""
}

// disagreeing: servers that give private and public addresses for one name. A
// name that works by the server that decides is no finding by comparison alone.
func disagreeing(v *view) []*candidate {
	var out []*candidate
	type id struct {
		code   Code
		server netip.Addr
	}
	merged := map[id]*candidate{}
	for _, t := range v.direct {
		if t.hosted() || t.decider < 0 || len(t.paths) == 0 || !t.settled && !t.passed {
			continue
		}
		s := v.servers[t.decider].addr.Addr()
		by, private := v.bypassed(t)
		other := v.other(t)
		var c *candidate
		switch {
		case by.IsValid():
			if c = merged[id{DNS110, s}]; c == nil {
				c = &candidate{code: DNS110, addresses: []netip.Addr{s}}
				c.because = fmt.Sprintf("%s gives %s, %s gives %s; the public addresses do not connect", s, t.paths[0].addr, by, private)
				c.not = []RuledOut{{DNS111, "the endpoint and its private name exist: " + by.String() + " knows them"}}
				merged[id{DNS110, s}] = c
				out = append(out, c)
			}
		case other != nil && (v.isService(t) || t.isAPIServer()):
			at := other.Servers[0].Addr()
			if c = merged[id{DNS113, s}]; c == nil {
				c = &candidate{code: DNS113, warn: true, because: fmt.Sprintf("%s gives %s, %s gives %s", s, t.paths[0].addr, at, other.addr)}
				merged[id{DNS113, s}] = c
				out = append(out, c)
			}
			c.addresses = sortAddresses(append(c.addresses, s, at))
		default:
			continue
		}
		c.targets = append(c.targets, t)
	}
	for _, c := range out {
		if c.code == DNS110 {
			v.tellPrivate(c)
		}
	}
	return out
}

// bypassed returns who knows private addresses of a target, and one of them,
// when the server that decides gives public ones and none of them connects.
// The VPC's own resolver bypasses nobody.
func (v *view) bypassed(t *targetView) (by, private netip.Addr) {
	if t.passed || v.deciderIsVPC(t) || !t.public() ||
		!t.all(func(p *pathView) bool { return !p.ok && !p.unknown && p.step.Phase == probe.PhaseConnect }) {
		return by, private
	}
	if as := v.private(t.ref.addresses); len(as) > 0 {
		return t.ref.server, as[0]
	}
	if p := v.other(t); p != nil {
		return p.Servers[0].Addr(), p.addr
	}
	return by, private
}

// privateState says whether a private address of the target that is not used would
// work: the first that was connected to.
func (t *targetView) privateState() (answers, silent *pathView) {
	for _, p := range slices.Concat(t.referred, t.spare) {
		switch {
		case p.public() || p.unknown:
		case p.answered():
			return p, nil
		case p.silent() && silent == nil:
			silent = p
		default:
		}
	}
	return nil, silent
}

// tellPrivate adds whether the private addresses would work.
func (v *view) tellPrivate(c *candidate) {
	var answering, silent []*pathView
	for _, t := range c.targets {
		if p, q := t.privateState(); p != nil {
			answering = append(answering, p)
		} else if q != nil {
			silent = append(silent, q)
		}
	}
	if len(answering) > 0 {
		c.because += fmt.Sprintf("; %s %s", enumerate(addressTexts(answering)), agree(len(answering), "answers", "answer"))
	}
	if len(silent) > 0 {
		texts := enumerate(addressTexts(silent))
		c.because += fmt.Sprintf("; %s %s silent, too", texts, agree(len(silent), "is", "are"))
		c.fields = []string{"detail", fmt.Sprintf(" Of the private addresses %s %s not answer this node yet: allow TCP %d from %s in the security group there as well.",
			texts, agree(len(silent), "does", "do"), silent[0].Address.Port(), v.source([]netip.Addr{silent[0].addr}))}
	}
}

// other returns an address that only another configured server knows, private
// where the decider's are public or the other way round.
func (v *view) other(t *targetView) *pathView {
	for _, p := range t.spare {
		if len(p.Servers) > 0 && p.public() != t.public() && (t.public() || t.inVPC()) {
			return p
		}
	}
	return nil
}
