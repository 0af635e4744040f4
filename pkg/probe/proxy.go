package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxProxyBody = 256 // bytes kept of a proxy's refusal
	// proxyBody is how long the body of a refusal is waited for.
	proxyBody = 250 * time.Millisecond
)

var (
	errProxyURL    = errors.New("the proxy is not a URL of an HTTP proxy")
	errProxyStatus = errors.New("the proxy refuses")
	errProxyTLS    = errors.New("TLS with the proxy")
)

// proxyEvidence are the header fields of a proxy's answer that are kept.
var proxyEvidence = []string{"Content-Type", "Proxy-Authenticate", "Retry-After", "Server", "Via"}

// A proxy is a Proxy that was understood.
type proxy struct {
	host          string
	port          uint16
	tls           bool
	authorization string // value of Proxy-Authorization, empty for none
}

// parseProxy understands a proxy's URL.
func parseProxy(p Proxy) (*proxy, error) {
	u, err := p.parse()
	if err != nil {
		return nil, err
	}
	parsed := &proxy{host: u.Hostname(), port: 80}
	switch u.Scheme {
	case "http":
	case "https":
		parsed.tls, parsed.port = true, 443
	default:
		return nil, errProxyURL
	}
	if text := u.Port(); text != "" {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			return nil, errProxyURL
		}
		parsed.port = uint16(port)
	}
	if u.User != nil {
		password, _ := u.User.Password()
		credentials := u.User.Username() + ":" + password
		parsed.authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
	}
	return parsed, nil
}

// passProxy has the proxy that p is connected to open a tunnel, and passes p on.
func (r *round) passProxy(ctx context.Context, p *path) {
	begin := time.Now()
	defer func() { r.recovered(p, PhaseProxy, begin, recover()) }()
	deadline := begin.Add(r.timing.HTTP)
	err := p.conn.SetDeadline(deadline)
	if ctx.Err() != nil {
		r.abandon(ctx, p, PhaseProxy)
		return
	}
	watch := r.watch(p)
	defer watch.Stop()

	s := Step{Phase: PhaseProxy, At: r.since(begin)}
	if err == nil && p.target.proxy.tls {
		s.TLS, err = r.shakeProxy(ctx, p)
	}
	if err == nil {
		s.HTTP = new(HTTPInfo)
		err = p.openTunnel(ctx, deadline, s.HTTP)
	}
	s.Took = Duration(time.Since(begin))
	if err != nil {
		r.fail(ctx, p, s, err)
		return
	}
	r.pass(p, s)
}

// shakeProxy does the TLS handshake with the proxy itself. What follows goes through
// it. Only a failed one is described.
func (r *round) shakeProxy(ctx context.Context, p *path) (*TLSInfo, error) {
	outer := &connection{Conn: p.conn.Conn}
	outer.tls = tls.Client(outer, &tls.Config{
		ServerName: serverName(p.target.proxy.host),
		RootCAs:    r.roots,
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
	})
	// The deadline of the connection does what a context would do.
	if err := outer.tls.HandshakeContext(context.WithoutCancel(ctx)); err != nil {
		return r.tlsInfo(outer, err), fmt.Errorf("%w: %w", errProxyTLS, err)
	}
	p.conn.Conn = outer.tls
	return nil, nil //nolint:nilnil // nothing is described and nothing failed
}

// openTunnel sends CONNECT (RFC 9110 section 9.3.6) and reads the answer into info.
func (p *path) openTunnel(ctx context.Context, deadline time.Time, info *HTTPInfo) error {
	addr := net.JoinHostPort(serverName(p.target.Host), strconv.Itoa(int(p.target.Port)))
	info.Method, info.Path = http.MethodConnect, addr
	req := &http.Request{
		Method: http.MethodConnect,
		URL:    &url.URL{Opaque: addr},
		Host:   addr,
		Header: http.Header{"User-Agent": {userAgent}},
	}
	if auth := p.target.proxy.authorization; auth != "" {
		req.Header.Set("Proxy-Authorization", auth)
	}
	var wire bytes.Buffer
	if err := req.Write(&wire); err != nil {
		return &requestError{err}
	}
	if _, err := p.conn.Write(wire.Bytes()); err != nil {
		return err
	}
	rest, err := tunnelAnswer(p.conn, req, info, func() error {
		// The reason of a refusal is mostly in the same packet. A proxy that is slow to
		// give it has answered all the same.
		soon := time.Now().Add(proxyBody)
		if soon.After(deadline) {
			soon = deadline
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return p.conn.SetReadDeadline(soon)
	})
	if err != nil {
		return err
	}
	// What comes now is from the other end.
	p.conn.headLen = 0
	p.conn.received.Store(false)
	if len(rest) > 0 {
		p.conn.Conn = &prefixed{Conn: p.conn.Conn, rest: rest}
	}
	return nil
}

// tunnelAnswer reads the answer to CONNECT into info and returns what came behind it
// of the other end. It calls beforeBody before it reads the body of a refusal.
func tunnelAnswer(conn io.Reader, req *http.Request, info *HTTPInfo, beforeBody func() error) ([]byte, error) {
	source := &io.LimitedReader{R: conn, N: maxHeader}
	reader := bufio.NewReaderSize(source, 1024)
	for range maxInterim {
		resp, err := http.ReadResponse(reader, req)
		if err != nil {
			if source.N <= 0 {
				return nil, errHeaderTooLong
			}
			return nil, err
		}
		if resp.StatusCode < 200 {
			_ = resp.Body.Close() // it has none
			continue
		}
		var rest []byte
		if resp.StatusCode < 300 {
			rest = make([]byte, reader.Buffered())
			_, err = io.ReadFull(reader, rest)
		} else {
			err = fmt.Errorf("%w: status %d", errProxyStatus, resp.StatusCode)
			if beforeBody() == nil {
				body, _ := io.ReadAll(io.LimitReader(resp.Body, maxProxyBody))
				info.Body = strings.ToValidUTF8(string(body), "\uFFFD")
			}
		}
		keepAnswer(resp, info)
		source.N = 0 // closing a body reads on
		_ = resp.Body.Close()
		return rest, err
	}
	return nil, errInterim
}

// keepAnswer keeps the evidence of an answer of a proxy.
func keepAnswer(resp *http.Response, info *HTTPInfo) {
	info.Status = resp.StatusCode
	for _, name := range proxyEvidence {
		if v := resp.Header.Get(name); v != "" {
			if info.Header == nil {
				info.Header = make(map[string]string)
			}
			info.Header[name] = strings.ToValidUTF8(v[:min(len(v), maxHeaderLen)], "\uFFFD")
		}
	}
}

// prefixed is a connection of which something was read already.
type prefixed struct {
	net.Conn
	rest []byte
}

func (c *prefixed) Read(b []byte) (int, error) {
	if len(c.rest) > 0 {
		n := copy(b, c.rest)
		c.rest = c.rest[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// aroundLocked tries t without its proxy once all that is known of the proxy fails or is late.
func (r *round) aroundLocked(t *target) {
	if t.proxy == nil || t.direct != nil || r.experiments.Direct == nil || r.open == 0 ||
		slices.ContainsFunc(t.paths, func(p *path) bool { return !p.troubled }) {
		return
	}
	plain := *t.Target
	plain.Proxy = ""
	t.direct = &target{Target: &plain, index: t.index, port: plain.Port, roots: t.roots, around: true}
	if _, err := netip.ParseAddr(plain.Host); err != nil {
		h := r.hostLocked(plain.Host, t.index)
		h.compare = h.compare || plain.Compare
		h.targets = append(h.targets, t.direct)
		t.direct.host = h
		defer r.answeredLocked(h)
	}
	r.startLocked(t.direct)
}

// mayDial reports whether one more address of t may be dialled.
func (r *round) mayDial(t *target, addr netip.Addr) bool {
	return !t.around || len(t.paths) < maxReferenced && r.experiments.Direct(addr)
}
