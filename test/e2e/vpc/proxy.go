package vpc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeprep/nodeprep/test/e2e/vpc/internal/layer"
)

const (
	proxyHost = "proxy.corp.example"
	proxyPort = "3128"
)

// ProxyURL is the URL of the owner's HTTP proxy.
func ProxyURL() string { return "http://" + net.JoinHostPort(proxyHost, proxyPort) }

// A proxy is the forward proxy of the VPC's owner. It knows the CONNECT method
// only (RFC 9110 section 9.3.6) and reaches every endpoint: it has a way to the internet.
type proxy struct {
	listener   net.Listener
	find       func(host string) *endpoint
	edge       *edge
	behaviours layer.Stack[proxyBehaviour]
	requests   atomic.Int64

	mu     sync.Mutex
	closed bool
	open   map[net.Conn]bool
}

// A proxyBehaviour is what is wrong with the proxy.
type proxyBehaviour struct {
	// status answers CONNECT with this status; 0 lets it pass.
	status int
	// stall accepts connections and answers nothing.
	stall bool
	// only says which hosts are concerned; nil means all.
	only func(host string) bool
}

// newProxy wants to be called in the router's namespace, with the edge in place.
func newProxy(ctx context.Context, v *VPC) (*proxy, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(ProxyAddr().String(), proxyPort))
	if err != nil {
		return nil, err
	}
	return &proxy{listener: l, find: v.endpointOf, edge: v.edge, open: map[net.Conn]bool{}}, nil
}

// endpointOf finds who serves a host, which may be an address; nil is nobody.
func (v *VPC) endpointOf(host string) *endpoint {
	if a, err := netip.ParseAddr(host); err == nil {
		return v.edge.byAddress[a]
	}
	for _, e := range v.endpoints {
		if v.hostOf(e.service)(strings.ToLower(host)) {
			return e
		}
	}
	return nil
}

// Close ends the proxy and what goes through it.
func (p *proxy) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for c := range p.open {
		_ = c.Close()
	}
	return p.listener.Close()
}

// run accepts until Close.
func (p *proxy) run(ctx context.Context) {
	for {
		c, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			go p.serve(ctx, c)
		}
	}
}

func (p *proxy) track(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.open[c] = true
	return true
}

func (p *proxy) untrack(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

func (p *proxy) serve(ctx context.Context, c net.Conn) {
	if !p.track(c) {
		_ = c.Close()
		return
	}
	defer p.untrack(c)
	e, conn := p.accept(c)
	if e == nil {
		_ = c.Close()
		return
	}
	// From here on the client's TLS speaks to the endpoint.
	p.edge.serveEndpoint(ctx, e, conn)
}

// accept reads the request and answers it. The endpoint is nil when the client is refused.
func (p *proxy) accept(c net.Conn) (*endpoint, net.Conn) {
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(c)
	request, err := http.ReadRequest(r)
	if err != nil {
		return nil, nil
	}
	_ = c.SetDeadline(time.Time{})
	p.requests.Add(1)
	host, port, err := net.SplitHostPort(request.RequestURI)
	if request.Method != http.MethodConnect || err != nil {
		p.refuse(c, http.StatusMethodNotAllowed)
		return nil, nil
	}
	b := p.behaviours.Top()
	if b.only != nil && !b.only(host) {
		b = proxyBehaviour{}
	}
	e := p.find(host)
	switch {
	case b.stall:
		_, _ = io.Copy(io.Discard, c)
		return nil, nil
	case b.status != 0:
		p.refuse(c, b.status)
		return nil, nil
	case e == nil || port != "443":
		p.refuse(c, http.StatusBadGateway)
		return nil, nil
	}
	if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return nil, nil
	}
	return e, &tunnel{Conn: c, r: r, endpoint: e}
}

// refuse answers with a page, as Squid does.
func (p *proxy) refuse(c net.Conn, status int) {
	page := fmt.Sprintf("<html><head><title>ERROR: %s</title></head></html>\n", http.StatusText(status))
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nServer: squid/5.7\r\nVia: 1.1 proxy.corp.example (squid/5.7)\r\n", status, http.StatusText(status))
	if status == http.StatusProxyAuthRequired {
		b.WriteString("Proxy-Authenticate: Basic realm=\"proxy.corp.example\"\r\n")
	}
	fmt.Fprintf(&b, "Content-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(page), page)
	_, _ = io.WriteString(c, b.String()) // the client may have gone away
}

// A tunnel is what a client sends through the proxy.
type tunnel struct {
	net.Conn
	r        io.Reader
	endpoint *endpoint
}

// Read returns first what came together with the request.
func (t *tunnel) Read(b []byte) (int, error) { return t.r.Read(b) }
