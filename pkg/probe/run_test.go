package probe_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

// A healthy round: every server asked for every type, every address followed to
// the end of what its target asks for.
func TestRun(t *testing.T) {
	t.Parallel()
	ca := probetest.NewCA(t, "test CA")
	cert := ca.Issue(t, probetest.Leaf{Names: []string{"api.test", "ec2.test", "127.0.0.1"}})
	server := probetest.ServeTLS(t, probetest.Listen(t, netip.MustParseAddrPort("0.0.0.0:0")),
		&tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}},
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "" || r.Header.Get("User-Agent") != "nodeprep" || r.Proto != "HTTP/1.1" {
				w.WriteHeader(http.StatusBadRequest)
			}
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("X-Secret", "no evidence")
			_, _ = w.Write([]byte(r.Method + " " + r.URL.Path + " " + r.Header.Get("Authorization")))
		}))
	zone := probetest.Zone{
		"api.test": {"A 127.0.0.3", "A 127.0.0.2"},
		"ec2.test": {"CNAME vpce.test"}, "vpce.test": {"A 127.0.0.2"},
	}
	dns1 := probetest.ServeDNS(t, loopback, zone.Answer)
	dns2 := probetest.ServeDNS(t, loopback, probetest.Zone{"api.test": {"A 127.0.0.3"}, "ec2.test": {"SERVFAIL"}}.Answer)

	p := &probe.Prober{Servers: []netip.AddrPort{dns1, dns2, dns1}, IPv6: true}
	report := p.Run(t.Context(), []probe.Target{
		{
			Name: "apiserver", Host: "API.test", Port: server.Port(), TLS: true, Roots: ca.PEM,
			Requests: []probe.Request{
				{Method: "GET", Path: "/readyz", BodyLimit: 6},
				{Method: "POST", Path: "/review", BodyLimit: 100, Header: func() http.Header {
					return http.Header{"Authorization": {"Bearer x"}}
				}},
			},
		},
		{Name: "ec2", Host: "ec2.test", Port: server.Port(), TLS: true, Roots: ca.PEM},
		{Name: "literal", Host: "127.0.0.1", Port: server.Port(), TLS: true, Roots: ca.PEM},
		{Name: "gone", Host: "gone.test", Port: server.Port()},
		{Name: "plain", Host: "127.0.0.9", Port: server.Port()},
	}, nil)

	var names []string
	for _, res := range report.Results {
		names = append(names, res.Target)
		if res.Pending {
			t.Errorf("%s is pending", res.Target)
		}
		for _, p := range res.Paths {
			if !p.OK() || p.Pending {
				t.Errorf("%s %s: %+v", res.Target, p.Address, p.Steps)
			}
		}
	}
	wantEqual(t, "targets", names, []string{"apiserver", "ec2", "literal", "gone", "plain"})
	api, _ := report.Result("apiserver")
	type asked struct {
		Server netip.AddrPort
		Type   string
		Cause  probe.Cause
		RCode  string
		N      int
	}
	questions := func(r probe.Result) (qs []asked) {
		for _, l := range r.Lookups {
			qs = append(qs, asked{l.Server, l.Type, l.Cause, l.RCode, len(l.Addresses)})
		}
		return qs
	}
	wantEqual(t, "lookups of apiserver", questions(api), []asked{
		{dns1, "A", "", "NOERROR", 2},
		{dns1, "AAAA", probe.DNSNoData, "NOERROR", 0},
		{dns2, "A", "", "NOERROR", 1},
		{dns2, "AAAA", probe.DNSNoData, "NOERROR", 0},
	})
	if len(api.Paths) != 2 {
		t.Fatalf("paths: %+v", api.Paths)
	}
	wantEqual(t, "servers of .2", api.Paths[0].Servers, []netip.AddrPort{dns1})
	wantEqual(t, "servers of .3", api.Paths[1].Servers, []netip.AddrPort{dns1, dns2})
	steps := api.Paths[0].Steps
	if len(steps) != 4 {
		t.Fatalf("steps: %+v", steps)
	}
	for i := 1; i < len(steps); i++ {
		if steps[i].At < steps[i-1].At+steps[i-1].Took || steps[i].Took <= 0 {
			t.Errorf("step %d at %v took %v, before it %v took %v", i,
				steps[i].At, steps[i].Took, steps[i-1].At, steps[i-1].Took)
		}
	}
	wantEqual(t, "alpn", steps[1].TLS.ALPN, "http/1.1")
	wantEqual(t, "version", steps[1].TLS.Version, "TLS 1.3")
	wantEqual(t, "subject", steps[1].TLS.Chain[0].Subject, "CN=server")
	wantEqual(t, "names", steps[1].TLS.Chain[0].Names, []string{"api.test", "ec2.test", "127.0.0.1"})
	wantEqual(t, "body cut at its limit", steps[2].HTTP.Body, "GET /r")
	wantEqual(t, "body", steps[3].HTTP.Body, "POST /review Bearer x")
	wantEqual(t, "status", steps[3].HTTP.Status, 200)
	if h := steps[3].HTTP.Header; h["Content-Type"] != "text/plain" || h["Date"] == "" || h["X-Secret"] != "" {
		t.Errorf("header: %v", h)
	}

	ec2, _ := report.Result("ec2")
	wantEqual(t, "cnames", ec2.Lookups[0].CNAMEs, []string{"vpce.test"})
	wantEqual(t, "ttl", ec2.Lookups[0].TTL, 60)
	wantEqual(t, "servfail", ec2.Lookups[2].Cause, probe.DNSServFail)
	gone, _ := report.Result("gone")
	wantEqual(t, "nxdomain", gone.Lookups[0].Cause, probe.DNSNXDomain)
	if took := time.Duration(report.Took); took > 2900*time.Millisecond {
		t.Errorf("took %v", took)
	}
}

// A dead server costs nobody time: what the others know is followed at once,
// and progress shows it while the dead one is still waited for.
func TestDeadServer(t *testing.T) {
	t.Parallel()
	ca := probetest.NewCA(t, "test CA")
	cert := ca.Issue(t, probetest.Leaf{Names: []string{"a.test"}})
	server := probetest.ServeTLS(t, probetest.Listen(t, loopback), &tls.Config{Certificates: []tls.Certificate{cert}}, nil)
	dead := probetest.ServeDNS(t, loopback, func([]byte, bool) [][]byte { return nil })
	good := probetest.ServeDNS(t, loopback, probetest.Zone{"a.test": {"A 127.0.0.1"}}.Answer)

	var passed, last time.Duration
	p := &probe.Prober{Servers: []netip.AddrPort{dead, good}}
	report := p.Run(t.Context(), []probe.Target{{Name: "a", Host: "a.test", Port: server.Port(), TLS: true, Roots: ca.PEM}},
		func(r probe.Report) {
			if !r.Results[0].Pending && r.Took < probe.Duration(2900*time.Millisecond) {
				t.Error("a snapshot with a question under way is not pending")
			}
			if r.Took < probe.Duration(last) {
				t.Error("snapshots go back in time")
			}
			last = time.Duration(r.Took)
			if passed == 0 && len(r.Results[0].Paths) == 1 && r.Results[0].Paths[0].OK() {
				passed = last
			}
		})
	if passed == 0 || passed > 2500*time.Millisecond {
		t.Errorf("the path was seen to pass after %v", passed)
	}
	res := report.Results[0]
	if res.Pending || !res.Paths[0].OK() || time.Duration(res.Paths[0].Steps[0].At) > 2500*time.Millisecond {
		t.Errorf("result: %+v", res)
	}
	silent := res.Lookups[0]
	if silent.Cause != probe.DNSTimeout || silent.Sent != 4 || silent.RCode != "" {
		t.Errorf("lookup of the dead server: %+v", silent)
	}
	if took := time.Duration(silent.Took); took < 2900*time.Millisecond || took > 4500*time.Millisecond {
		t.Errorf("the dead server was given up after %v", took)
	}
}

// What the end of the caller's context cuts short is canceled, and what the end
// of the round cuts short is a timeout.
func TestEnd(t *testing.T) {
	t.Parallel()
	dead := probetest.ServeDNS(t, loopback, func([]byte, bool) [][]byte { return nil })
	stall := probetest.Serve(t, probetest.Listen(t, loopback), waitForEnd)
	targets := []probe.Target{
		{Name: "dns", Host: "a.test", Port: 443},
		{Name: "tls", Host: "127.0.0.1", Port: stall.Port(), TLS: true},
		{Name: "http", Host: "127.0.0.1", Port: stall.Port(), Requests: []probe.Request{{Method: "GET", Path: "/"}}},
	}
	tests := []struct {
		name           string
		ctx            func(context.Context) (context.Context, context.CancelFunc)
		round          time.Duration
		dns, tls, http probe.Cause
	}{
		{
			name:  "canceled",
			ctx:   func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithCancel(ctx) },
			round: time.Minute, dns: probe.Canceled, tls: probe.Canceled, http: probe.Canceled,
		},
		{
			name: "deadline of the caller",
			ctx: func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, 300*time.Millisecond)
			},
			round: time.Minute, dns: probe.Canceled, tls: probe.Canceled, http: probe.Canceled,
		},
		{
			name: "round over", ctx: context.WithCancel, round: 300 * time.Millisecond,
			dns: probe.DNSTimeout, tls: probe.TLSTimeout, http: probe.HTTPTimeout,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := tt.ctx(t.Context())
			defer cancel()
			if tt.name == "canceled" {
				time.AfterFunc(300*time.Millisecond, cancel)
			}
			p := &probe.Prober{Servers: []netip.AddrPort{dead}, Timing: probe.Timing{Round: tt.round}}
			report := p.Run(ctx, targets, nil)
			if took := time.Duration(report.Took); took < 290*time.Millisecond || took > 2500*time.Millisecond {
				t.Errorf("took %v", took)
			}
			wantEqual(t, "dns", report.Results[0].Lookups[0].Cause, tt.dns)
			wantEqual(t, "tls", report.Results[1].Paths[0].Cause(), tt.tls)
			wantEqual(t, "http", report.Results[2].Paths[0].Cause(), tt.http)
			for _, res := range report.Results {
				if !res.Pending {
					t.Errorf("%s is not pending", res.Target)
				}
				for _, p := range res.Paths {
					if !p.Pending || p.OK() {
						t.Errorf("%s: path is pending %v, ok %v", res.Target, p.Pending, p.OK())
					}
				}
			}
		})
	}
}

// A context that has already ended lets nothing begin.
func TestEndedBefore(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := &probe.Prober{Servers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}}
	report := p.Run(ctx, []probe.Target{{Host: "a.test", Port: 1}, {Host: "127.0.0.1", Port: 1}}, nil)
	wantEqual(t, "lookup", report.Results[0].Lookups[0].Cause, probe.Canceled)
	wantEqual(t, "sent", report.Results[0].Lookups[0].Sent, 0)
	wantEqual(t, "path", report.Results[1].Paths[0].Cause(), probe.Canceled)
}

// A panic in a target's own code is the result of that target alone.
func TestPanic(t *testing.T) {
	t.Parallel()
	ca := probetest.NewCA(t, "test CA")
	cert := ca.Issue(t, probetest.Leaf{Names: []string{"127.0.0.1"}})
	server := probetest.ServeTLS(t, probetest.Listen(t, loopback), &tls.Config{Certificates: []tls.Certificate{cert}},
		http.NotFoundHandler())
	target := probe.Target{
		Name: "good", Host: "127.0.0.1", Port: server.Port(), TLS: true, Roots: ca.PEM,
		Requests: []probe.Request{{Method: "GET", Path: "/"}},
	}
	bad := target
	bad.Name = "bad"
	bad.Requests = []probe.Request{{Method: "GET", Path: "/", Header: func() http.Header { panic("no credential") }}}
	report := new(probe.Prober).Run(t.Context(), []probe.Target{bad, target}, nil)
	step, ok := report.Results[0].Paths[0].Step(probe.PhaseHTTP)
	if !ok || step.Cause != probe.Other || step.Err != "panic: no credential" || report.Results[0].Pending {
		t.Errorf("result: %+v", report.Results[0])
	}
	if !report.Results[1].Paths[0].OK() {
		t.Errorf("result: %+v", report.Results[1])
	}
}

// Header functions may wait for a credential and have no context. They do not hold Run.
func TestHangingHeader(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	server := probetest.Serve(t, probetest.Listen(t, loopback), waitForEnd)
	p := &probe.Prober{Timing: probe.Timing{Round: 100 * time.Millisecond}}
	report := p.Run(t.Context(), []probe.Target{{Host: "127.0.0.1", Port: server.Port(), Requests: []probe.Request{
		{Method: "GET", Path: "/", Header: func() http.Header { <-release; return nil }},
	}}}, nil)
	if res := report.Results[0]; !res.Pending || len(res.Paths[0].Steps) != 1 || time.Duration(report.Took) > 2*time.Second {
		t.Errorf("result after %v: %+v", report.Took, res)
	}
}

// The roots of a target come before those of the Prober, and those before the system's.
func TestRoots(t *testing.T) {
	t.Parallel()
	ca, other := probetest.NewCA(t, "test CA"), probetest.NewCA(t, "other CA")
	cert := ca.Issue(t, probetest.Leaf{Names: []string{"127.0.0.1"}})
	server := probetest.ServeTLS(t, probetest.Listen(t, loopback), &tls.Config{Certificates: []tls.Certificate{cert}}, nil)
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	tests := []struct {
		name   string
		prober *x509.CertPool
		target []byte
		cause  probe.Cause
	}{
		{"system", nil, nil, probe.TLSUnknownAuthority},
		{"prober", pool, nil, ""},
		{"target", nil, ca.PEM, ""},
		{"other target", pool, other.PEM, probe.TLSUnknownAuthority},
		{"both of a bundle", nil, append(other.PEM, ca.PEM...), ""},
		{"no bundle", pool, []byte("no PEM"), probe.TLSUnknownAuthority},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &probe.Prober{Roots: tt.prober}
			report := p.Run(t.Context(), []probe.Target{{Host: "127.0.0.1", Port: server.Port(), TLS: true, Roots: tt.target}}, nil)
			wantEqual(t, "cause", report.Results[0].Paths[0].Cause(), tt.cause)
		})
	}
}

// IPv6 servers and addresses are like the others; paths are sorted, IPv4 first.
func TestIPv6(t *testing.T) {
	t.Parallel()
	ca := probetest.NewCA(t, "test CA")
	cert := ca.Issue(t, probetest.Leaf{Names: []string{"a.test", "::1"}})
	server := probetest.ServeTLS(t, probetest.Listen(t, netip.MustParseAddrPort("[::]:0")),
		&tls.Config{Certificates: []tls.Certificate{cert}}, http.NotFoundHandler())
	zone := probetest.Zone{"a.test": {"AAAA ::1", "A 127.0.0.1"}}
	p := &probe.Prober{
		Servers: []netip.AddrPort{probetest.ServeDNS(t, netip.MustParseAddrPort("[::1]:0"), zone.Answer)}, IPv6: true,
	}
	get := []probe.Request{{Method: "GET", Path: "/"}}
	report := p.Run(t.Context(), []probe.Target{
		{Name: "name", Host: "a.test", Port: server.Port(), TLS: true, Roots: ca.PEM, Requests: get},
		{Name: "literal", Host: "::1", Port: server.Port(), TLS: true, Roots: ca.PEM, Requests: get},
	}, nil)
	var got []string
	for _, res := range report.Results {
		for _, p := range res.Paths {
			last, _ := p.Step(probe.PhaseHTTP)
			if !p.OK() || last.HTTP == nil || last.HTTP.Status != 404 {
				t.Errorf("%s: %+v", res.Target, p)
			}
			got = append(got, res.Target+" "+p.Address.Addr().String())
		}
	}
	wantEqual(t, "paths", got, []string{"name 127.0.0.1", "name ::1", "literal ::1"})
}

// A duration that was read is written as it was: a report that is read and
// written again stays the same.
func TestDurationReadBack(t *testing.T) {
	t.Parallel()
	for us := range int64(20_000) {
		want := probe.Duration(time.Duration(us) * time.Microsecond)
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got probe.Duration
		if err := json.Unmarshal(b, &got); err != nil || got != want {
			t.Fatalf("%s is read as %d ns, want %d (%v)", b, got, want, err)
		}
	}
}
