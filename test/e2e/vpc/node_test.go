package vpc_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
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
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "unknown authority"
	case errors.As(err, new(x509.HostnameError)):
		return "wrong host"
	case errors.As(err, new(x509.CertificateInvalidError)):
		return "expired"
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
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(v.RootsPEM())
	if service == vpc.APIServer {
		roots = x509.NewCertPool()
		roots.AppendCertsFromPEM(v.ClusterCA())
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	conn := tls.Client(c, &tls.Config{RootCAs: roots, ServerName: v.Host(service)})
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
	wg.Wait()
	return view
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
