package bootstrap

import (
	"cmp"
	"fmt"
	"net/netip"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// metadataFails names why the metadata service cannot be used.
func metadataFails(v *view) []*candidate {
	t := v.meta
	if t == nil || t.passed || !t.settled || len(t.paths) == 0 {
		return nil
	}
	// The service's IPv6 address comes last. It is asked where there is no route to
	// the other; without an IPv4 address that is no fault.
	p := t.paths[len(t.paths)-1]
	if v.v4 {
		p = t.paths[0]
	}
	c := &candidate{targets: []*targetView{t}, addresses: []netip.Addr{p.addr}}
	took := p.step.Took.String()
	if p.addr.Is6() && (p.cause == probe.TCPTimeout || p.cause == probe.TCPRefused) {
		c.code, c.because = IMD108, "there is no route to 169.254.169.254, and connecting to "+p.addr.String()+" fails "+tookText(p.step.Took)+" with "+errnoText(p)
		return []*candidate{c}
	}
	tokenless := p.tokenless()
	switch p.cause {
	case probe.TCPTimeout:
		c.code, c.because = IMD102, "no answer from "+p.addr.String()+" within "+took
	case probe.TCPNetUnreachable, probe.TCPHostUnreachable, probe.TCPBlackhole, probe.TCPProhibited, probe.TCPRefused, probe.TCPReset:
		c.code, c.because = IMD101, "connecting to "+p.addr.String()+" fails "+tookText(p.step.Took)+" with "+errnoText(p)
		detail := "ip route get " + p.addr.String() + "; nft list ruleset"
		if r, ok := v.droppingRoute(p.addr); ok {
			detail = "the route '" + routeText(r) + "'"
		}
		c.fields = []string{"detail", detail}
	case probe.HTTPTimeout, probe.HTTPReset, probe.HTTPClosed:
		c.code, c.because = IMD103, "the connection is made, and the request gets no answer within "+took
		if c.confidence = pickConfidence(tokenless != 0); tokenless != 0 {
			c.because += fmt.Sprintf("; one without a token is answered %d", tokenless)
			c.not = []RuledOut{{IMD107, "the service answers other requests"}}
		}
	case causeMetadata, probe.HTTPMalformed:
		refusedMetadata(c, p)
	default:
		if p.step.Phase != probe.PhaseHTTP {
			return nil // left to the fallback
		}
		refusedMetadata(c, p)
	}
	return []*candidate{c}
}

// tokenless is the status of the request without a token that follows a failed one
// for a token, 0 for none.
func (p *pathView) tokenless() int {
	if n := len(p.Steps); n > 1 && p.Steps[n-1].HTTP != nil {
		return p.Steps[n-1].HTTP.Status
	}
	return 0
}

// refusedMetadata tells a disabled service from a busy and from a foreign one.
func refusedMetadata(c *candidate, p *pathView) {
	h := p.answer
	if h == nil {
		c.code, c.because = IMD105, "the answer is not what the metadata service gives ("+cmp.Or(p.step.Err, string(p.cause))+")"
		c.fields = []string{"detail", c.because}
		return
	}
	said := answerText(h)
	c.because = fmt.Sprintf("%s %s is answered %s", h.Method, h.Path, said)
	server := h.Header["Server"]
	foreign := server != "" && server != "EC2ws"
	switch {
	case (h.Status == 429 || h.Status >= 500) && !foreign:
		c.code = IMD107
	case h.Method == "PUT" && (h.Status == 404 || h.Status == 405) && !foreign:
		c.code = IMD106
		if code := p.tokenless(); code == 200 {
			c.because += "; a request without a token is answered 200"
		} else {
			c.confidence = Likely
		}
		c.fields = []string{"detail", "it answers " + said}
		c.not = []RuledOut{{IMD104, "EC2 answers 403 when its service is disabled"}, {IMD107, "the answer is no failure"}}
	case server == "EC2ws" && h.Method == "GET" && h.Status != 403:
		c.code = IMD109
		c.fields = []string{"path", h.Path}
	case h.Status == 403 && !foreign:
		c.code = IMD104
		if server == "" {
			c.confidence = Likely // EC2's own server gives its name
		} else {
			c.not = []RuledOut{{IMD105, "the answer is from EC2's own server"}}
		}
	default:
		c.code = IMD105
		c.fields = []string{"detail", "it answers " + said + "; exempt the address from proxies (NO_PROXY) and from redirects on this machine (nft list ruleset)"}
	}
}
