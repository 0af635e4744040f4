package bootstrap

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// A handshake that gets no answer has four causes that look alike: large packets
// lost on the way out, large packets lost on the way back, a device that drops
// what it does not understand or not allow, and a server that does not answer.
// Each experiment changes one thing:
//
//	small hello  small segments  another name  cause
//	passes       yes             -             MTU-101: out
//	stalls       yes             -             MTU-102: back
//	passes       no              -             TLS-112: the large ClientHello itself
//	stalls       no,             but yes       TLS-106: the name
//	stalls       no,             nor this      TLS-109: the server

// A trial is what became of an experiment.
type trial uint8

const (
	trialNone trial = iota // not made, not ended, or without a result
	trialPassed
	trialFailed
)

// trial is what the experiment of a kind says about the handshake on the path.
// One whose connection was not made says nothing.
func (p *pathView) trial(kind probe.Kind) trial {
	e, ok := p.Experiment(kind)
	switch {
	case !ok || len(e.Steps) == 0 || e.Steps[len(e.Steps)-1].Phase != probe.PhaseTLS:
		return trialNone
	case e.OK():
		return trialPassed
	case e.Failed():
		return trialFailed
	}
	return trialNone
}

// tried reports whether anything was learned from an experiment on the path.
func (p *pathView) tried() bool {
	return p.trial(probe.KindSmallHello) != trialNone || p.trial(probe.KindMSSClamp) != trialNone || p.trial(probe.KindSecondSNI) != trialNone
}

// experimenting reports whether an experiment on the path could yet change
// what its failure means.
func (p *pathView) experimenting() bool {
	return p.target.res.Pending
}

// A way is what experiments said about failed handshakes on one way.
type way struct {
	model *pathView
	code  Code // MTU101, MTU102, TLS112, or empty for none of them or several
	tried int
}

// fewTried is how many paths must agree before one without experiments is taken
// to fail like them: a round tries a few addresses of a target, and not of every target.
const fewTried = 4

// like is the path whose experiments count for p: its own, else those of its
// target's other addresses, else those of its way.
func (v *view) like(p *pathView) *pathView {
	if p.tried() || !p.stalled() && !p.cut() {
		return p
	}
	alike := func(o *pathView) bool { return o.tried() && (p.stalled() && o.stalled() || p.cut() && o.cut()) }
	if i := slices.IndexFunc(p.target.paths, alike); i >= 0 {
		return p.target.paths[i]
	}
	if v.ways == nil {
		v.ways = map[failedWay]*way{}
		for _, t := range v.targets {
			for _, o := range t.paths {
				if (o.stalled() || o.cut()) && o.tried() {
					v.note(o)
				}
			}
		}
	}
	if w := v.ways[failedWayOf(p)]; w != nil && w.code != "" && w.tried >= fewTried {
		return w.model
	}
	return p
}

// note adds what the experiments on a path say to what is known of its way.
func (v *view) note(p *pathView) {
	var code Code
	switch {
	case lostOutbound(v, p):
		code = MTU101
	case lostInbound(v, p):
		code = MTU102
	case largeHello(v, p):
		code = TLS112
	}
	w := v.ways[failedWayOf(p)]
	if w == nil {
		v.ways[failedWayOf(p)] = &way{model: p, code: code, tried: 1}
		return
	}
	w.tried++
	if w.code != code {
		w.code = ""
	}
}

// A failedWay is how handshakes fail on a way that paths share.
type failedWay struct {
	cut bool
	way string
}

func failedWayOf(p *pathView) failedWay { return failedWay{p.cut(), wayKey(nil, p)} }

// helloArrived says whether the peer's kernel acknowledged all of the ClientHello;
// known is false without TCP_INFO.
func (p *pathView) helloArrived() (arrived, known bool) {
	t := p.step.TCP
	if t == nil {
		return false, false
	}
	return t.Unacked == 0, true
}

func (p *pathView) stalled() bool { return p.cause == probe.TLSTimeout }

func (p *pathView) cut() bool { return p.cause == probe.TLSReset || p.cause == probe.TLSClosed }

// lostOutbound: what is large does not get to the peer.
func lostOutbound(v *view, p *pathView) bool {
	p = v.like(p)
	if !p.stalled() {
		return false
	}
	arrived, known := p.helloArrived()
	switch p.trial(probe.KindSmallHello) {
	case trialPassed:
		clamp := p.trial(probe.KindMSSClamp)
		return clamp == trialPassed || clamp == trialNone && (!known || !arrived)
	case trialNone:
		return p.trial(probe.KindMSSClamp) == trialPassed && (!known || !arrived)
	case trialFailed:
	}
	return false
}

// lostInbound: the peer's large packets do not get here.
func lostInbound(v *view, p *pathView) bool {
	p = v.like(p)
	if !p.stalled() || p.trial(probe.KindMSSClamp) != trialPassed {
		return false
	}
	arrived, known := p.helloArrived()
	switch p.trial(probe.KindSmallHello) {
	case trialFailed:
		return !splitName(p)
	case trialNone:
		return known && arrived
	case trialPassed:
	}
	return false
}

// splitName: a device that drops a name and does not see one that is split over
// two segments. The other name shows that large packets get through.
func splitName(p *pathView) bool {
	arrived, known := p.helloArrived()
	return known && !arrived && p.trial(probe.KindMSSClamp) == trialPassed && p.trial(probe.KindSmallHello) == trialFailed &&
		p.trial(probe.KindSecondSNI) == trialPassed
}

// largeHello: the ClientHello is not understood once it is larger than a packet.
func largeHello(v *view, p *pathView) bool {
	p = v.like(p)
	if !p.stalled() && !p.cut() || p.trial(probe.KindSmallHello) != trialPassed {
		return false
	}
	if p.cut() {
		return true // a lost packet cuts nothing
	}
	arrived, known := p.helloArrived()
	clamp := p.trial(probe.KindMSSClamp)
	return clamp == trialFailed || clamp == trialNone && known && arrived
}

// wayKey merges paths that share their way: the proxy's, or those of one class
// of addresses.
func wayKey(_ *view, p *pathView) string {
	if p.target.Proxy != "" {
		return proxyKey(nil, p)
	}
	return wayText(p.kind)
}

func wayText(k kind) string {
	switch k {
	case kindLinkLocal:
		return "link-local"
	case kindSubnet, kindVPC:
		return "in the VPC"
	case kindPrivate:
		return "private, outside the VPC"
	default:
		return "public"
	}
}

func tellOutbound(v *view, c *candidate, ps []*pathView) {
	p := v.like(ps[0])
	c.because = stallText(ps) + "; " + triedText(ps)
	sent := helloText(p)
	switch small, clamp := p.trial(probe.KindSmallHello), p.trial(probe.KindMSSClamp); {
	case small == trialPassed && clamp == trialPassed:
		c.because += "the same in segments of at most " + clampText(ps) + " bytes passes, and so does a ClientHello of one small packet" + sent
		c.not = []RuledOut{{TLS109, "the server answers what is small"}, {TLS112, "the large ClientHello is answered when it comes in small segments"}, {MTU102, "the whole answer to a small ClientHello arrives"}}
	case small == trialPassed:
		c.because += "a ClientHello of one small packet passes; the same in small segments was not tried" + sent
		c.confidence, c.needsAll = Possible, true
		c.not = []RuledOut{{TLS109, "the server answers what is small"}}
	default:
		c.because += "the same in segments of at most " + clampText(ps) + " bytes passes; a small ClientHello was not tried" + sent
		c.confidence, c.needsAll = Likely, true
		c.not = []RuledOut{{TLS109, "the server answers small segments"}}
		if _, known := p.helloArrived(); !known {
			c.confidence = Possible
			c.because += ", so that the direction is not known"
		}
	}
	detail := v.lowerMTU(ps) + ", or let the kernel find the size: sysctl -w net.ipv4.tcp_mtu_probing=1"
	if c.confidence == Possible && p.trial(probe.KindMSSClamp) == trialNone {
		detail += "; if that changes nothing, a device on the path does not read a large ClientHello (" + string(TLS112) + ")"
	}
	c.fields = []string{"detail", detail}
}

func tellInbound(v *view, c *candidate, ps []*pathView) {
	p := v.like(ps[0])
	c.because = stallText(ps) + "; " + triedText(ps)
	c.not = []RuledOut{{TLS109, "the server answers a connection that asks for small segments"}}
	switch {
	case p.trial(probe.KindSmallHello) == trialNone:
		c.because += "a connection that asks for segments of at most " + clampText(ps) + " bytes is answered; a small ClientHello was not tried" + helloText(p)
		c.confidence, c.needsAll = Likely, true
		c.not = append(c.not, RuledOut{MTU101, "the peer acknowledged the ClientHello"})
	default:
		c.because += "a ClientHello of one small packet gets none either; a connection that asks the peer for segments of at most " + clampText(ps) + " bytes is answered" + helloText(p)
		if arrived, known := p.helloArrived(); known && !arrived {
			c.because += ": this node's own large packets are lost too"
		} else {
			c.not = append(c.not, RuledOut{MTU101, "a ClientHello of one small packet is not answered either"})
		}
	}
	if p.trial(probe.KindSecondSNI) == trialPassed && p.trial(probe.KindSmallHello) == trialFailed {
		if _, known := p.helloArrived(); !known {
			c.confidence = Likely
		}
		c.because += "; another server name passes, whose answer is smaller"
	}
	c.fields = []string{"detail", v.lowerMTU(ps) + ", which this node then asks its peers to keep"}
}

func tellLargeHello(v *view, c *candidate, ps []*pathView) {
	p := v.like(ps[0])
	if p.cut() {
		c.because = cutText(ps) + "; " + triedText(ps) + "a ClientHello without the post-quantum key share passes"
		c.not = []RuledOut{{MTU101, "the connection is ended; a lost packet ends nothing"}, {TLS106, "the same server name passes in a small ClientHello"}}
	} else {
		c.because = stallText(ps) + "; " + triedText(ps) + "a ClientHello of one small packet passes"
		c.not = []RuledOut{{TLS109, "the server answers a small ClientHello"}, {TLS106, "the same server name passes in a small ClientHello"}}
		if p.trial(probe.KindMSSClamp) == trialFailed {
			c.because += ", the large one in segments of at most " + clampText(ps) + " bytes does not"
			c.not = append(c.not, RuledOut{MTU101, "small segments make no difference"})
		} else {
			c.because += "; the large one in small segments was not tried" + helloText(p)
			c.confidence, c.needsAll = Likely, true
		}
	}
	device := "firewall, inspecting gateway or load balancer"
	if p.target.Proxy != "" {
		device = "proxy " + p.target.Proxy.String() + ", or a device behind it,"
	}
	c.fields = []string{"device", device}
}

// stallText is "TCP to A connects, and a ClientHello of about 1500 bytes gets no answer within 1.5s".
func stallText(ps []*pathView) string {
	return fmt.Sprintf("TCP to %s (%s) connects, and the ClientHello of about 1500 bytes gets no answer within %s",
		enumerate(addressTexts(ps)), wayText(ps[0].kind), ps[0].step.Took)
}

// triedText says where the experiments were made, when not everywhere.
func triedText(ps []*pathView) string {
	made := slices.DeleteFunc(slices.Clone(ps), func(p *pathView) bool { return !p.tried() })
	if len(made) == len(ps) || len(made) == 0 {
		return ""
	}
	return "tried at " + enumerate(addressTexts(made)) + ": "
}

// clampText is the size of the segments in KindMSSClamp.
func clampText(ps []*pathView) string {
	v4 := slices.ContainsFunc(ps, func(p *pathView) bool { return p.addr.Is4() })
	v6 := slices.ContainsFunc(ps, func(p *pathView) bool { return p.addr.Is6() })
	switch {
	case v4 && v6:
		return "1000 (IPv6: 1220)"
	case v6:
		return "1220"
	default:
		return "1000"
	}
}

// helloText is what the kernel knows of the ClientHello that got no answer.
func helloText(p *pathView) string {
	t := p.step.TCP
	switch {
	case t == nil:
		return ""
	case t.Unacked == 0:
		return " (the peer acknowledged the ClientHello, and " + countOf(int(t.BytesReceived), "byte") + " came back)"
	default:
		return fmt.Sprintf(" (of the large one %s not acknowledged after %s)", agree(t.Unacked, "1 segment is", strconv.Itoa(t.Unacked)+" segments are"), countOf(t.Retransmits, "retransmission"))
	}
}

// ethernetMTU is what every path should carry that is no tunnel, in bytes.
const ethernetMTU = 1500

// lowerMTU says how to make this node's packets small enough for the path.
func (v *view) lowerMTU(ps []*pathView) string {
	name, mtu := v.linkTo(ps[0].addr)
	if name == "" {
		name = v.linkNames()
	}
	now := ""
	if mtu > 0 {
		now = " (" + strconv.Itoa(mtu) + " now)"
	}
	to := strconv.Itoa(ethernetMTU)
	if mtu > 0 && mtu <= ethernetMTU {
		to = "1300 or what the path carries"
	}
	return fmt.Sprintf("set the MTU of %s%s to %s (of the interface, or of the route: ip route change ROUTE mtu N)", name, now, to)
}

// linkTo is the interface over which packets to a leave, and its MTU; zero
// values when it is not known.
func (v *view) linkTo(a netip.Addr) (name string, mtu int) {
	if d, ok := v.destinations[a]; ok {
		name = d.Link
	} else if r, ok := v.state.RouteTo(a); ok {
		l, _ := v.state.Link(r.Link)
		name = l.Name
	}
	for _, l := range v.state.Links {
		if l.Name == name {
			return l.Name, l.MTU
		}
	}
	return "", 0
}
