package vpc_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// patience is how long a step may take before it counts as silence: a packet may
// be lost to a busy machine and is sent again after a second.
const patience = 2500 * time.Millisecond

// dial connects to an address as a program on the node would.
func dial(ctx context.Context, v *vpc.VPC, address string) (net.Conn, error) {
	var c net.Conn
	err := v.Exec(func() error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		var err error
		c, err = new(net.Dialer).DialContext(ctx, "tcp", address)
		return err
	})
	return c, err
}

// ask puts one question to one server and says what came: the addresses
// sorted, or what went wrong.
func ask(v *vpc.VPC, network string, server netip.Addr, name string, qtype uint16) ([]netip.Addr, string) {
	var answer *dns.Msg
	err := v.Exec(func() error {
		q := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
		c := &dns.Client{Net: network, Timeout: patience}
		var err error
		answer, _, err = c.Exchange(q, netip.AddrPortFrom(server, 53).String())
		return err
	})
	if err != nil {
		return nil, symptom(err)
	}
	if answer.Rcode != dns.RcodeSuccess {
		return nil, dns.RcodeToString[answer.Rcode]
	}
	var addresses []netip.Addr
	for _, rr := range answer.Answer {
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		if a, ok := netip.AddrFromSlice(ip); ok {
			addresses = append(addresses, a.Unmap())
		}
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	switch {
	case addresses == nil:
		return nil, "NODATA"
	case addresses[0].IsPrivate():
		return addresses, "private"
	default:
		return addresses, "public"
	}
}

// symptom names an error.
func symptom(err error) string {
	var errno syscall.Errno
	var header tls.RecordHeaderError
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "unknown authority"
	case errors.As(err, new(x509.HostnameError)):
		return "wrong host"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "expired"
	case errors.As(err, &invalid):
		return "invalid"
	case errors.Is(err, io.EOF):
		return "closed"
	case errors.As(err, &header):
		return fmt.Sprintf("not TLS: %s", header.RecordHeader[:])
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "silence"
	default:
		return err.Error()
	}
}

// follow connects, shakes hands and, with a path, sends a request.
func follow(t *testing.T, v *vpc.VPC, service string, a netip.Addr, path string) string {
	t.Helper()
	c, err := dial(t.Context(), v, netip.AddrPortFrom(a, 443).String())
	if err != nil {
		return symptom(err)
	}
	defer func() { _ = c.Close() }()
	return shake(t, v, c, service, path, &tls.Config{ServerName: v.Host(service)})
}

// shake does the part of follow that comes after the connection.
func shake(t *testing.T, v *vpc.VPC, c net.Conn, service, path string, config *tls.Config) string {
	t.Helper()
	pem, err := os.ReadFile(v.RootsFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	if service == vpc.APIServer {
		roots = x509.NewCertPool()
		roots.AppendCertsFromPEM(v.ClusterCA())
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	config.RootCAs = roots
	conn := tls.Client(c, config)
	if err := conn.HandshakeContext(t.Context()); err != nil {
		if s := symptom(err); s != "silence" {
			return s
		}
		return "TLS silence"
	}
	if path == "" {
		return "ok"
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+v.Host(service)+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := req.Write(conn); err != nil {
		return symptom(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return "HTTP " + symptom(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "HTTP " + symptom(err)
	}
	kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if len(body) > 2 {
		body = nil
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", res.StatusCode, kind, body))
}

// metadata asks for a token and then for a path.
func metadata(t *testing.T, v *vpc.VPC, path string) string {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return dial(ctx, v, address)
		},
	}}
	do := func(method, path, header, value string) (int, string, error) {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://169.254.169.254/latest/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(header, value)
		res, err := client.Do(req)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		return res.StatusCode, string(b), err
	}
	status, token, err := do(http.MethodPut, "api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	if err == nil && status == http.StatusOK {
		status, token, err = do(http.MethodGet, path, "X-aws-ec2-metadata-token", token)
	}
	switch {
	case err != nil:
		return symptom(err)
	case status != http.StatusOK:
		return fmt.Sprint(status)
	default:
		return token
	}
}

// look is all that can be seen from the node: for each service what DNS says
// and what every address does, and metadata. Where all servers, or all
// addresses, show the same, it is said once.
func look(t *testing.T, v *vpc.VPC) map[string]string {
	t.Helper()
	servers := slices.Clone(v.Options().DNSServers)
	if !slices.Contains(servers, vpc.LinkLocalDNSAddr()) {
		servers = append(servers, vpc.LinkLocalDNSAddr())
	}
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		view = map[string]string{}
	)
	set := func(key, value string) {
		mu.Lock()
		defer mu.Unlock()
		view[key] = value
	}
	for _, s := range []string{vpc.APIServer, vpc.EC2, vpc.ECRAPI, vpc.ECRDKR, vpc.S3} {
		wg.Go(func() {
			answers := map[string]string{}
			var addresses []netip.Addr
			for i, server := range servers {
				got, what := ask(v, "udp", server, v.Host(s), dns.TypeA)
				answers[server.String()] = what
				if i == 0 {
					addresses = got
				}
			}
			set("dns "+s, once(answers))
			path := ""
			if s == vpc.APIServer {
				path = "/readyz"
			}
			outcomes := map[string]string{}
			for _, a := range addresses {
				outcomes[a.String()] = follow(t, v, s, a, path)
			}
			set(s, once(outcomes))
		})
	}
	for _, path := range []string{
		"meta-data/placement/region", "meta-data/local-hostname", "meta-data/iam/security-credentials/", "user-data",
	} {
		wg.Go(func() { set(path, metadata(t, v, path)) })
	}
	wg.Go(func() { set("time", askTime(v)) })
	wg.Go(func() { set("proxy", askProxy(t, v)) })
	wg.Wait()
	maps.Copy(view, files(t, v))
	return view
}

// files are what programs on the node find there.
func files(t *testing.T, v *vpc.VPC) map[string]string {
	t.Helper()
	view := map[string]string{}
	root := t.TempDir()
	if err := v.Prepare(root); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{v.ResolvConf(), filepath.Join(filepath.Dir(v.ResolvConf()), "hosts"), v.RootsFile()} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		view[filepath.Base(path)] = string(b)
	}
	for _, s := range v.Environ() {
		if name, value, _ := strings.Cut(s, "="); strings.HasSuffix(strings.ToUpper(name), "_PROXY") {
			view[name] = value
		}
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			view[strings.TrimPrefix(path, root)] = "there"
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// What the kernel has is seen before any packet is sent.
	err = v.Exec(func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			if l.Attrs().Name == "lo" {
				continue
			}
			addresses, err := netlink.AddrList(l, netlink.FAMILY_ALL)
			if err != nil {
				return err
			}
			state := l.Attrs().OperState.String()
			for _, a := range addresses {
				if a.Scope == unix.RT_SCOPE_UNIVERSE {
					state += " " + a.IPNet.String()
				}
			}
			view[l.Attrs().Name] = state
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return view
}

// askTime says how far the time service is ahead of this machine.
func askTime(v *vpc.VPC) string {
	var ahead time.Duration
	err := v.Exec(func() error {
		c, err := (&net.Dialer{Timeout: patience}).Dial("udp", netip.AddrPortFrom(vpc.TimeAddr(), 123).String())
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(patience))
		b := make([]byte, 48)
		b[0] = 0x23 // version 4, client
		if _, err := c.Write(b); err != nil {
			return err
		}
		if _, err := c.Read(b); err != nil {
			return err
		}
		const since1900 = 2208988800
		ahead = time.Until(time.Unix(int64(binary.BigEndian.Uint32(b[40:]))-since1900, 0))
		return nil
	})
	if err != nil {
		return symptom(err)
	}
	return ahead.Round(10 * time.Second).String()
}

// askProxy asks the proxy for a connection to ec2.
func askProxy(t *testing.T, v *vpc.VPC) string {
	t.Helper()
	c, err := dial(t.Context(), v, netip.AddrPortFrom(vpc.ProxyAddr(), 3128).String())
	if err != nil {
		return symptom(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	host := v.Host(vpc.EC2) + ":443"
	if _, err := fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", host, host); err != nil {
		return symptom(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return "HTTP " + symptom(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Sprint(res.StatusCode)
	}
	return fmt.Sprint("200 ", shake(t, v, c, vpc.EC2, "", &tls.Config{ServerName: v.Host(vpc.EC2)}))
}

// once joins outcomes by key, or says the one that all have.
func once(m map[string]string) string {
	var parts []string
	values := map[string]bool{}
	for k, v := range m {
		parts = append(parts, k+" "+v)
		values[v] = true
	}
	if len(values) == 1 {
		for v := range values {
			return v
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
