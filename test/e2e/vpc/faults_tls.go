package vpc

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"net/netip"
	"strings"
)

func tlsFaults() []Fault {
	serve := func(a func(*VPC) (*authority, error), edit func(*VPC, *leaf)) func(*VPC, *endpoint) (mode, error) {
		return func(v *VPC, e *endpoint) (mode, error) {
			ca, err := a(v)
			if err != nil {
				return mode{}, err
			}
			l := e.leaf()
			edit(v, &l)
			c, err := serverConfig(ca, l)
			return mode{config: c}, err
		}
	}
	cluster := func(v *VPC) (*authority, error) { return v.cluster, nil }
	another := func(*VPC) (*authority, error) { return newAuthority(pkix.Name{CommonName: "kubernetes"}) }
	aws := func(v *VPC) (*authority, error) { return v.aws, nil }
	simply := func(m mode) func(*VPC, *endpoint) (mode, error) {
		return func(*VPC, *endpoint) (mode, error) { return m, nil }
	}
	awsServices := []string{EC2, ECRAPI, ECRDKR, S3}
	return []Fault{
		{
			Name: "wrong-ca", Title: "the API server's certificate is from another cluster's CA", Code: "NP-TLS-101", Service: APIServer,
			apply: answers(APIServer, serve(another, func(*VPC, *leaf) {})),
		},
		{
			Name: "wrong-name", Title: "the name ec2 leads to a server for other names", Code: "NP-TLS-103", Service: EC2,
			apply: answers(EC2, serve(aws, func(_ *VPC, l *leaf) {
				l.name, l.hosts = "wiki.corp.example", []string{"wiki.corp.example", "www.corp.example"}
			})),
		},
		{
			Name: "expired", Title: "the API server's certificate expired yesterday", Code: "NP-TLS-104", Service: APIServer,
			apply: answers(APIServer, serve(cluster, func(_ *VPC, l *leaf) { l.expired = true })),
		},
		{Name: "plain-http", Title: "a web server without TLS answers for ecr.api", Code: "NP-TLS-107", Service: ECRAPI, apply: answers(ECRAPI, simply(mode{plain: true}))},
		{Name: "tls-stall", Title: "ecr.dkr accepts connections and says nothing", Code: "NP-TLS-109", Service: ECRDKR, apply: answers(ECRDKR, simply(mode{stall: true}))},
		{
			Name: "expired-aws", Title: "the certificate of the ec2 endpoint expired yesterday", Code: "NP-TLS-104", Service: EC2,
			apply: answers(EC2, serve(aws, func(_ *VPC, l *leaf) { l.expired = true })),
		},
		{
			Name: "intercepted", Title: "a firewall inspects TLS to the AWS endpoints with a CA that the node does not know", Code: "NP-TLS-102",
			apply: intercepted(false, awsServices...),
		},
		{
			Name: "intercepted-apiserver", Title: "a firewall inspects TLS to the API server", Code: "NP-TLS-102", Service: APIServer,
			apply: intercepted(false, APIServer),
		},
		{
			Name: "intercepted-trusted", Title: "a firewall inspects TLS to the AWS endpoints with a CA that is in the image", Code: "NP-TLS-113",
			Local: true, apply: intercepted(true, awsServices...),
		},
		{
			Name: "no-amazon-roots", Title: "the image's trust store lacks Amazon's roots", Code: "NP-TLS-114", Local: true,
			apply: func(v *VPC, name string) (undo, error) {
				other, err := newAuthority(inspector())
				if err != nil {
					return nil, err
				}
				return edit((*VPC).RootsFile, func(*VPC, string) string { return string(other.pem()) })(v, name)
			},
		},
		{
			Name: "client-certificate", Title: "what answers for the API server demands a client certificate", Code: "NP-TLS-111", Service: APIServer,
			apply: answers(APIServer, func(v *VPC, e *endpoint) (mode, error) {
				c, err := serverConfig(v.cluster, e.leaf())
				if err == nil {
					c.ClientAuth = tls.RequireAnyClientCert
				}
				return mode{config: c}, err
			}),
		},
		{
			Name: "client-usage", Title: "the certificate of ec2 is one for clients", Code: "NP-TLS-115", Service: EC2,
			apply: answers(EC2, serve(aws, func(_ *VPC, l *leaf) { l.client = true })),
		},
	}
}

// inspector is the name of a firewall's CA.
func inspector() pkix.Name {
	return pkix.Name{CommonName: "Corp TLS Inspection CA", Organization: []string{"Example Corp"}}
}

// intercepted lets a firewall terminate TLS to services; trusted puts its CA
// into the roots that the node's programs trust.
func intercepted(trusted bool, services ...string) func(*VPC, string) (undo, error) {
	return func(v *VPC, name string) (undo, error) {
		ca, err := newAuthority(inspector())
		if err != nil {
			return nil, err
		}
		var parts []func(*VPC, string) (undo, error)
		for _, s := range services {
			parts = append(parts, answers(s, func(_ *VPC, e *endpoint) (mode, error) {
				c, err := serverConfig(ca, e.leaf())
				return mode{config: c}, err
			}))
		}
		if trusted {
			parts = append(parts, edit((*VPC).RootsFile, func(_ *VPC, before string) string { return before + string(ca.pem()) }))
		}
		return all(parts...)(v, name)
	}
}

// helloFaults are those of something on the path that reads the ClientHello.
func helloFaults() []Fault {
	rule := func(service string, r func(v *VPC, h hello) reaction) func(*VPC, string) (undo, error) {
		return answers(service, func(v *VPC, _ *endpoint) (mode, error) {
			return mode{onHello: func(h hello) reaction { return r(v, h) }}, nil
		})
	}
	// unlisted does something about the name of ecr.api and lets others pass.
	unlisted := func(r reaction) func(*VPC, string) (undo, error) {
		return rule(ECRAPI, func(v *VPC, h hello) reaction {
			if strings.EqualFold(h.name, v.Host(ECRAPI)) {
				return r
			}
			return reaction{}
		})
	}
	always := func(service string, r reaction) func(*VPC, string) (undo, error) {
		return rule(service, func(*VPC, hello) reaction { return r })
	}
	return []Fault{
		{Name: "sni-silent", Title: "a firewall with a list of names swallows the ClientHello for ecr.api", Code: "NP-TLS-106", Service: ECRAPI, apply: unlisted(reaction{silent: true})},
		{Name: "sni-reset", Title: "a firewall with a list of names resets connections for ecr.api", Code: "NP-TLS-106", Service: ECRAPI, apply: unlisted(reaction{cut: true})},
		{
			Name: "sni-alert", Title: "what answers at the address does not serve the name ecr.api", Code: "NP-TLS-106", Service: ECRAPI,
			apply: unlisted(reaction{alert: alertUnrecognizedName}),
		},
		{Name: "tls-reset", Title: "connections to ecr.dkr are reset after the ClientHello, whatever its name", Code: "NP-TLS-108", Service: ECRDKR, apply: always(ECRDKR, reaction{cut: true})},
		{Name: "tls-version", Title: "what answers for ec2 knows no TLS version of this century", Code: "NP-TLS-105", Service: EC2, apply: always(EC2, reaction{alert: alertProtocolVersion})},
		{Name: "tls-cipher", Title: "what answers for ec2 shares no cipher with the node", Code: "NP-TLS-105", Service: EC2, apply: always(EC2, reaction{alert: alertHandshakeFailure})},
		{
			// It puts segments together, so smaller ones do not help.
			Name: "large-hello", Title: "a middlebox drops ClientHellos that do not fit into one packet", Code: "NP-TLS-112", Service: ECRAPI,
			apply: rule(ECRAPI, func(_ *VPC, h hello) reaction { return reaction{silent: h.size > 1000} }),
		},
	}
}

// mtuFaults are those of a path that swallows large packets.
func mtuFaults() []Fault {
	dkr := func(v *VPC) []netip.Prefix { return prefixes(v.Addresses(ECRDKR)) }
	return []Fault{
		{Name: "mtu-outbound", Title: "large packets to ecr.dkr vanish", Code: "NP-MTU-101", Service: ECRDKR, apply: blackHole(outbound, dkr)},
		{
			Name: "mtu-peering", Title: "large packets to the VPC of the shared endpoints vanish", Code: "NP-MTU-101",
			Needs: Options{SharedEndpoints: true},
			apply: blackHole(outbound, func(*VPC) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(sharedBlock)} }),
		},
		{
			// Programs prefer IPv6, and turn to IPv4 only while no connection is made.
			Name: "mtu-ipv6", Title: "large packets to the API server vanish over IPv6 alone", Code: "NP-MTU-101", Service: APIServer,
			Needs: Options{IPv6: true},
			apply: blackHole(outbound, func(*VPC) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(vpcBlock6)} }),
		},
		{
			// The server's certificate does not fit into one packet of the path, as those of
			// AWS do not: a small ClientHello arrives, and its answer does not.
			Name: "mtu-inbound", Title: "large packets from ecr.dkr vanish", Code: "NP-MTU-102", Service: ECRDKR,
			apply: all(blackHole(inbound, dkr), answers(ECRDKR, func(v *VPC, e *endpoint) (mode, error) {
				l := e.leaf()
				l.padding = 3000
				c, err := serverConfig(v.aws, l)
				return mode{config: c}, err
			})),
		},
	}
}
