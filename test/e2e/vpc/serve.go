package vpc

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// An edge accepts the connections to every endpoint address and finds out by
// the address which endpoint is meant. It is the listener of the HTTP server,
// which gets only connections whose handshake passed.
type edge struct {
	listener  net.Listener
	byAddress map[netip.Addr]*endpoint
	delay     time.Duration
	ready     chan *tls.Conn
	done      chan struct{}

	mu     sync.Mutex
	closed bool
	open   map[net.Conn]bool // connections before the end of the handshake
}

type endpointKey struct{}

// newEdge wants to be called in the router's namespace.
func newEdge(ctx context.Context, endpoints []*endpoint, delay time.Duration) (*edge, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", ":443")
	if err != nil {
		return nil, err
	}
	e := &edge{
		listener: l, byAddress: map[netip.Addr]*endpoint{}, delay: delay,
		ready: make(chan *tls.Conn), done: make(chan struct{}), open: map[net.Conn]bool{},
	}
	for _, ep := range endpoints {
		for _, a := range ep.private {
			e.byAddress[a] = ep
		}
		for _, a := range ep.public {
			e.byAddress[a] = ep
		}
		for _, a := range ep.spare {
			e.byAddress[a] = ep
		}
	}
	return e, nil
}

// server returns the HTTP server of all endpoints.
func (e *edge) server(handler func(*endpoint, http.ResponseWriter, *http.Request)) *http.Server {
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ep, ok := r.Context().Value(endpointKey{}).(*endpoint)
			if !ok {
				http.NotFound(w, r)
				return
			}
			ep.requests.Add(1)
			if ep.modes.Top().silent {
				<-r.Context().Done()
				return
			}
			handler(ep, w, r)
		}),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, endpointKey{}, e.at(c))
		},
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
}

// at finds the endpoint that a connection is for. One through the proxy knows it.
func (e *edge) at(c net.Conn) *endpoint {
	if conn, ok := c.(*tls.Conn); ok {
		c = conn.NetConn()
	}
	if again, ok := c.(*replayed); ok {
		c = again.Conn
	}
	if t, ok := c.(*tunnel); ok {
		return t.endpoint
	}
	a, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok {
		return nil
	}
	return e.byAddress[a.AddrPort().Addr().Unmap()]
}

// run accepts until Close.
func (e *edge) run(ctx context.Context) {
	for {
		c, err := e.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // the client was gone before it was accepted
		}
		go e.serve(ctx, c)
	}
}

func (e *edge) serve(ctx context.Context, c net.Conn) { e.serveEndpoint(ctx, e.at(c), c) }

// serveEndpoint brings one connection up to the end of its handshake.
func (e *edge) serveEndpoint(ctx context.Context, ep *endpoint, c net.Conn) {
	if ep == nil || !e.track(c) {
		_ = c.Close()
		return
	}
	defer e.untrack(c)
	ep.connections.Add(1)
	m := ep.modes.Top()
	if e.delay > 0 && !e.pause(e.delay) {
		_ = c.Close()
		return
	}
	switch {
	case m.stall:
		// Ends when the client gives up or the VPC closes.
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	case m.plain:
		answerPlain(c)
	case m.onHello != nil:
		if again, ok := onHello(ctx, c, m.onHello); ok {
			e.shake(ctx, ep, m, again)
		}
	default:
		e.shake(ctx, ep, m, c)
	}
}

func (e *edge) shake(ctx context.Context, ep *endpoint, m mode, c net.Conn) {
	config, err := ep.tlsConfig()
	if m.config != nil {
		config, err = m.config, nil
	}
	if err != nil {
		_ = c.Close()
		return
	}
	conn := tls.Server(c, config)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return
	}
	ep.handshakes.Add(1)
	select {
	case e.ready <- conn:
	case <-e.done:
		_ = c.Close()
	}
}

// answerPlain answers a ClientHello the way an HTTP server does. It reads to
// the end before it closes, for a close with unread data would be a reset,
// which can overtake the answer.
func answerPlain(c net.Conn) {
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	first := make([]byte, 4096)
	if _, err := c.Read(first); err != nil {
		return
	}
	const page = "HTTP/1.1 400 Bad Request\r\nServer: squid\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 12\r\n\r\nBad Request\n"
	if _, err := io.WriteString(c, page); err != nil {
		return
	}
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, c)
}

func (e *edge) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-e.done:
		return false
	}
}

func (e *edge) track(c net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.open[c] = true
	return true
}

func (e *edge) untrack(c net.Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.open, c)
}

// Accept, Close and Addr make the edge a net.Listener for the HTTP server.

// Accept returns the next connection whose handshake passed.
func (e *edge) Accept() (net.Conn, error) {
	select {
	case c := <-e.ready:
		return c, nil
	case <-e.done:
		return nil, net.ErrClosed
	}
}

// Close stops accepting and drops the connections that have not finished their handshake.
func (e *edge) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	close(e.done)
	for c := range e.open {
		_ = c.Close()
	}
	return e.listener.Close()
}

// Addr returns the listening address.
func (e *edge) Addr() net.Addr { return e.listener.Addr() }

// answerAWS answers a request to an AWS API the way an endpoint answers one
// without a signature. Nothing before the kubelet's start may send any.
func answerAWS(ep *endpoint, w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("X-Amzn-Requestid", "00000000-0000-4000-8000-000000000000")
	switch ep.service {
	case ECRDKR:
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		w.Header().Set("Www-Authenticate", `Basic realm="https://`+ep.hosts[0]+`/",service="ecr.amazonaws.com"`)
		http.Error(w, "Not Authorized", http.StatusUnauthorized)
	case S3:
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}`)
	}
}
