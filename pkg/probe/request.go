package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	userAgent    = "nodeprep"
	maxBody      = 64 << 10 // bytes of a body kept
	maxHeader    = 64 << 10 // bytes of an answer before its body
	maxDrain     = 1 << 20  // bytes read past to reach the next answer
	maxHeaderLen = 256      // bytes of a header field kept
	maxInterim   = 8        // 1xx answers before the real one
)

// Why an exchange failed, beyond the errors of the connection.
var (
	errNoReuse       = errors.New("the connection ended with the answer before")
	errHeaderTooLong = errors.New("the answer's header is longer than 64 KiB")
	errInterim       = errors.New("more than 8 interim answers")
)

// evidence are the header fields that are kept.
var evidence = []string{"Content-Type", "Date", "Location", "Retry-After", "Server"}

// request sends the requests of p's target in order and ends the path.
func (r *round) request(ctx context.Context, p *path) {
	begin := time.Now()
	defer func() { r.recovered(p, PhaseHTTP, begin, recover()) }()

	e := newExchange(p)
	for i, req := range p.target.Requests {
		begin = time.Now()
		err := p.conn.SetDeadline(begin.Add(r.timing.HTTP))
		if ctx.Err() != nil {
			r.abandon(ctx, p, PhaseHTTP)
			return
		}
		last := i == len(p.target.Requests)-1
		info := &HTTPInfo{Method: req.Method, Path: req.Path}
		if err == nil {
			err = e.do(ctx, req, info, last)
		}
		s := Step{Phase: PhaseHTTP, At: r.since(begin), Took: Duration(time.Since(begin)), HTTP: info}
		if err == nil {
			r.step(p, s, last, false)
			continue
		}
		if _, alert := alertNumber(err); alert && i == 0 && info.Status == 0 {
			r.failLate(ctx, p, err)
			return
		}
		r.fail(ctx, p, s, err)
		return
	}
	r.endPath(p)
}

// failLate makes the TLS step the failed one: the alert that a TLS 1.3 server
// sends after the client has finished is still an answer to the handshake.
func (r *round) failLate(ctx context.Context, p *path, err error) {
	r.mu.Lock()
	s := p.steps[len(p.steps)-1]
	p.steps = p.steps[:len(p.steps)-1]
	r.mu.Unlock()
	s.Took = r.since(time.Now()) - s.At
	s.TLS = r.tlsInfo(p.conn, err)
	r.fail(ctx, p, s, err)
}

// An httpExchange speaks HTTP/1.1 over one connection.
type httpExchange struct {
	target *target
	writer *bufio.Writer
	source io.LimitedReader
	reader *bufio.Reader
	ended  bool // the peer takes no further request
}

func newExchange(p *path) *httpExchange {
	var conn net.Conn = p.conn
	if p.conn.tls != nil {
		conn = p.conn.tls
	}
	e := &httpExchange{target: p.target, writer: bufio.NewWriterSize(conn, 2048), source: io.LimitedReader{R: conn}}
	e.reader = bufio.NewReaderSize(&e.source, 2048)
	return e
}

// do sends one request and reads its answer into info.
func (e *httpExchange) do(ctx context.Context, r Request, info *HTTPInfo, last bool) error {
	if e.ended {
		return errNoReuse
	}
	req, err := e.newRequest(ctx, r, last)
	if err != nil {
		return err
	}
	if err := req.Write(e.writer); err != nil {
		return err
	}
	if err := e.writer.Flush(); err != nil {
		return err
	}
	resp, err := e.header(req)
	if err != nil {
		return err
	}
	// Closing a body reads it to its end; the limit makes that short.
	defer func() {
		if last || e.ended {
			e.source.N = 0
		}
		_ = resp.Body.Close()
	}()
	info.Status = resp.StatusCode
	for _, name := range evidence {
		if v := resp.Header.Get(name); v != "" {
			if info.Header == nil {
				info.Header = make(map[string]string)
			}
			info.Header[name] = strings.ToValidUTF8(v[:min(len(v), maxHeaderLen)], "\uFFFD")
		}
	}
	e.ended = resp.Close
	limit := min(r.BodyLimit, maxBody)
	e.source.N = limit + maxDrain
	if limit > 0 {
		body, err := io.ReadAll(io.LimitReader(resp.Body, limit))
		info.Body = strings.ToValidUTF8(string(body), "\uFFFD")
		if err != nil {
			return err
		}
	}
	if !last && !e.ended {
		_, err := io.Copy(io.Discard, resp.Body)
		e.ended = e.source.N <= 0
		if err != nil && !e.ended {
			return err
		}
	}
	return nil
}

// header reads up to the header of the final answer.
func (e *httpExchange) header(req *http.Request) (*http.Response, error) {
	e.source.N = maxHeader
	for range maxInterim {
		resp, err := http.ReadResponse(e.reader, req)
		if err != nil {
			if e.source.N <= 0 {
				return nil, errHeaderTooLong
			}
			return nil, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
		_ = resp.Body.Close()
	}
	return nil, errInterim
}

func (e *httpExchange) newRequest(ctx context.Context, r Request, last bool) (*http.Request, error) {
	scheme, usual := "http", uint16(80)
	if e.target.TLS {
		scheme, usual = "https", 443
	}
	host := e.target.Host
	switch {
	case e.target.Port != usual:
		host = net.JoinHostPort(host, strconv.Itoa(int(e.target.Port)))
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, scheme+"://"+host+r.Path, nil)
	if err != nil {
		return nil, &requestError{err}
	}
	if r.Header != nil {
		if h := r.Header(); h != nil {
			req.Header = h.Clone()
		}
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", userAgent)
	}
	req.Close = last
	return req, nil
}

// A requestError is a Request that is none; the peer has no part in it.
type requestError struct{ err error }

func (e *requestError) Error() string { return fmt.Sprintf("make the request: %v", e.err) }
func (e *requestError) Unwrap() error { return e.err }
