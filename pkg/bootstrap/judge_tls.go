package bootstrap

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

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

// leafOf is the certificate that the peer showed first.
func leafOf(p *pathView) (probe.Certificate, bool) {
	if p.step.TLS == nil || len(p.step.TLS.Chain) == 0 {
		return probe.Certificate{}, false
	}
	return p.step.TLS.Chain[0], true
}

// otherClusterCA: the API server shows a certificate of a Kubernetes CA, and
// it is not the one of the configuration.
func otherClusterCA(v *view, p *pathView) bool {
	if p.cause != probe.TLSUnknownAuthority || !p.target.isAPIServer() {
		return false
	}
	cert, ok := leafOf(p)
	if !ok {
		return false
	}
	if commonName(cert.Issuer) == "kubernetes" {
		return true
	}
	return slices.ContainsFunc(v.plan.Cluster.Authorities, func(ca Authority) bool {
		return cert.Issuer == ca.Subject || cert.AuthorityKeyID != "" && cert.AuthorityKeyID == ca.KeyID
	})
}

// commonName is the CN of a distinguished name in RFC 2253 form.
func commonName(dn string) string {
	for part := range strings.SplitSeq(dn, ",") {
		if cn, ok := strings.CutPrefix(strings.TrimSpace(part), "CN="); ok {
			return cn
		}
	}
	return ""
}

func tellCA(v *view, c *candidate, ps []*pathView) {
	cert, _ := leafOf(ps[0])
	c.because = fmt.Sprintf("the certificate is issued by %s", cert.Issuer)
	if cert.AuthorityKeyID != "" {
		c.because += " with key " + cert.AuthorityKeyID
	}
	if cas := v.plan.Cluster.Authorities; len(cas) > 0 {
		c.because += fmt.Sprintf("; the configured CA is %s with key %s", cas[0].Subject, cas[0].KeyID)
	}
	c.not = []RuledOut{{TLS102, "the issuer is a Kubernetes CA"}, {TLS104, "the chain fails before its dates count"}}
}

// amazonIssuer: a chain that says it is Amazon's. An interceptor would name itself.
func amazonIssuer(_ *view, p *pathView) bool {
	cert, ok := leafOf(p)
	return p.cause == probe.TLSUnknownAuthority && ok && !p.target.isAPIServer() &&
		(strings.Contains(cert.Issuer, "O=Amazon") || strings.Contains(cert.Issuer, "O=Starfield"))
}

func issuerOf(p *pathView) string {
	if cert, ok := leafOf(p); ok {
		return cmp.Or(cert.Issuer, "an unnamed CA")
	}
	return "an unknown CA"
}

func issuerKey(_ *view, p *pathView) string { return issuerOf(p) }

func causeKey(_ *view, p *pathView) string { return string(p.cause) }

func tellIssuer(_ *view, c *candidate, ps []*pathView) {
	c.because = fmt.Sprintf("the certificate of %s is issued by %s", enumerate(c.hosts()), issuerOf(ps[0]))
	c.fields = []string{"issuer", issuerOf(ps[0])}
	if c.code == TLS102 {
		c.not = []RuledOut{{TLS101, "the issuer is no Kubernetes CA"}}
	}
}

func (c *candidate) hosts() []string {
	out := make([]string, len(c.targets))
	for i, t := range c.targets {
		out[i] = t.Host
	}
	return out
}

func tellNames(_ *view, c *candidate, ps []*pathView) {
	cert, _ := leafOf(ps[0])
	has := cmp.Or(strings.Join(cert.Names, ", "), cert.Subject)
	c.because = fmt.Sprintf("%s shows a certificate for %s", ps[0].addr, has)
	c.fields = []string{"names", has}
	c.not = []RuledOut{{TLS102, "the chain verifies, or fails only by its name"}}
}

// tellValidity names both suspects: the certificate and this machine's clock.
// Nothing here tells them apart before a reference time is measured.
func tellValidity(v *view, c *candidate, ps []*pathView) {
	now := v.now.UTC().Format(time.RFC3339)
	const set = "set it (chronyc tracking; the source in a VPC is 169.254.169.123)"
	wrong := "If this machine's clock is wrong (" + now + "), " + set
	c.because = "the certificate is outside its validity at " + now
	var cert probe.Certificate
	if t := ps[0].step.TLS; t != nil {
		for _, x := range t.Chain {
			if cert.Subject == "" || v.now.After(x.NotAfter) || v.now.Before(x.NotBefore) {
				cert = x
			}
		}
	}
	from, to := cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339)
	hosts := enumerate(c.hosts())
	if ps[0].cause == probe.TLSNotYetValid {
		c.because = fmt.Sprintf("the certificate of %s is valid from %s, and this machine's clock says %s", hosts, from, now)
		c.fields = []string{"detail", fmt.Sprintf("%s; otherwise replace the certificate of %s, which is valid from %s.", wrong, hosts, from)}
		return
	}
	c.because = fmt.Sprintf("the certificate of %s is valid until %s, and this machine's clock says %s", hosts, to, now)
	renew := fmt.Sprintf("renew the certificate of %s, which expired %s", hosts, to)
	if len(c.targets) > 1 { // several at once: rather the clock
		c.fields = []string{"detail", wrong + "; otherwise " + renew + "."}
		return
	}
	c.fields = []string{"detail", fmt.Sprintf("If this machine's clock is right (%s), %s; otherwise %s.", now, renew, set)}
}

func alert(numbers ...int) func(*view, *pathView) bool {
	return func(_ *view, p *pathView) bool {
		return p.cause == probe.TLSAlert && p.step.TLS != nil && slices.Contains(numbers, p.step.TLS.Alert)
	}
}

func tellAlert(_ *view, c *candidate, ps []*pathView) {
	number := "an alert"
	if t := ps[0].step.TLS; t != nil && t.Alert != 0 {
		number = "alert " + strconv.Itoa(t.Alert)
	}
	c.because = fmt.Sprintf("%s answers the handshake with TLS %s", ps[0].addr, number)
	c.fields = []string{"detail", "it sends TLS " + number}
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

func tellCut(_ *view, c *candidate, ps []*pathView) {
	how := "closed"
	if ps[0].cause == probe.TLSReset {
		how = "reset"
	}
	c.because = fmt.Sprintf("TCP to %s connects; the connection is %s %s into the handshake", enumerate(addressTexts(ps)), how, ps[0].step.Took)
	c.not = []RuledOut{{NET105, "TCP connects"}, {TLS109, "the peer ends the connection"}}
}

func tellStall(_ *view, c *candidate, ps []*pathView) {
	c.because = fmt.Sprintf("TCP to %s connects, and the handshake gets no answer within %s", enumerate(addressTexts(ps)), ps[0].step.Took)
	c.not = []RuledOut{{NET105, "TCP connects"}, {TLS108, "nobody ends the connection"}}
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
