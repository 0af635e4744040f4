package bootstrap

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"syscall"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// errnoText is the kernel's name of the error, or the cause.
func errnoText(p *pathView) string {
	if p.step.Errno != 0 {
		return syscall.Errno(p.step.Errno).Error()
	}
	return string(p.cause)
}

func tellErrno(v *view, c *candidate, ps []*pathView) {
	c.because = fmt.Sprintf("connecting to %s fails %s: %s", enumerate(addressTexts(ps)), tookText(ps[0].step.Took), errnoText(ps[0]))
	switch c.code {
	case NET102:
		c.not = []RuledOut{{NET101, "this machine has a route, and the answer came from the network"}, {NET105, "silence is what a security group gives"}}
		if !v.stateKnown {
			c.confidence, c.not = Likely, c.not[1:]
		}
	case NET101:
		c.not = []RuledOut{{NET102, "the error came at once, from this machine"}}
	case NET103:
		c.not = []RuledOut{{NET105, "a security group gives silence, and here the neighbour is missing"}}
	default: // LNK107: the error says it
	}
}

func tellRefused(v *view, c *candidate, ps []*pathView) {
	c.because = fmt.Sprintf("%s %s the connection %s", enumerate(addressTexts(ps)), agree(len(ps), "refuses", "refuse"), tookText(ps[0].step.Took))
	c.not = []RuledOut{{NET105, "a refusal is an answer; a security group gives silence"}}
	if len(c.targets) < 3 {
		c.needsAll = !v.anyPathPassed() // all may yet turn out to refuse
		return
	}
	// Names that have nothing to do with each other do not lead to closed ports
	// all at once. Something near this node refuses for them.
	c.code, c.needsAll = LNK107, true
	c.remedy = "Allow outbound TCP {port} to {addresses} ({hosts}) on this machine (nft list ruleset, iptables -S OUTPUT); if nothing there rejects it, in the network firewall behind {cidr}."
	c.not = append([]RuledOut{{NET104, "all names refuse alike, also those of unrelated services"}}, c.not...)
}

// anyPathPassed reports whether anything answered as it should.
func (v *view) anyPathPassed() bool {
	return slices.ContainsFunc(v.targets, func(t *targetView) bool {
		return slices.ContainsFunc(t.paths, func(p *pathView) bool { return p.ok })
	})
}

func tellExhausted(_ *view, c *candidate, ps []*pathView) {
	c.because = "connecting fails on this machine: " + errnoText(ps[0])
	c.fields = []string{"detail", errnoText(ps[0])}
}

func alert(numbers ...int) func(*view, *pathView) bool {
	return func(_ *view, p *pathView) bool {
		return p.cause == probe.TLSAlert && p.step.TLS != nil && slices.Contains(numbers, p.step.TLS.Alert)
	}
}

// alertNames are those of the alerts that servers send in a handshake (RFC 8446 section 6).
var alertNames = map[int]string{
	40: "handshake_failure", 42: "bad_certificate", 47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied", 50: "decode_error",
	70: "protocol_version", 71: "insufficient_security", 80: "internal_error", 86: "inappropriate_fallback", 109: "missing_extension",
	112: "unrecognized_name", 116: "certificate_required", 120: "no_application_protocol",
}

func tellAlert(_ *view, c *candidate, ps []*pathView) {
	said := "an alert"
	if t := ps[0].step.TLS; t != nil && t.Alert != 0 {
		said = "alert " + strconv.Itoa(t.Alert)
		if name := alertNames[t.Alert]; name != "" {
			said += " (" + name + ")"
		}
	}
	c.because = fmt.Sprintf("%s %s the handshake with TLS %s", enumerate(addressTexts(ps)), agree(len(ps), "answers", "answer"), said)
	c.fields = []string{"detail", "it sends TLS " + said}
	if c.code == TLS106 {
		c.confidence = Likely
		c.fields = []string{"detail", " (" + c.fields[1] + "), or correct the DNS record that leads there"}
	}
}

func tellFirstBytes(_ *view, c *candidate, ps []*pathView) {
	first := "something that is not TLS"
	if t := ps[0].step.TLS; t != nil && t.FirstBytes != "" {
		first = strconv.Quote(t.FirstBytes)
	}
	c.because = fmt.Sprintf("%s %s TLS with %s", enumerate(addressTexts(ps)), agree(len(ps), "answers", "answer"), first)
	c.fields = []string{"firstBytes", first}
	c.not = []RuledOut{{TLS108, "the peer answers"}}
}

// nameFiltered: another server name passes at the same address where this one
// gets no answer. What passes with the same name once packets are small has
// another cause.
func nameFiltered(_ *view, p *pathView) bool {
	if !p.stalled() && !p.cut() || p.trial(probe.KindSecondSNI) != trialPassed {
		return false
	}
	return p.trial(probe.KindSmallHello) != trialPassed && p.trial(probe.KindMSSClamp) != trialPassed || splitName(p)
}

func tellFiltered(_ *view, c *candidate, ps []*pathView) {
	p := ps[0]
	e, _ := p.Experiment(probe.KindSecondSNI)
	if p.cut() {
		c.because = cutText(ps)
		c.not = []RuledOut{{TLS108, "not every connection is cut: it follows the server name"}}
		c.fields = []string{"detail", " in the firewall or proxy that filters by name, or correct the DNS record if a server answers there that does not know the name"}
	} else {
		c.because = stallText(ps)
		c.not = []RuledOut{{TLS109, "the peer answers a ClientHello with another server name"}}
		c.fields = []string{"detail", " in the firewall or proxy that filters by name and drops what it does not know"}
	}
	c.because += fmt.Sprintf(" for %s; with the server name %s the handshake passes at the same address", enumerate(c.hosts()), e.Name)
	switch small, clamp := p.trial(probe.KindSmallHello), p.trial(probe.KindMSSClamp); {
	case splitName(p):
		c.confidence = Likely
		c.because += ", and for this name only in segments so small that they split it"
	case small == trialFailed && (clamp == trialFailed || p.cut()):
		c.not = append(c.not, RuledOut{TLS112, "a small ClientHello makes no difference"})
	case p.experimenting():
		c.needsAll = true
	}
}

// triedKey merges what fails alike: with experiments that made no difference, and
// without any.
func triedKey(v *view, p *pathView) string { return strconv.FormatBool(v.like(p).tried()) }

func cutText(ps []*pathView) string {
	how := "closed"
	if ps[0].cause == probe.TLSReset {
		how = "reset"
	}
	return fmt.Sprintf("TCP to %s connects; the connection is %s %s into the handshake", enumerate(addressTexts(ps)), how, ps[0].step.Took)
}

func tellCut(v *view, c *candidate, ps []*pathView) {
	p := v.like(ps[0])
	c.because = cutText(ps)
	// Until then an experiment may say more, on this path or on one that fails alike.
	c.needsAll = !p.tried() || slices.ContainsFunc(ps, (*pathView).experimenting)
	c.not = []RuledOut{{NET105, "TCP connects"}, {TLS109, "the peer ends the connection"}}
	detail := "the server itself, a load balancer without healthy members, or a firewall"
	e, _ := p.Experiment(probe.KindSecondSNI)
	switch p.trial(probe.KindSecondSNI) {
	case trialFailed:
		c.because += "; with the server name " + e.Name + " it ends alike"
		c.not = append(c.not, RuledOut{TLS106, "another server name makes no difference"})
	case trialNone, trialPassed:
		c.because += "; no other server name was tried"
		detail += ", which may filter by the server name (" + string(TLS106) + ")"
	}
	if p.trial(probe.KindSmallHello) == trialFailed {
		c.not = append(c.not, RuledOut{TLS112, "a small ClientHello makes no difference"})
	}
	c.fields = []string{"detail", detail}
}

// tellStall: what is left when no experiment makes a difference, or none was made.
func tellStall(v *view, c *candidate, ps []*pathView) {
	p := v.like(ps[0])
	c.because = fmt.Sprintf("TCP to %s connects, and the handshake gets no answer within %s", enumerate(addressTexts(ps)), p.step.Took)
	c.not = []RuledOut{{NET105, "TCP connects"}, {TLS108, "nobody ends the connection"}}
	server := "Check {hosts} ({addresses}): it accepts TCP and does not answer TLS, as an overloaded server, a load balancer without healthy members or a half-open firewall does"
	small, clamp := p.trial(probe.KindSmallHello), p.trial(probe.KindMSSClamp)
	var untried []string
	if clamp == trialFailed {
		c.because += "; in segments of at most " + clampText(ps) + " bytes neither"
		c.not = append(c.not, RuledOut{MTU101, "small segments make no difference"})
		if small == trialFailed {
			c.not = append(c.not, RuledOut{MTU102, "small segments make no difference in either direction"})
		}
	} else {
		untried = append(untried, "small segments")
	}
	if small == trialFailed {
		c.because += "; a ClientHello of one small packet neither"
		c.not = append(c.not, RuledOut{TLS112, "a small ClientHello makes no difference"})
	} else {
		untried = append(untried, "a small ClientHello")
	}
	e, _ := p.Experiment(probe.KindSecondSNI)
	if p.trial(probe.KindSecondSNI) == trialFailed {
		c.because += "; with the server name " + e.Name + " neither"
		c.not = append(c.not, RuledOut{TLS106, "another server name makes no difference"})
	} else {
		untried = append(untried, "another server name")
	}
	c.because += helloText(p)
	if clamp == trialFailed && small == trialFailed {
		c.needsAll = slices.ContainsFunc(ps, (*pathView).experimenting)
		if len(untried) > 0 {
			c.because += "; " + enumerate(untried) + " was not tried"
			server += ", and what filters by server name on the path"
		}
		c.remedy = server + "."
		return
	}
	c.confidence, c.needsAll = Possible, true
	c.because += "; " + enumerate(untried) + " " + agree(len(untried), "was", "were") + " not tried"
	c.remedy = server + ", and the path for lost large packets: firewalls must pass ICMP type 3 code 4 (ICMPv6 type 2)." +
		" To see whether that is it, " + v.lowerMTU(ps) + "."
}

func tellRaw(_ *view, c *candidate, ps []*pathView) {
	said := cmp.Or(ps[0].step.Err, string(ps[0].cause))
	c.because = fmt.Sprintf("the handshake with %s fails: %s", ps[0].addr, said)
	c.fields = []string{"detail", said}
}

func tellNotAPI(_ *view, c *candidate, ps []*pathView) {
	said := "something that is not HTTP"
	if ps[0].answer != nil {
		said = answerText(ps[0].answer)
	}
	c.because = fmt.Sprintf("%s %s %s, which no Kubernetes API server does", enumerate(addressTexts(ps)), agree(len(ps), "answers", "answer"), said)
	c.fields = []string{"detail", said}
	c.not = []RuledOut{{API102, "the answer is no failure of an API server"}}
}

func tellNoAnswer(_ *view, c *candidate, ps []*pathView) {
	how := map[probe.Cause]string{probe.HTTPTimeout: "gets no answer", probe.HTTPReset: "is reset", probe.HTTPClosed: "is cut off"}[ps[0].cause]
	c.because = fmt.Sprintf("TLS with %s completes; the request %s after %s", enumerate(addressTexts(ps)), how, ps[0].step.Took)
	c.not = []RuledOut{{TLS109, "the handshake completes"}}
}
