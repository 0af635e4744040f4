package probe_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

// A tunnels is an HTTP proxy that leads to one address, whatever it is asked for.
type tunnels struct {
	to netip.AddrPort
	// answer is the answer instead of a tunnel.
	answer string
	// before is sent of the tunnel in one write with the answer.
	before string

	mu    sync.Mutex
	asked []*http.Request
}

func (s *tunnels) serve(c net.Conn) {
	reader := bufio.NewReader(c)
	req, err := http.ReadRequest(reader)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.asked = append(s.asked, req)
	s.mu.Unlock()
	if s.answer != "" {
		_, _ = io.WriteString(c, s.answer)
		return
	}
	far, err := net.Dial("tcp", s.to.String())
	if err != nil {
		return
	}
	defer func() { _ = far.Close() }()
	_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\nVia: 1.1 lab\r\n\r\n"+s.before)
	go func() {
		_, _ = io.Copy(c, far)
		_ = c.Close()
	}()
	_, _ = io.Copy(far, reader)
}

// What a proxy may do, and what is seen of it.
func TestProxy(t *testing.T) {
	t.Parallel()
	ca := probetest.NewCA(t, "test CA")
	cert := ca.Issue(t, probetest.Leaf{Names: []string{"a.test", "127.0.0.1"}})
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello "+r.Host)
	})
	server := probetest.ServeTLS(t, probetest.Listen(t, loopback), &tls.Config{Certificates: []tls.Certificate{cert}}, handler)
	other := probetest.ServeTLS(t, probetest.Listen(t, loopback), &tls.Config{
		Certificates: []tls.Certificate{probetest.NewCA(t, "inspection CA").Issue(t, probetest.Leaf{Names: []string{"a.test"}})},
	}, handler)
	smtp := probetest.Serve(t, probetest.Listen(t, loopback), func(c net.Conn) {
		_, _ = io.WriteString(c, "220 smtp\r\n")
		waitForEnd(c)
	})
	refusal := "HTTP/1.1 407 Auth\r\nServer: squid\r\nVia: 1.1 lab\r\nX-Secret: no\r\nProxy-Authenticate: Basic realm=\"lab\"\r\n" +
		"Content-Length: 400\r\n\r\n" + strings.Repeat("x", 400)
	overTLS := func(serve func(net.Conn)) func(net.Conn) {
		return func(c net.Conn) {
			conn := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
			serve(conn)
			_ = conn.CloseWrite()
		}
	}
	rst := func(c net.Conn) {
		readSome(c)
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	}
	say := func(text string) func(net.Conn) { return (&tunnels{answer: text}).serve }
	passed := []string{"connect ", "proxy ", "tls ", "http "}
	failed := func(cause probe.Cause) []string { return []string{"connect ", "proxy " + string(cause)} }
	tests := []struct {
		name   string
		serve  func(net.Conn)
		scheme string
		steps  []string
		status int
		check  func(*testing.T, probe.Step)
	}{
		{name: "tunnel", serve: (&tunnels{to: server}).serve, steps: passed, status: 200, check: func(t *testing.T, s probe.Step) {
			t.Helper()
			wantEqual(t, "answer", *s.HTTP, probe.HTTPInfo{
				Method: "CONNECT", Path: "a.test:8443", Status: 200, Header: map[string]string{"Via": "1.1 lab"},
			})
		}},
		{name: "tunnel over TLS", serve: overTLS((&tunnels{to: server}).serve), scheme: "https", steps: passed, status: 200},
		{name: "interim answer", serve: func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
			(&tunnels{to: server}).serve(c)
		}, steps: passed, status: 200},
		{
			name: "tunnel to an inspection", serve: (&tunnels{to: other}).serve,
			steps: []string{"connect ", "proxy ", "tls tls-unknown-authority"}, status: 200,
		},
		{
			name: "tunnel to what is not TLS", serve: (&tunnels{to: smtp}).serve,
			steps: []string{"connect ", "proxy ", "tls tls-not-tls"}, status: 200, check: func(t *testing.T, s probe.Step) {
				t.Helper()
				if s.TLS != nil && s.TLS.FirstBytes != "220 smtp.." {
					t.Errorf("first bytes: %q", s.TLS.FirstBytes)
				}
			},
		},
		{
			name: "the other end speaks first", serve: (&tunnels{to: smtp, before: "SSH-2.0-x\r\n"}).serve,
			steps: []string{"connect ", "proxy ", "tls tls-not-tls"}, status: 200,
		},
		{name: "407", serve: say(refusal), steps: failed(probe.ProxyStatus), status: 407, check: func(t *testing.T, s probe.Step) {
			t.Helper()
			wantEqual(t, "header", s.HTTP.Header, map[string]string{
				"Server": "squid", "Via": "1.1 lab", "Proxy-Authenticate": `Basic realm="lab"`,
			})
			wantEqual(t, "body", s.HTTP.Body, strings.Repeat("x", 256))
		}},
		{name: "403", serve: say("HTTP/1.0 403 Forbidden\r\n\r\npolicy"), steps: failed(probe.ProxyStatus), status: 403, check: func(t *testing.T, s probe.Step) {
			t.Helper()
			wantEqual(t, "body", s.HTTP.Body, "policy")
		}},
		{name: "403 over TLS", scheme: "https", serve: overTLS(say("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")), steps: failed(probe.ProxyStatus), status: 403},
		{name: "502 and silence", serve: func(c net.Conn) {
			say("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 9\r\nRetry-After: 3\r\n\r\nhi")(c)
			waitForEnd(c)
		}, steps: failed(probe.ProxyStatus), status: 502, check: func(t *testing.T, s probe.Step) {
			t.Helper()
			wantEqual(t, "body and header", s.HTTP.Body+s.HTTP.Header["Retry-After"], "hi3")
			if time.Duration(s.Took) > time.Second {
				t.Errorf("waited %v for the body", s.Took)
			}
		}},
		{name: "302", serve: say("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"), steps: failed(probe.ProxyStatus), status: 302},
		{name: "stall", serve: waitForEnd, steps: failed(probe.HTTPTimeout)},
		{name: "FIN", serve: readSome, steps: failed(probe.HTTPClosed)},
		{name: "RST", serve: rst, steps: failed(probe.HTTPReset)},
		{name: "not HTTP", serve: say("SOCKS?\r\n\r\n"), steps: failed(probe.HTTPMalformed)},
		{name: "endless header", serve: say("HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("x", 1000)+"\r\n", 100)), steps: failed(probe.HTTPMalformed)},
		{name: "endless interim answers", serve: say(strings.Repeat("HTTP/1.1 103 No\r\n\r\n", 100)), steps: failed(probe.HTTPMalformed)},
		{name: "TLS stalls", scheme: "https", serve: waitForEnd, steps: failed(probe.HTTPTimeout)},
		{name: "TLS reset", scheme: "https", serve: rst, steps: failed(probe.HTTPReset)},
		{name: "no TLS", scheme: "https", serve: func(c net.Conn) {
			readSome(c)
			_, _ = io.WriteString(c, "HTTP/1.1 400 No\r\n\r\n")
		}, steps: failed(probe.TLSNotTLS), check: func(t *testing.T, s probe.Step) {
			t.Helper()
			if s.TLS == nil || s.TLS.FirstBytes != "HTTP/1.1 400 No...." {
				t.Errorf("step: %+v", s.TLS)
			}
		}},
		{name: "TLS of another CA", scheme: "https", serve: func(c net.Conn) {
			_, _ = io.Copy(io.Discard, tls.Server(c, &tls.Config{Certificates: []tls.Certificate{
				probetest.NewCA(t, "other CA").Issue(t, probetest.Leaf{Names: []string{"127.0.0.1"}}),
			}}))
		}, steps: failed(probe.TLSUnknownAuthority), check: func(t *testing.T, s probe.Step) {
			t.Helper()
			if s.TLS == nil || s.TLS.Chain[0].Issuer != "CN=other CA" {
				t.Errorf("step: %+v", s)
			}
		}},
	}
	targets := make([]probe.Target, len(tests))
	for i, tt := range tests {
		at := probetest.Serve(t, probetest.Listen(t, loopback), tt.serve)
		if tt.scheme == "" {
			tt.scheme = "http"
		}
		targets[i] = probe.Target{
			Name: tt.name, Host: "a.test", Port: 8443, TLS: true, Roots: ca.PEM,
			Proxy:    probe.Proxy(tt.scheme + "://" + at.String()),
			Requests: []probe.Request{{Method: "GET", Path: "/", BodyLimit: 100}},
		}
	}
	report := (&probe.Prober{Roots: pool}).Run(t.Context(), targets, nil)
	for i, tt := range tests {
		res := report.Results[i]
		if len(res.Paths) != 1 || len(res.Lookups) != 0 || res.Pending {
			t.Errorf("%s: %+v", tt.name, res)
			continue
		}
		var steps []string
		for _, s := range res.Paths[0].Steps {
			steps = append(steps, string(s.Phase)+" "+string(s.Cause))
		}
		if !slices.Equal(steps, tt.steps) {
			t.Errorf("%s: steps %q, want %q: %+v", tt.name, steps, tt.steps, res.Paths[0].Steps)
			continue
		}
		step := res.Paths[0].Steps[1]
		if tt.status != 0 && step.HTTP.Status != tt.status || (step.Err == "") != (step.Cause == "") {
			t.Errorf("%s: %+v", tt.name, step)
		}
		if tt.check != nil {
			tt.check(t, step)
			if step.Cause == "" && len(res.Paths[0].Steps) == 3 {
				tt.check(t, probe.Step{HTTP: step.HTTP, TLS: res.Paths[0].Steps[2].TLS})
			}
		}
		if s, ok := res.Paths[0].Step(probe.PhaseHTTP); ok && s.HTTP.Body != "hello a.test:8443" {
			t.Errorf("%s: body %q", tt.name, s.HTTP.Body)
		}
	}
}

// What a proxy is asked; the credentials it gets are nowhere in the report.
func TestProxyCredentials(t *testing.T) {
	t.Parallel()
	proxy := &tunnels{answer: "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"}
	at := probetest.Serve(t, probetest.Listen(t, netip.MustParseAddrPort("0.0.0.0:0")), proxy.serve)
	dns, asked := counted(probetest.Zone{"proxy.test": {"A 127.0.0.1"}}.Answer)
	p := &probe.Prober{Servers: []netip.AddrPort{probetest.ServeDNS(t, loopback, dns)}}
	url := func(user string) probe.Proxy {
		return probe.Proxy("http://" + user + "proxy.test:" + strconv.Itoa(int(at.Port())))
	}
	targets := []probe.Target{
		{Name: "a", Host: "a.test", Port: 443, TLS: true, Proxy: url("agent:hunter2%40home@"), Compare: true},
		{Name: "b", Host: "2001:db8::1", Port: 8443, Proxy: url("agent@")},
		{Name: "c", Host: "c.test", Port: 443, Proxy: url("")},
		{Name: "bad", Host: "c.test", Port: 443, Proxy: "http://agent:hunter2@prox y.test"},
		{Name: "no scheme", Host: "c.test", Port: 443, Proxy: "agent:hunter2@proxy.test:3128"},
		{Name: "socks", Host: "c.test", Port: 443, Proxy: "socks5://agent:hunter2@proxy.test:1080"},
		{Name: "port", Host: "c.test", Port: 443, Proxy: "http://agent:hunter2@proxy.test:0"},
		{Name: "host", Host: "c.test", Port: 443, Proxy: "http://agent:hunter2@:3128"},
		{Name: "slash", Host: "c.test", Port: 443, Proxy: "http://agent:1/hunter2@proxy.test:3128"},
		{Name: "path", Host: "c.test", Port: 443, Proxy: "socks5://proxy.test/hunter2?agent#agent"},
		{Name: "line", Host: "c.test\r\nX: y", Port: 443, Proxy: url("agent:hunter2@")},
	}
	report := p.Run(t.Context(), targets, nil)
	wantEqual(t, "questions", asked.Load(), 1)
	proxy.mu.Lock()
	defer proxy.mu.Unlock()
	got := map[string]string{}
	for _, req := range proxy.asked {
		got[req.RequestURI+" "+req.Host+" "+req.UserAgent()] = req.Header.Get("Proxy-Authorization")
	}
	wantEqual(t, "requests", got, map[string]string{
		"a.test:443 a.test:443 nodeprep":                 "Basic YWdlbnQ6aHVudGVyMkBob21l",
		"[2001:db8::1]:8443 [2001:db8::1]:8443 nodeprep": "Basic YWdlbnQ6",
		"c.test:443 c.test:443 nodeprep":                 "",
	})
	for _, res := range report.Results[3:10] {
		if res.Err == "" || len(res.Paths) != 0 || len(res.Lookups) != 0 || res.Pending {
			t.Errorf("%s: %+v", res.Target, res)
		}
	}
	if step, _ := report.Results[10].Paths[0].Step(probe.PhaseProxy); step.Cause != probe.Other {
		t.Errorf("a host with a line break: %+v", report.Results[10])
	}
	b, err := json.Marshal([]any{report, targets})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hunter2", "agent", "YWdlbnQ6"} {
		if strings.Contains(string(b), secret) {
			t.Errorf("%s is in %s", secret, b)
		}
	}
}

func FuzzTunnelAnswer(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\n\r\nrest", "HTTP/1.1 100 Go\r\n\r\nHTTP/1.0 407 No\r\nContent-Length: 3\r\n\r\nabc",
		"HTTP/1.1 502 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nrest",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		info, rest, err := probe.TunnelAnswer(strings.NewReader(string(raw)))
		switch {
		case err == nil && (info.Status < 200 || info.Status > 299):
			t.Errorf("status %d passed", info.Status)
		case err == nil && !strings.HasSuffix(string(raw[:min(len(raw), 4096)]), string(rest)) && len(raw) < 1024:
			t.Errorf("%q of the other end, of %q", rest, raw)
		case len(info.Body) > 3*256, len(info.Header) > 5, len(rest) > 1024:
			t.Errorf("kept: %+v, %d bytes", info, len(rest))
		}
		cause, _ := probe.Classify(err, probe.PhaseProxy)
		if (cause == "") != (err == nil) || (cause == probe.ProxyStatus) != (info.Status >= 300) {
			t.Errorf("%v is %q, status %d", err, cause, info.Status)
		}
	})
}
