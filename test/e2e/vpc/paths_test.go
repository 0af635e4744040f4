package vpc_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// broken builds a VPC with a fault.
func broken(t *testing.T, name string) *vpc.VPC {
	t.Helper()
	f, ok := vpc.FaultNamed(name)
	if !ok {
		t.Fatalf("there is no fault %s", name)
	}
	v := newVPC(t, f.Options(vpc.Options{}))
	if _, err := v.Inject(name); err != nil {
		t.Fatal(err)
	}
	return v
}

// segment is dial with a largest segment in bytes; 0 leaves it to the link.
func segment(t *testing.T, v *vpc.VPC, a netip.Addr, mss int) net.Conn {
	t.Helper()
	var c net.Conn
	err := v.Exec(func() error {
		d := net.Dialer{Timeout: patience, Control: func(_, _ string, raw syscall.RawConn) error {
			var err error
			if mss > 0 {
				err = errors.Join(raw.Control(func(fd uintptr) {
					err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, mss)
				}), err)
			}
			return err
		}}
		var err error
		c, err = d.DialContext(t.Context(), "tcp", netip.AddrPortFrom(a, 443).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// What swallows large packets, large ClientHellos, names and everything are told
// apart by smaller segments, a smaller ClientHello and another name.
func TestStalls(t *testing.T) {
	t.Parallel()
	for fault, row := range map[string]struct{ usual, clamp, small, other string }{
		"mtu-outbound": {"TLS silence", "ok", "ok", "TLS silence"},
		"mtu-peering":  {"TLS silence", "ok", "ok", "TLS silence"},
		"mtu-inbound":  {"TLS silence", "ok", "TLS silence", "TLS silence"},
		"large-hello":  {"TLS silence", "TLS silence", "ok", "TLS silence"},
		"sni-silent":   {"TLS silence", "TLS silence", "TLS silence", "wrong host"},
		"sni-reset":    {"ECONNRESET", "ECONNRESET", "ECONNRESET", "wrong host"},
		"tls-reset":    {"ECONNRESET", "ECONNRESET", "ECONNRESET", "ECONNRESET"},
		"tls-stall":    {"TLS silence", "TLS silence", "TLS silence", "TLS silence"},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			v := broken(t, fault)
			f, _ := vpc.FaultNamed(fault)
			service := f.Service
			if service == "" {
				service = vpc.ECRAPI
			}
			a := v.Addresses(service)[0]
			do := func(mss int, c *tls.Config) string { return shake(t, v, segment(t, v, a, mss), service, "", c) }
			for what, got := range map[string][2]string{
				"usual":       {do(0, &tls.Config{ServerName: v.Host(service)}), row.usual},
				"MSS 1000":    {do(1000, &tls.Config{ServerName: v.Host(service)}), row.clamp},
				"small hello": {do(0, &tls.Config{ServerName: v.Host(service), CurvePreferences: []tls.CurveID{tls.X25519}}), row.small},
				"other name":  {do(0, &tls.Config{ServerName: v.Host(vpc.EC2)}), row.other},
			} {
				if got[0] != got[1] {
					t.Errorf("%s: %s, want %s", what, got[0], got[1])
				}
			}
		})
	}
}

// Large packets come through where nothing swallows them, whatever was swallowed before.
func TestBlackHoleEnds(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{})
	for _, name := range []string{"mtu-outbound", "mtu-inbound"} {
		remove, err := v.Inject(name)
		if err != nil {
			t.Fatal(err)
		}
		if s := follow(t, v, vpc.EC2, v.Addresses(vpc.EC2)[0], "/"); s != "403 application/json" {
			t.Errorf("%s: another service: %s", name, s)
		}
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		if s := follow(t, v, vpc.ECRDKR, v.Addresses(vpc.ECRDKR)[0], ""); s != "ok" {
			t.Errorf("%s: afterwards: %s", name, s)
		}
	}
}

// An address that nobody has is reported by the node's own kernel, after three
// requests for its neighbour.
func TestGone(t *testing.T) {
	t.Parallel()
	v := broken(t, "eni-gone")
	start := time.Now()
	err := v.Exec(func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
		defer cancel()
		_, err := new(net.Dialer).DialContext(ctx, "tcp", netip.AddrPortFrom(v.Addresses(vpc.ECRAPI)[0], 443).String())
		return err
	})
	if took := time.Since(start); !errors.Is(err, unix.EHOSTUNREACH) || took < time.Second {
		t.Errorf("%v after %v", err, took)
	}
	if got, _ := ask(v, "udp", vpc.AmazonDNSAddr(), v.Host(vpc.ECRAPI), dns.TypeA); len(got) != 1 {
		t.Errorf("ecr.api is %v", got)
	}
}

// The first SYN of every connection is lost, and the next one is not.
func TestLoss(t *testing.T) {
	t.Parallel()
	v := broken(t, "ecr-api-loss")
	for _, a := range v.Addresses(vpc.ECRAPI) {
		start := time.Now()
		if s := follow(t, v, vpc.ECRAPI, a, ""); s != "ok" || time.Since(start) < 900*time.Millisecond {
			t.Errorf("%s after %v", s, time.Since(start))
		}
	}
}

func TestOtherZone(t *testing.T) {
	t.Parallel()
	v := broken(t, "ecr-api-other-zone")
	got, _ := ask(v, "udp", vpc.AmazonDNSAddr(), v.Host(vpc.ECRAPI), dns.TypeA)
	if len(got) != 2 || got[0] != v.Addresses(vpc.ECRAPI)[1] {
		t.Errorf("ecr.api is %v", got)
	}
	for _, a := range got {
		if s := follow(t, v, vpc.ECRAPI, a, ""); s != "ok" {
			t.Errorf("%s: %s", a, s)
		}
	}
}

func TestTruncated(t *testing.T) {
	t.Parallel()
	v := broken(t, "dns-tcp-blocked")
	err := v.Exec(func() error {
		q := new(dns.Msg).SetQuestion(dns.Fqdn(v.Host(vpc.ECRAPI)), dns.TypeA)
		m, _, err := (&dns.Client{Timeout: patience}).Exchange(q, netip.AddrPortFrom(vpc.AmazonDNSAddr(), 53).String())
		if err == nil && !m.Truncated {
			err = errors.New("the answer is whole")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, s := ask(v, "tcp", vpc.AmazonDNSAddr(), v.Host(vpc.ECRAPI), dns.TypeA); s != "silence" {
		t.Errorf("over TCP: %s", s)
	}
}

// The name that the search domain makes leads elsewhere.
func TestSearchCapture(t *testing.T) {
	t.Parallel()
	v := broken(t, "search-capture")
	conf := files(t, v)["resolv.conf"]
	if !strings.HasPrefix(conf, "nameserver 10.20.0.2\nsearch corp.example\noptions ndots:6\n") {
		t.Errorf("resolv.conf:\n%s", conf)
	}
	got, _ := ask(v, "udp", vpc.AmazonDNSAddr(), v.Host(vpc.APIServer)+".corp.example", dns.TypeA)
	if len(got) != 1 || got[0].String() != "10.20.0.99" {
		t.Errorf("below the search domain: %v", got)
	}
	if s := shake(t, v, segment(t, v, got[0], 0), vpc.EC2, "", &tls.Config{ServerName: v.Host(vpc.EC2)}); s != "wrong host" {
		t.Errorf("the server there: %s", s)
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		code    string
		expired bool
	}{"anonymous-401": {code: "Success"}, "role-untrusted": {code: "AssumeRoleUnauthorizedAccess"}, "credentials-expired": {"Success", true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := broken(t, name)
			var doc struct {
				Code       string
				Expiration time.Time
			}
			if err := json.Unmarshal([]byte(metadata(t, v, "meta-data/iam/security-credentials/lab-node")), &doc); err != nil {
				t.Fatal(err)
			}
			if doc.Code != want.code || !doc.Expiration.IsZero() && time.Now().After(doc.Expiration) != want.expired {
				t.Errorf("%+v", doc)
			}
		})
	}
}

// A VPC can be built with its clock ahead from the start.
func TestClockOffset(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{ClockOffset: 72 * time.Hour})
	view := look(t, v)
	if view["time"] != "72h0m0s" || view[vpc.EC2] != "expired" || view[vpc.APIServer] != "expired" {
		t.Errorf("%v", view)
	}
}

// Endpoints in another VPC and S3 by an interface endpoint are healthy shapes.
func TestShapes(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{SharedEndpoints: true, S3Interface: true})
	view := look(t, v)
	for _, s := range []string{vpc.EC2, vpc.ECRAPI, vpc.ECRDKR, vpc.S3} {
		if view[s] != "ok" || view["dns "+s] != "private" {
			t.Errorf("%s: %s, %s", s, view["dns "+s], view[s])
		}
	}
	if a := v.Addresses(vpc.EC2)[0]; a.String() != "10.40.1.101" {
		t.Errorf("ec2 is %s", a)
	}
	if a := v.Addresses(vpc.S3)[0]; a.String() != "10.20.1.104" {
		t.Errorf("S3 is %s", a)
	}
}
