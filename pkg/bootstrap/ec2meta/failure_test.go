package ec2meta_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/ec2meta"
)

const errNetUnreachable = syscall.ENETUNREACH

// A failure is what a MetadataError should say.
type failure struct {
	method, path string
	status       int
	server       string
	phase        string
	is           error // nil: no underlying error
}

func wantFailure(t *testing.T, err error, want failure) {
	t.Helper()
	var m *bootstrap.MetadataError
	if !errors.As(err, &m) {
		t.Errorf("error %v, want a MetadataError", err)
		return
	}
	got := failure{m.Method, m.Path, m.Status, m.Server, string(m.Phase), want.is}
	if got != want {
		t.Errorf("got  %+v\nwant %+v\nerr: %v", got, want, m.Err)
	}
	if want.is != nil && !errors.Is(m.Err, want.is) {
		t.Errorf("underlying error %v, want %v", m.Err, want.is)
	}
	if errors.Is(want.is, os.ErrDeadlineExceeded) && errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v passes for the end of the caller's context", err)
	}
	if want.is == nil && want.status >= 300 && m.Err != nil {
		t.Errorf("underlying error %v, want none beside the status", m.Err)
	}
}

// on answers requests whose path has the suffix.
func on(suffix string, answer http.HandlerFunc) func(*fake) {
	return func(f *fake) {
		f.fault = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, suffix) {
				return false
			}
			answer(w, r)
			return true
		}
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// hang answers nothing until the client has gone.
func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// reset ends the connection without an answer.
func reset(w http.ResponseWriter, _ *http.Request) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		panic("no hijacker")
	}
	c, _, err := hijacker.Hijack()
	if err != nil {
		panic(err)
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func large(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("a"), n)) }
}

func TestReadFailures(t *testing.T) {
	t.Parallel()
	const (
		token = "/latest/api/token"
		doc   = "/latest/dynamic/instance-identity/document"
		mac   = "/latest/meta-data/mac"
		data  = "/latest/user-data"
		role  = "/latest/meta-data/iam/security-credentials/"
		vpc   = "/latest/meta-data/network/interfaces/macs/02:29:96:8f:6a:2d/vpc-ipv4-cidr-blocks"
	)
	tests := []struct {
		name   string
		change func(*fake)
		want   failure
		puts   int
		most   time.Duration // the reading may take, 0: less than any timeout
	}{
		{"disabled", on(token, status(403)), failure{"PUT", token, 403, "EC2ws", "http", nil}, 1, 0},
		{"version 1 only", on(token, status(404)), failure{"PUT", token, 404, "EC2ws", "http", nil}, 1, 0},
		{"PUT not allowed", on(token, status(405)), failure{"PUT", token, 405, "EC2ws", "http", nil}, 1, 0},
		{"bad PUT", on(token, status(400)), failure{"PUT", token, 400, "EC2ws", "http", nil}, 1, 0},
		{"token throttled", on(token, status(429)), failure{"PUT", token, 429, "EC2ws", "http", nil}, 1, 0},
		{"token unavailable", on(token, status(503)), failure{"PUT", token, 503, "EC2ws", "http", nil}, 1, 0},
		{"another server", on(token, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Server", "squid/6.1")
			w.WriteHeader(http.StatusProxyAuthRequired)
		}), failure{"PUT", token, 407, "squid/6.1", "http", nil}, 1, 0},
		{"token without lifetime", on(token, large(10)), failure{"PUT", token, 200, "EC2ws", "http", nil}, 1, 0},
		{"token too large", on(token, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
			large(1<<20)(w, r)
		}), failure{"PUT", token, 200, "EC2ws", "http", ec2meta.ErrTooLarge}, 1, 0},
		{"token silent", on(token, hang), failure{"PUT", token, 0, "", "http", os.ErrDeadlineExceeded}, 1, 3500 * time.Millisecond},
		{"token reset", on(token, reset), failure{"PUT", token, 0, "", "http", syscall.ECONNRESET}, 1, 0},

		{"never authorized", on(mac, status(401)), failure{"GET", mac, 401, "EC2ws", "http", nil}, 2, 0},
		{"forbidden", on(doc, status(403)), failure{"GET", doc, 403, "EC2ws", "http", nil}, 1, 0},
		{"throttled", on(doc, status(429)), failure{"GET", doc, 429, "EC2ws", "http", nil}, 1, 0},
		{"unavailable", on(role, status(503)), failure{"GET", role, 503, "EC2ws", "http", nil}, 1, 0},
		{"must exist", on(doc, status(404)), failure{"GET", doc, 404, "EC2ws", "http", nil}, 1, 0},
		{"user data broken", on(data, status(500)), failure{"GET", data, 500, "EC2ws", "http", nil}, 1, 0},
		{"redirected", on(doc, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/latest/meta-data/mac", http.StatusFound)
		}), failure{"GET", doc, 302, "EC2ws", "http", nil}, 1, 0},
		{"refusal with a long page", on(doc, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			large(1<<20)(w, r)
		}), failure{"GET", doc, 502, "EC2ws", "http", nil}, 1, 0},
		{"silent", on(data, hang), failure{"GET", data, 0, "", "http", os.ErrDeadlineExceeded}, 1, 3500 * time.Millisecond},
		{"silent in the middle", on(data, func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("half"))
			_ = http.NewResponseController(w).Flush()
			hang(w, r)
		}), failure{"GET", data, 200, "EC2ws", "http", os.ErrDeadlineExceeded}, 1, 3500 * time.Millisecond},
		{"cut short", on(data, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("half"))
		}), failure{"GET", data, 200, "EC2ws", "http", io.ErrUnexpectedEOF}, 1, 0},
		{"credentials unavailable", on(role+"eks-node", status(503)), failure{"GET", role + "eks-node", 503, "EC2ws", "http", nil}, 1, 0},
		{"a page for credentials", on(role+"eks-node", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("<html>log in</html>"))
		}), failure{"GET", role + "eks-node", 200, "EC2ws", "http", ec2meta.ErrMalformedCredentials}, 1, 0},
		{"user data too large", on(data, large(256<<10+1)), failure{"GET", data, 200, "EC2ws", "http", ec2meta.ErrTooLarge}, 1, 0},
		{"text too large", on(mac, large(64<<10+1)), failure{"GET", mac, 200, "EC2ws", "http", ec2meta.ErrTooLarge}, 1, 0},
		{"a page for a document", on(doc, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("<html>log in</html>"))
		}), failure{"GET", doc, 200, "EC2ws", "http", nil}, 1, 0},
		{"interface unavailable", on(vpc, status(503)), failure{"GET", vpc, 503, "EC2ws", "http", nil}, 1, 0},
		{"interface not yet there", on(vpc, status(404)), failure{"GET", vpc, 404, "EC2ws", "http", nil}, 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, fixture(t, "us-west-2"), tt.change)
			began := time.Now()
			m, err := client(t, f.URL).Read(t.Context())
			took := time.Since(began)
			wantFailure(t, err, tt.want)
			if m.UserData != nil || m.Instance.ID != "" {
				t.Errorf("metadata beside an error: %+v", m)
			}
			if puts, _, _ := f.counts(); puts != tt.puts {
				t.Errorf("%d token requests, want %d", puts, tt.puts)
			}
			if most := max(tt.most, 1500*time.Millisecond); took > most {
				t.Errorf("took %v, want at most %v", took, most)
			}
			if strings.Contains(err.Error(), "TOKEN-") {
				t.Errorf("the token is in %v", err)
			}
		})
	}
}

// Of several failures the most telling one comes first.
func TestReadFailureOrder(t *testing.T) {
	t.Parallel()
	f := serve(t, fixture(t, "us-west-2"), func(f *fake) {
		f.fault = func(w http.ResponseWriter, r *http.Request) bool {
			switch r.URL.Path {
			case "/latest/user-data":
				reset(w, r)
			case "/latest/meta-data/mac":
				w.WriteHeader(http.StatusNotFound)
			case "/latest/meta-data/services/domain":
				w.WriteHeader(http.StatusServiceUnavailable)
			default:
				return false
			}
			return true
		}
	})
	_, err := client(t, f.URL).Read(t.Context())
	wantFailure(t, err, failure{"GET", "/latest/meta-data/services/domain", 503, "EC2ws", "http", nil})
	var list interface{ Unwrap() []error }
	if !errors.As(err, &list) {
		t.Fatalf("error %v, want three joined", err)
	}
	var paths []string
	for _, e := range list.Unwrap() {
		if m, ok := errors.AsType[*bootstrap.MetadataError](e); ok {
			paths = append(paths, m.Path)
		}
	}
	want := "/latest/meta-data/services/domain /latest/meta-data/mac /latest/user-data"
	if got := strings.Join(paths, " "); got != want {
		t.Errorf("order %s, want %s", got, want)
	}
}

// A service that is slow to answer is waited for.
func TestReadLate(t *testing.T) {
	t.Parallel()
	f := serve(t, fixture(t, "us-west-2"), func(f *fake) {
		f.fault = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut || strings.HasSuffix(r.URL.Path, "user-data") {
				<-time.After(1200 * time.Millisecond)
			}
			return false
		}
	})
	if _, err := client(t, f.URL).Read(t.Context()); err != nil {
		t.Error(err)
	}
}

// The caller's deadline is kept, and is told apart from the service's silence.
func TestReadDeadline(t *testing.T) {
	t.Parallel()
	f := serve(t, fixture(t, "us-west-2"), on("/token", hang))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := client(t, f.URL).Read(ctx)
	wantFailure(t, err, failure{"PUT", "/latest/api/token", 0, "", "http", context.DeadlineExceeded})
	if took := time.Since(began); took > 1500*time.Millisecond {
		t.Errorf("took %v", took)
	}
}

func TestReadRefused(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	_, err = client(t, "http://"+l.Addr().String()).Read(t.Context())
	wantFailure(t, err, failure{"PUT", "/latest/api/token", 0, "", "connect", syscall.ECONNREFUSED})
}

// Packets into a link without ARP go nowhere: connecting takes half the timeout.
func TestReadConnectTimeout(t *testing.T) {
	t.Parallel()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "silent0"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "silent1"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"silent0", "silent1"} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(netlink.LinkSetARPOff(l), netlink.LinkSetUp(l)); err != nil {
			t.Fatal(err)
		}
		if name == "silent0" {
			a, err := netlink.ParseAddr("192.0.2.1/24")
			if err != nil {
				t.Fatal(err)
			}
			if err := netlink.AddrAdd(l, a); err != nil {
				t.Fatal(err)
			}
		}
	}
	began := time.Now()
	_, err := client(t, "http://192.0.2.2").Read(t.Context())
	wantFailure(t, err, failure{"PUT", "/latest/api/token", 0, "", "connect", os.ErrDeadlineExceeded})
	if took := time.Since(began); took < 900*time.Millisecond || took > 1800*time.Millisecond {
		t.Errorf("took %v, want about 1s", took)
	}
}
