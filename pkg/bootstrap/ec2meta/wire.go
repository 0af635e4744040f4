package ec2meta

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// phaseHTTP is the phase of a request for which there was a connection.
const phaseHTTP = "http"

const (
	tokenPath    = "/latest/api/token"
	userDataPath = "/latest/user-data"

	// maxConns bounds connections; the service limits them per instance to a
	// number it does not publish.
	maxConns = 8
	// idleTimeout is shorter than the pause between two rounds in which
	// something is amiss, so that no round begins on a connection that went stale.
	idleTimeout = 10 * time.Second

	// EC2 accepts 16 KiB of user data; emulators are more generous.
	maxUserData = 256 << 10
	maxText     = 64 << 10
)

// ErrTooLarge says that an answer was longer than any the service gives: 256 KiB
// for user data, 64 KiB for everything else.
var ErrTooLarge = errors.New("answer too large")

// errNoToken ends an attempt to forget a token when there is none.
var errNoToken = errors.New("no token to forget")

// A timeoutError is the service's silence. It is an os.ErrDeadlineExceeded and not
// a context.DeadlineExceeded, which is the end of the caller's context.
type timeoutError struct {
	missing string
	after   time.Duration
}

func (e *timeoutError) Error() string { return fmt.Sprintf("no %s within %v", e.missing, e.after) }
func (e *timeoutError) Unwrap() error { return os.ErrDeadlineExceeded }

// Timeout tells those who ask any error whether it is one.
func (e *timeoutError) Timeout() bool { return true }

// An exchange is the last request of an SDK operation as it was on the wire.
// The SDK's errors do not say this much: the status of a refused token request
// is in their text only.
type exchange struct {
	method string
	path   string
	began  time.Time
	status int // 0 when no answer came
	server string
	err    error // of the connection, or of reading the answer
	// address is the service's, zero when the endpoint gives a name.
	address netip.AddrPort
	// date is what the answer's Date header said, zero without one, to a request whose
	// answer began after trip.
	date time.Time
	trip time.Duration
	// local, when set, is the status that an operation about the token gets for
	// its GET, which is not sent.
	local int
	// connected says that there was a connection to send the request on.
	connected *atomic.Bool
}

type exchangeKey struct{}

// attach returns a context whose requests are recorded in e.
func (e *exchange) attach(ctx context.Context) context.Context {
	e.began = time.Now()
	return context.WithValue(ctx, exchangeKey{}, e)
}

// failure describes the exchange that an operation failed with.
func (e *exchange) failure(err error) *bootstrap.MetadataError {
	m := &bootstrap.MetadataError{
		Method: e.method,
		Path:   e.path,
		Status: e.status,
		Server: e.server,
		Phase:  phaseHTTP,
		Took:   time.Since(e.began),
		Err:    err,

		Address: e.address,
	}
	switch {
	case e.err != nil:
		m.Err = e.err // as the system gave it: the SDK's wrappers hide it
	case e.status >= 300:
		m.Err = nil // the status says it all
	}
	if e.status == 0 && (e.connected == nil || !e.connected.Load()) {
		m.Phase = "connect"
	}
	return m
}

// A wire sends the SDK's requests. It follows no redirect.
type wire struct {
	base    *http.Transport
	timeout time.Duration
}

func newWire(timeout time.Duration) *wire {
	dialer := &net.Dialer{Timeout: timeout / 2}
	return &wire{
		timeout: timeout,
		base: &http.Transport{
			Proxy:                  nil,
			DialContext:            dialer.DialContext,
			MaxConnsPerHost:        maxConns,
			MaxIdleConnsPerHost:    maxConns,
			IdleConnTimeout:        idleTimeout,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxText,
		},
	}
}

// Do implements the SDK's HTTPClient.
func (w *wire) Do(req *http.Request) (*http.Response, error) {
	rec, _ := req.Context().Value(exchangeKey{}).(*exchange)
	if rec == nil {
		rec = &exchange{}
	}
	switch {
	case rec.local != 0 && req.Method == http.MethodGet:
		return &http.Response{StatusCode: rec.local, Body: http.NoBody, Header: http.Header{}, Request: req}, nil
	case rec.local == http.StatusUnauthorized:
		return nil, errNoToken
	}
	var connected atomic.Bool // a late trace must not touch the next request's record
	rec.method, rec.path, rec.began = req.Method, req.URL.Path, time.Now()
	rec.status, rec.server, rec.err, rec.connected = 0, "", nil, &connected
	rec.address, rec.date, rec.trip = addressOf(req.URL), time.Time{}, 0

	ctx, cancel := context.WithTimeoutCause(req.Context(), w.timeout, &timeoutError{"complete answer", w.timeout})
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	req = req.Clone(ctx)
	if req.Method == http.MethodPut {
		// Lets the transport repeat the PUT on a new connection when the service
		// closed the idle one. The empty value is not sent; see http.Transport.
		req.Header["X-Idempotency-Key"] = nil
	}
	resp, err := w.base.RoundTrip(req)
	if err != nil {
		rec.err = cause(ctx, err)
		// The dialer's own timeout would pass for the end of the caller's context.
		var timeout net.Error
		if ctx.Err() == nil && errors.As(err, &timeout) && timeout.Timeout() {
			rec.err = &timeoutError{"connection", w.timeout / 2}
		}
		cancel()
		return nil, rec.err
	}
	rec.status, rec.server, rec.trip = resp.StatusCode, resp.Header.Get("Server"), time.Since(rec.began)
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		rec.date = date
	}
	if req.Method == http.MethodGet && resp.StatusCode == http.StatusUnauthorized {
		resp.StatusCode = http.StatusForbidden // for the SDK; see Client.forget
	}
	limit := int64(maxText)
	if req.URL.Path == userDataPath {
		limit = maxUserData
	}
	resp.Body = &body{ctx: ctx, cancel: cancel, rc: resp.Body, left: limit, rec: rec}
	return resp, nil
}

// addressOf is the address that a URL names, with the port of its scheme when it gives
// none; zero for a host name.
func addressOf(u *url.URL) netip.AddrPort {
	a, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return netip.AddrPort{}
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case err == nil:
	case u.Scheme == "https":
		port = 443
	default:
		port = 80
	}
	return netip.AddrPortFrom(a, uint16(port))
}

// cause is the timeout when err is its consequence, else err.
func cause(ctx context.Context, err error) error {
	if t := new(timeoutError); errors.As(context.Cause(ctx), &t) {
		return t
	}
	return err
}

// A body is an answer's body up to a limit, and the end of its request's deadline.
type body struct {
	ctx    context.Context //nolint:containedctx // the request's own; its cause explains a read error
	cancel context.CancelFunc
	rc     io.ReadCloser
	left   int64
	rec    *exchange
}

func (b *body) Read(p []byte) (int, error) {
	// One byte beyond the limit tells a full body from a larger one.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.rc.Read(p)
	if int64(n) > b.left {
		n, b.left = int(b.left), 0
		if b.rec.status >= 300 {
			return n, io.EOF // of a refusal the start is enough
		}
		b.rec.err = ErrTooLarge
		return n, ErrTooLarge
	}
	b.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		b.rec.err = cause(b.ctx, err)
		return n, b.rec.err
	}
	return n, err
}

// Close ends the request.
func (b *body) Close() error {
	err := b.rc.Close()
	b.cancel()
	return err
}
