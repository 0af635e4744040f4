package probe_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

// allTrials are the experiments on one address.
var allTrials = probe.Experiments{MSSClamp: true, SmallHello: true, SecondSNI: true, UDPTest: true}

// outcome is what became of an experiment: "passed", "pending" or its last step's cause.
func outcome(e probe.Experiment) string {
	switch {
	case e.OK():
		return "passed"
	case e.Pending:
		return "pending"
	default:
		return string(e.Steps[len(e.Steps)-1].Cause)
	}
}

// outcomes are those of all experiments of a path, by kind.
func outcomes(p probe.Path) map[probe.Kind]string {
	made := make(map[probe.Kind]string)
	for _, e := range p.Experiments {
		made[e.Kind] = outcome(e)
	}
	return made
}

// helloSize passes a connection on with its ClientHello unread, and says how long that is.
func helloSize(c net.Conn) (int, net.Conn) {
	header := make([]byte, 5) // a record's (RFC 8446 section 5.1)
	if _, err := io.ReadFull(c, header); err != nil {
		return 0, c
	}
	hello := make([]byte, binary.BigEndian.Uint16(header[3:]))
	if _, err := io.ReadFull(c, hello); err != nil {
		return 0, c
	}
	return len(header) + len(hello), &replayed{Conn: c, from: io.MultiReader(bytes.NewReader(append(header, hello...)), c)}
}

// replayed reads from another place than it writes to.
type replayed struct {
	net.Conn
	from io.Reader
}

func (r *replayed) Read(b []byte) (int, error) { return r.from.Read(b) }

func resetConn(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

var errFiltered = errors.New("filtered")

// Each situation gives its own pattern of trials.
func TestTrials(t *testing.T) {
	t.Parallel()
	ca, other := probetest.NewCA(t, "test CA"), probetest.NewCA(t, "other CA")
	names := probetest.Leaf{Names: []string{"*.test"}}
	good, bad := ca.Issue(t, names), other.Issue(t, names)
	serve := func(c net.Conn, cert tls.Certificate) {
		_, _ = io.Copy(io.Discard, tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}))
	}
	// filtered lets only good.test through, as a firewall on the way would.
	filtered := func(refuse func(net.Conn)) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = io.Copy(io.Discard, tls.Server(c, &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				if hello.ServerName != "good.test" {
					refuse(c)
					return nil, errFiltered
				}
				return &tls.Config{Certificates: []tls.Certificate{good}}, nil
			}}))
		}
	}
	late := func(cert tls.Certificate) func(net.Conn) {
		return func(c net.Conn) {
			<-time.After(1200 * time.Millisecond)
			serve(c, cert)
		}
	}
	const patience = 2200 * time.Millisecond // a busy machine is slow
	const passed, silent, reset, closed = "passed", string(probe.TLSTimeout), string(probe.TLSReset), string(probe.TLSClosed)
	type made = map[probe.Kind]string
	tests := []struct {
		name  string
		serve func(net.Conn)
		cause probe.Cause
		made  made
	}{
		{name: "good", serve: func(c net.Conn) { serve(c, good) }},
		{name: "wrong CA", serve: func(c net.Conn) { serve(c, bad) }, cause: probe.TLSUnknownAuthority},
		{name: "late but fine", serve: late(good)},
		{name: "late and wrong CA", serve: late(bad), cause: probe.TLSUnknownAuthority},
		{name: "alert", serve: alert(40), cause: probe.TLSAlert},
		{
			name: "stalled", serve: waitForEnd, cause: probe.TLSTimeout,
			made: made{probe.KindMSSClamp: silent, probe.KindSmallHello: silent, probe.KindSecondSNI: silent},
		},
		{
			name: "stalled after the first byte", cause: probe.TLSTimeout,
			serve: func(c net.Conn) {
				readSome(c)
				_, _ = c.Write([]byte{22})
				waitForEnd(c)
			},
			made: made{probe.KindMSSClamp: silent, probe.KindSmallHello: silent, probe.KindSecondSNI: silent},
		},
		{
			name: "large hello unread", cause: probe.TLSTimeout,
			serve: func(c net.Conn) {
				size, unread := helloSize(c)
				if size > 1000 {
					waitForEnd(c)
				}
				serve(unread, good)
			},
			made: made{probe.KindMSSClamp: silent, probe.KindSmallHello: passed, probe.KindSecondSNI: silent},
		},
		{
			name: "large hello cut", cause: probe.TLSReset,
			serve: func(c net.Conn) {
				size, unread := helloSize(c)
				if size > 1000 {
					resetConn(c)
				}
				serve(unread, good)
			},
			made: made{probe.KindSmallHello: passed, probe.KindSecondSNI: reset},
		},
		{
			name: "names filtered in silence", serve: filtered(waitForEnd), cause: probe.TLSTimeout,
			made: made{probe.KindMSSClamp: silent, probe.KindSmallHello: silent, probe.KindSecondSNI: passed},
		},
		{
			name: "names filtered by reset", serve: filtered(resetConn), cause: probe.TLSReset,
			made: made{probe.KindSmallHello: reset, probe.KindSecondSNI: passed},
		},
		{
			name: "the other name is refused aloud", cause: probe.TLSTimeout,
			serve: func(c net.Conn) {
				_, _ = io.Copy(io.Discard, tls.Server(c, &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
					if hello.ServerName == "good.test" {
						return nil, errFiltered // crypto/tls sends an alert
					}
					waitForEnd(c)
					return nil, errFiltered
				}}))
			},
			made: made{probe.KindMSSClamp: silent, probe.KindSmallHello: silent, probe.KindSecondSNI: passed},
		},
		{
			name: "closed", serve: readSome, cause: probe.TLSClosed,
			made: made{probe.KindSmallHello: closed, probe.KindSecondSNI: closed},
		},
		{
			// A FIPS endpoint has none of the curves of Curve25519.
			name: "large hello unread by a server of P-256", cause: probe.TLSTimeout,
			serve: func(c net.Conn) {
				size, unread := helloSize(c)
				if size > 1000 {
					waitForEnd(c)
				}
				_, _ = io.Copy(io.Discard, tls.Server(unread, &tls.Config{
					Certificates: []tls.Certificate{good}, CurvePreferences: []tls.CurveID{tls.CurveP256},
				}))
			},
			made: made{probe.KindMSSClamp: silent, probe.KindSmallHello: passed, probe.KindSecondSNI: silent},
		},
	}
	zone := make(probetest.Zone)
	targets := make([]probe.Target, len(tests))
	for i, tt := range tests {
		server := probetest.Serve(t, probetest.Listen(t, loopback), tt.serve)
		host := strings.ReplaceAll(tt.name, " ", "-") + ".test"
		zone[strings.ToLower(host)] = []string{"A 127.0.0.1"}
		targets[i] = probe.Target{Name: tt.name, Host: host, Port: server.Port(), TLS: true, Roots: ca.PEM}
	}
	p := &probe.Prober{
		Servers:     []netip.AddrPort{probetest.ServeDNS(t, loopback, zone.Answer)},
		Experiments: allTrials,
		Timing:      probe.Timing{TLS: patience},
	}
	report := p.Run(t.Context(), targets, func(r probe.Report) {
		for _, res := range r.Results {
			for _, p := range res.Paths {
				// Nobody sees the failure without what is still to be learned about it.
				if c := p.Cause(); (c == probe.TLSTimeout || c == probe.TLSReset || c == probe.TLSClosed) && len(p.Experiments) < 2 {
					t.Errorf("%s failed and has %d experiments", res.Target, len(p.Experiments))
				}
				// What was copied is ours.
				for i := range p.Experiments {
					if p.Experiments[i].Pending && !res.Pending {
						t.Errorf("%s has an experiment under way and is not pending", res.Target)
					}
					clear(p.Experiments[i].Steps)
				}
				clear(p.Experiments)
			}
		}
	})
	for i, tt := range tests {
		res := report.Results[i]
		if len(res.Paths) != 1 || res.Pending {
			t.Errorf("%s: %+v", tt.name, res)
			continue
		}
		path := res.Paths[0]
		wantEqual(t, tt.name+", cause", path.Cause(), tt.cause)
		want := tt.made
		if want == nil {
			want = made{}
		}
		wantEqual(t, tt.name+", trials", outcomes(path), want)
		step, _ := path.Step(probe.PhaseTLS)
		if (step.TCP != nil) != (tt.cause != "") {
			t.Errorf("%s: TCP_INFO of the failed step: %+v", tt.name, step.TCP)
		}
		for _, e := range path.Experiments {
			if (e.Kind == probe.KindSecondSNI) != (e.Name == "good.test") {
				t.Errorf("%s: %s with the name %q", tt.name, e.Kind, e.Name)
			}
			last := e.Steps[len(e.Steps)-1]
			if len(e.Steps) != 2 || last.TLS == nil || e.Failed() != (last.TCP != nil) {
				t.Errorf("%s, %s: %+v", tt.name, e.Kind, e.Steps)
			}
			late := time.Duration(e.Steps[0].At - step.At)
			switch {
			case tt.cause != probe.TLSTimeout:
			case tt.name == "stalled after the first byte":
				if late < patience-100*time.Millisecond {
					t.Errorf("%s: %s after %v", tt.name, e.Kind, late)
				}
			case late < 950*time.Millisecond || late > patience-100*time.Millisecond:
				t.Errorf("%s: %s after %v, want 1 s", tt.name, e.Kind, late)
			}
		}
	}
	aloud, _ := report.Result("the other name is refused aloud")
	if e, _ := aloud.Paths[0].Experiment(probe.KindSecondSNI); e.Steps[1].TLS.Alert == 0 || e.Steps[1].Cause != "" {
		t.Errorf("an alert as the answer: %+v", e.Steps[1])
	}
}

// Nothing is tried that is not allowed, and no second name where there is none.
func TestTrialsAllowed(t *testing.T) {
	t.Parallel()
	server := probetest.Serve(t, probetest.Listen(t, netip.MustParseAddrPort("0.0.0.0:0")), readSome)
	zone := probetest.Zone{"a.test": {"A 127.0.0.1"}, "b.test": {"A 127.0.0.1"}}
	dns := probetest.ServeDNS(t, loopback, zone.Answer)
	target := func(host string) probe.Target {
		return probe.Target{Name: host, Host: host, Port: server.Port(), TLS: true}
	}
	plain := probe.Target{Name: "plain", Host: "b.test", Port: server.Port()}
	tests := []struct {
		name    string
		allow   probe.Experiments
		targets []probe.Target
		want    []probe.Kind
	}{
		{"nothing", probe.Experiments{}, []probe.Target{target("a.test"), target("b.test")}, nil},
		{"small hello", probe.Experiments{SmallHello: true}, []probe.Target{target("a.test"), target("b.test")}, []probe.Kind{probe.KindSmallHello}},
		{"second SNI", probe.Experiments{SecondSNI: true}, []probe.Target{target("a.test"), target("b.test")}, []probe.Kind{probe.KindSecondSNI}},
		{"no other name", allTrials, []probe.Target{target("a.test"), target("A.TEST"), target("127.0.0.1"), plain}, []probe.Kind{probe.KindSmallHello}},
		{
			"a name that answered before",
			probe.Experiments{SecondSNI: true, Names: []string{"A.test", "before.test"}},
			[]probe.Target{target("a.test")},
			[]probe.Kind{probe.KindSecondSNI},
		},
		{"the own name answered before", probe.Experiments{SecondSNI: true, Names: []string{"A.test"}}, []probe.Target{target("a.test")}, nil},
		{"an address has a second name", allTrials, []probe.Target{target("127.0.0.1"), target("b.test")}, []probe.Kind{probe.KindSecondSNI, probe.KindSmallHello}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &probe.Prober{Servers: []netip.AddrPort{dns}, Experiments: tt.allow}
			path := p.Run(t.Context(), tt.targets, nil).Results[0].Paths[0]
			var got []probe.Kind
			for _, e := range path.Experiments {
				got = append(got, e.Kind)
			}
			slices.Sort(got)
			wantEqual(t, "trials", got, tt.want)
		})
	}
}

// The SYN of a clamped connection tells the peer, and its own segments are small too.
func TestClamp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		addr string
		most int
	}{{"127.0.0.1", 1000}, {"::1", 1220}} {
		t.Run(tt.addr, func(t *testing.T) {
			t.Parallel()
			var small atomic.Int32
			server := probetest.Serve(t, probetest.Listen(t, netip.AddrPortFrom(netip.MustParseAddr(tt.addr), 0)), func(c net.Conn) {
				tcp, ok := c.(*net.TCPConn)
				if !ok {
					return
				}
				raw, err := tcp.SyscallConn()
				if err != nil {
					t.Error(err)
					return
				}
				_ = raw.Control(func(fd uintptr) {
					info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
					if err == nil && int(info.Snd_mss) <= tt.most {
						small.Add(1)
					}
				})
				waitForEnd(c)
			})
			p := &probe.Prober{Experiments: probe.Experiments{MSSClamp: true}}
			path := p.Run(t.Context(), []probe.Target{{Host: tt.addr, Port: server.Port(), TLS: true}}, nil).Results[0].Paths[0]
			e, ok := path.Experiment(probe.KindMSSClamp)
			if !ok || !e.Failed() || small.Load() != 1 {
				t.Fatalf("%d connections with small segments, want 1: %+v", small.Load(), path)
			}
			if mss := e.Steps[1].TCP.SndMSS; mss > tt.most || mss < tt.most-40 {
				t.Errorf("our segments have %d bytes, want %d less options", mss, tt.most)
			}
			if mss := path.Steps[1].TCP.SndMSS; mss < 10*tt.most {
				t.Errorf("the first connection has segments of %d bytes", mss)
			}
		})
	}
}

// A panic is the result of the trial alone.
func TestTrialPanic(t *testing.T) {
	t.Parallel()
	e := probe.PanickingTrial(t.Context())
	if e.OK() || !e.Failed() || outcome(e) != string(probe.Other) || !strings.HasPrefix(e.Steps[0].Err, "panic: ") {
		t.Errorf("experiment: %+v", e)
	}
}
