package bootstrap

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// Go's verification looks at the dates first, then at the name, then at the
// chain (crypto/x509, Certificate.Verify): of two faults it reports the first.

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
	if i := slices.IndexFunc(ps[0].target.paths, func(p *pathView) bool { return p.ok }); i >= 0 {
		a := ps[0].target.paths[i].addr.String()
		c.because += "; " + a + " has a certificate of the configured CA"
		c.remedy = "Take {addresses} out of {hosts}, in DNS or in the load balancer there: what answers is of another cluster, or of an earlier one. The configured CA is right, it verifies " + a + "."
	}
	c.not = []RuledOut{{TLS102, "the issuer is a Kubernetes CA"}, {TLS103, "the certificate is for " + ps[0].target.Host}, {TLS104, "the certificate is within its validity"}}
	if ps[0].reverified() != nil {
		c.not[2].Why = "the chain fails at the time of " + sourceText(ps[0].reverified().Source) + " too"
	}
}

// amazonIssuer: a chain that says it is Amazon's and does not verify.
func amazonIssuer(_ *view, p *pathView) bool {
	cert, ok := leafOf(p)
	return p.cause == probe.TLSUnknownAuthority && ok && !p.target.isAPIServer() && ofAmazon(cert.Issuer)
}

// blockPage: an inspecting product answers with a certificate of its own name,
// as it does to show why it blocks.
func blockPage(_ *view, p *pathView) bool {
	return p.cause == probe.TLSWrongHost && p.step.TLS != nil && inspector(p.step.TLS.Chain) != ""
}

func intercepted(v *view, p *pathView) bool {
	return p.cause == probe.TLSUnknownAuthority || blockPage(v, p)
}

func issuerOf(p *pathView) string {
	if cert, ok := leafOf(p); ok {
		return cmp.Or(cert.Issuer, "an unnamed CA")
	}
	return "an unknown CA"
}

// issuerText names the issuer, and the product when it is known.
func issuerText(p *pathView) string {
	if p.step.TLS != nil {
		if product := inspector(p.step.TLS.Chain); product != "" {
			return product + " (" + issuerOf(p) + ")"
		}
	}
	return issuerOf(p)
}

func issuerKey(_ *view, p *pathView) string { return issuerOf(p) }

func causeKey(_ *view, p *pathView) string { return string(p.cause) }

func tellIssuer(_ *view, c *candidate, ps []*pathView) {
	c.because = fmt.Sprintf("the certificate of %s is issued by %s", enumerate(c.hosts()), issuerOf(ps[0]))
	c.fields = []string{"issuer", issuerOf(ps[0])}
}

// tellIntercepted names who answers in place of the hosts. One issuer of several
// unrelated hosts, or a product's name, is proof; one unknown issuer of one host is not.
func tellIntercepted(v *view, c *candidate, ps []*pathView) {
	tellIssuer(v, c, ps)
	c.fields = []string{"issuer", issuerText(ps[0])}
	c.because = sameIssuer(c, ps)
	if blockPage(v, ps[0]) {
		leaf, _ := leafOf(ps[0])
		c.because += ", for " + certificateNames(leaf)
	}
	api := slices.ContainsFunc(c.targets, (*targetView).isAPIServer)
	own := !slices.ContainsFunc(c.targets, func(t *targetView) bool { return t.isAPIServer() || t.aws })
	known := ps[0].step.TLS != nil && inspector(ps[0].step.TLS.Chain) != ""
	switch {
	case known || len(c.targets) > 1 && !own:
	case own:
		c.confidence = Possible
		c.remedy = "Install the CA of {hosts} ({issuer}) in this machine's trust store; if it is not the CA of that server, exempt {hosts} ({addresses}) from TLS inspection."
	default:
		c.confidence, c.needsAll = Likely, true // other hosts may yet show the same issuer
	}
	c.fields = append(c.fields, "detail", " Installing that CA on the image lets this machine through, and not pods, which bring roots of their own ("+string(TLS113)+").")
	if api {
		c.fields[len(c.fields)-1] = " No trust store helps: the kubelet trusts the cluster's CA alone."
		c.not = []RuledOut{{TLS101, "the issuer is no Kubernetes CA"}}
	}
	if ps[0].cause == probe.TLSUnknownAuthority {
		c.not = append(c.not, RuledOut{TLS103, "the certificate is made out to the right name"})
	}
}

// sameIssuer is "the certificates of A, B and C are all issued by X (CN=Y)".
func sameIssuer(c *candidate, ps []*pathView) string {
	if len(c.targets) == 1 {
		return fmt.Sprintf("the certificate of %s is issued by %s", c.targets[0].Host, issuerText(ps[0]))
	}
	return fmt.Sprintf("one issuer, %s, answers for %d hosts: %s", issuerText(ps[0]), len(c.targets), enumerate(c.hosts()))
}

func (c *candidate) hosts() []string {
	out := make([]string, len(c.targets))
	for i, t := range c.targets {
		out[i] = t.Host
	}
	return out
}

// manyNames is how many of a certificate's names are shown.
const manyNames = 8

func certificateNames(cert probe.Certificate) string {
	if len(cert.Names) == 0 {
		return cmp.Or(cert.Subject, "no name")
	}
	return enumerateUpTo(manyNames, cert.Names)
}

func tellNames(_ *view, c *candidate, ps []*pathView) {
	cert, _ := leafOf(ps[0])
	has := certificateNames(cert)
	c.because = fmt.Sprintf("%s shows a certificate for %s", ps[0].addr, has)
	if cert.Issuer != "" {
		c.because += ", issued by " + cert.Issuer
	}
	c.fields = []string{"names", "a server for " + has + " answers"}
	if ps[0].target.isAPIServer() && commonName(cert.Issuer) == "kubernetes" {
		c.fields[1] = "another cluster's API server (" + has + ") answers"
	}
	c.not = []RuledOut{{TLS104, "the dates are looked at before the name, and the certificate is within its validity"}}
	if again := ps[0].reverified(); again != nil {
		c.not[0].Why = "the name is wrong at the time of " + sourceText(again.Source) + " too"
	}
}

// outdated is the certificate of the chain that is outside its validity at the
// time, else the first.
func outdated(p *pathView, at time.Time) probe.Certificate {
	var cert probe.Certificate
	if t := p.step.TLS; t != nil {
		for i, x := range t.Chain {
			if i == 0 || at.After(x.NotAfter) || at.Before(x.NotBefore) {
				cert = x
			}
		}
	}
	return cert
}

// tellValidity: the certificate is at fault when it is out of date by another
// clock too. Without one, both suspects are named.
func tellValidity(v *view, c *candidate, ps []*pathView) {
	hosts := enumerate(c.hosts())
	at, by := v.now, "this machine's clock says "+utc(v.now)
	again := ps[0].reverified()
	if again != nil {
		at, by = again.Time, sourceText(again.Source)+" says "+utc(again.Time)
	}
	cert := outdated(ps[0], at)
	from, to := utc(cert.NotBefore), utc(cert.NotAfter)
	renew := fmt.Sprintf("renew the certificate of %s (%s), which expired %s", hosts, certificateNames(cert), to)
	c.because = fmt.Sprintf("the certificate of %s is valid until %s, and %s", hosts, to, by)
	early := ps[0].cause == probe.TLSNotYetValid
	if early {
		renew = fmt.Sprintf("replace the certificate of %s (%s), which is valid from %s", hosts, certificateNames(cert), from)
		c.because = fmt.Sprintf("the certificate of %s is valid from %s, and %s", hosts, from, by)
	}
	if again != nil {
		why := "the certificate is outside its validity at the time of " + sourceText(again.Source) + " too"
		if r := v.reading(again.Source); r != nil && certainlyOff(r) <= clockOff {
			why = offsetText(r)
		}
		c.not = []RuledOut{{CLK104, why}}
		c.fields = []string{"detail", sentence(renew)}
		return
	}
	c.confidence, c.needsAll = Likely, slices.ContainsFunc(ps, (*pathView).experimenting)
	const set = "set the clock (chronyc tracking; the source in a VPC is " + timeServer + ")"
	now := utc(v.now)
	if early || len(c.targets) > 1 { // several at once: rather the clock
		c.fields = []string{"detail", fmt.Sprintf("If this machine's clock is wrong (%s), %s; otherwise %s.", now, set, renew)}
		return
	}
	c.fields = []string{"detail", fmt.Sprintf("If this machine's clock is right (%s), %s; otherwise %s.", now, renew, set)}
}

// trustedInspection finds targets of AWS whose certificate this machine accepts
// and containers will not: it leads to a root that was added to this image.
//
// It blocks for targets that pods need to make the node Ready (ec2, for the VPC
// CNI): the pod brings its own roots, fails, and the node stays NotReady, although
// everything passes here. For what this machine's own programs reach it is a
// warning: kubelet and containerd use the trust store that was just seen to work.
func trustedInspection(v *view) []*candidate {
	if len(v.plan.Policy.Anchors) == 0 {
		return nil
	}
	var out []*candidate
	var paths [][]*pathView
	for _, t := range v.targets {
		if len(t.Roots) > 0 || !t.TLS || !t.aws || t.isAPIServer() {
			continue
		}
		for _, p := range t.paths {
			if !p.ok || !v.foreignAnchor(p) {
				continue
			}
			shown := *p
			shown.step, _ = p.Step(probe.PhaseTLS)
			key := issuerOf(&shown)
			i := slices.IndexFunc(paths, func(ps []*pathView) bool { return issuerOf(ps[0]) == key })
			if i < 0 {
				i = len(out)
				out, paths = append(out, &candidate{code: TLS113}), append(paths, nil)
			}
			out[i].targets = appendOnce(out[i].targets, t)
			out[i].addresses = append(out[i].addresses, p.addr)
			out[i].force = out[i].force || t.Consumer == ConsumerPods && t.Role.Blocks()
			paths[i] = append(paths[i], &shown)
		}
	}
	for i, c := range out {
		ps := paths[i]
		c.addresses = sortAddresses(c.addresses)
		c.because = sameIssuer(c, ps) + "; it leads to " + ps[0].step.TLS.Anchors[0].Subject + ", which this machine trusts and AWS does not use"
		if product := inspector(ps[0].step.TLS.Chain); product == "" && len(c.targets) == 1 {
			c.confidence = Likely
		}
		c.fields = []string{"issuer", issuerText(ps[0])}
		c.not = []RuledOut{{TLS102, "the certificate verifies on this machine"}}
	}
	return out
}

// foreignAnchor reports whether the verified chain leads to a root that is neither
// one that AWS uses nor a public CA's.
func (v *view) foreignAnchor(p *pathView) bool {
	for i := range p.Steps {
		t := p.Steps[i].TLS
		if p.Steps[i].Phase != probe.PhaseTLS || t == nil || len(t.Anchors) == 0 {
			continue
		}
		for j := range t.Anchors {
			if slices.Contains(v.plan.Policy.Anchors, t.Anchors[j].KeySHA256) || publicCA(t.Anchors[j].Subject) {
				return false
			}
		}
		for j := range t.Chain {
			if ofAmazon(t.Chain[j].Issuer) {
				return false
			}
		}
		return true
	}
	return false
}
