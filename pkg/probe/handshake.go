package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"time"
)

// shake does the TLS handshake of p and passes it on.
func (r *round) shake(ctx context.Context, p *path) {
	begin := time.Now()
	defer func() { r.recovered(p, PhaseTLS, begin, recover()) }()
	deadline := begin.Add(r.timing.TLS)
	err := p.conn.SetDeadline(deadline)
	if ctx.Err() != nil {
		r.abandon(ctx, p, PhaseTLS)
		return
	}
	var asked bool // the peer asked for a client certificate
	late := r.lateHandshake(p)
	if err == nil {
		p.conn.system = len(p.target.Roots) == 0
		p.conn.tls = tls.Client(p.conn, r.tlsConfig(p.target, &asked))
		// The deadline of the connection does what a context would do, and interrupt the rest.
		err = p.conn.tls.HandshakeContext(context.WithoutCancel(ctx))
	}
	late.Stop()
	s := Step{Phase: PhaseTLS, At: r.since(begin), Took: Duration(time.Since(begin))}
	s.TLS = r.tlsInfo(p.conn, err)
	if err != nil {
		if failure, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			s.TLS.Reverified = r.reverify(ctx, p.target, failure)
		}
		r.fail(ctx, p, s, err)
		return
	}
	if len(p.target.Requests) > 0 {
		r.step(p, s, false, false)
		r.exchange.add(p.target.index, p)
		return
	}
	if asked && p.conn.tls.ConnectionState().Version >= tls.VersionTLS13 {
		if err := awaitRefusal(p.conn.tls, time.Duration(s.Took), deadline); err != nil && ctx.Err() == nil {
			s.Took = Duration(time.Since(begin))
			s.TLS = r.tlsInfo(p.conn, err)
			r.fail(ctx, p, s, err)
			return
		}
	}
	r.step(p, s, true, false)
	r.endPath(p)
}

// tlsConfig is what a client that trusts the target's roots would use. There is
// no session cache: a resumed handshake shows no certificate.
func (r *round) tlsConfig(t *target, asked *bool) *tls.Config {
	config := &tls.Config{
		ServerName: serverName(t.Host),
		RootCAs:    t.roots,
		MinVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			*asked = true
			return new(tls.Certificate), nil
		},
	}
	if len(t.Requests) > 0 {
		config.NextProtos = []string{"http/1.1"}
	}
	return config
}

// serverName is the name to verify of a host. A zone is no part of it.
func serverName(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.WithZone("").String()
	}
	return host
}

// awaitRefusal waits for the alert of a peer that asked for a client certificate
// and got none. A TLS 1.3 client has finished the handshake by then, so the
// alert comes a round trip later (RFC 8446 section 4.4.2.4).
func awaitRefusal(conn *tls.Conn, handshake time.Duration, deadline time.Time) error {
	patience := time.Now().Add(max(200*time.Millisecond, 2*handshake))
	if patience.After(deadline) {
		patience = deadline
	}
	if err := conn.SetReadDeadline(patience); err != nil {
		return nil //nolint:nilerr // the connection is gone, and that is no refusal
	}
	_, err := conn.Read(make([]byte, 1))
	if _, refused := alertNumber(err); !refused {
		return nil
	}
	return err
}

// tlsInfo is what the handshake showed, with or without success.
func (r *round) tlsInfo(c *connection, err error) *TLSInfo {
	info := new(TLSInfo)
	if c.tls == nil {
		return info
	}
	state := c.tls.ConnectionState()
	if state.Version != 0 {
		info.Version = tls.VersionName(state.Version)
	}
	info.ALPN = state.NegotiatedProtocol
	if c.system {
		info.Anchors = r.chains.anchors(state.VerifiedChains)
	}
	chain := state.PeerCertificates
	if err != nil {
		info.Alert, _ = alertNumber(err)
		if verification, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			chain = verification.UnverifiedCertificates
		}
		if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
			info.FirstBytes = c.firstBytes()
		}
	}
	info.Chain = r.chains.get(chain)
	return info
}
