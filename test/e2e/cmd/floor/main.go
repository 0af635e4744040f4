// Command floor does the network steps that a healthy bootstrap cannot do without and
// nothing else: metadata requests, and DNS questions, connections, handshakes and
// requests of each endpoint, with no judging, no rendering and no waiting for one
// another. The benchmark holds nodeprep against it. It prints what it did, so that
// the benchmark can check that it did not flatter itself by doing less.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// did counts what a run sent.
type did struct {
	TotalMS        float64 `json:"totalMS"`
	SlowestChainMS float64 `json:"slowestChainMS"`
	Metadata       int64   `json:"metadata"`
	Questions      int64   `json:"questions"`
	Connections    int64   `json:"connections"`
	Handshakes     int64   `json:"handshakes"`
	Requests       int64   `json:"requests"`
}

// floor is the state of one run.
type floor struct {
	began   time.Time
	server  string
	api     string // the host that gets GET /readyz
	apiCA   *x509.CertPool
	roots   *tls.Config
	apiTLS  *tls.Config
	meta    *http.Client
	token   string
	slots   chan struct{} // concurrent handshakes: more are no faster
	pending chan struct{} // concurrent connects, as nodeprep limits them
	asking  chan struct{} // concurrent questions, as nodeprep limits them

	metadata, questions, connections, handshakes, requests, slowest atomic.Int64
}

func main() { os.Exit(run()) }

func run() int {
	server := flag.String("dns", "", "address:port of the DNS server")
	api := flag.String("api", "", "host of the API server")
	ca := flag.String("ca", "", "PEM file of the cluster's CA")
	hosts := flag.String("hosts", "", "file with the other host names, one a line")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	f := &floor{
		began: time.Now(), server: *server, api: *api,
		roots: &tls.Config{MinVersion: tls.VersionTLS12},
		slots: make(chan struct{}, 64), pending: make(chan struct{}, 256), asking: make(chan struct{}, 128),
		meta: &http.Client{Transport: &http.Transport{MaxConnsPerHost: 8, MaxIdleConnsPerHost: 8}},
	}
	pem, err := os.ReadFile(*ca)
	if err != nil {
		return failed(err)
	}
	list, err := os.ReadFile(*hosts)
	if err != nil {
		return failed(err)
	}
	f.apiCA = x509.NewCertPool()
	f.apiCA.AppendCertsFromPEM(pem)
	f.apiTLS = &tls.Config{RootCAs: f.apiCA, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if err := f.all(ctx, append([]string{*api}, strings.Fields(string(list))...)); err != nil {
		return failed(err)
	}
	err = json.NewEncoder(os.Stdout).Encode(did{
		TotalMS: ms(time.Since(f.began)), SlowestChainMS: float64(f.slowest.Load()) / 1000,
		Metadata: f.metadata.Load(), Questions: f.questions.Load(), Connections: f.connections.Load(),
		Handshakes: f.handshakes.Load(), Requests: f.requests.Load(),
	})
	if err != nil {
		return failed(err)
	}
	return 0
}

// all runs every step with as little waiting as the order of things allows.
func (f *floor) all(ctx context.Context, hosts []string) error {
	var err error
	if f.token, err = f.imds(ctx, http.MethodPut, "api/token"); err != nil {
		return err
	}
	var mac string
	first := []func() error{}
	for _, path := range []string{
		"user-data", "dynamic/instance-identity/document", "meta-data/local-hostname",
		"meta-data/local-ipv4", "meta-data/services/domain", "meta-data/iam/security-credentials/",
	} {
		first = append(first, func() error { _, err := f.imds(ctx, http.MethodGet, path); return err })
	}
	first = append(first, func() (err error) { mac, err = f.imds(ctx, http.MethodGet, "meta-data/mac"); return err })
	if err := together(first); err != nil {
		return err
	}
	var rest []func() error
	for _, leaf := range []string{
		"vpc-ipv4-cidr-block", "vpc-ipv4-cidr-blocks", "subnet-ipv4-cidr-block",
		"vpc-ipv6-cidr-blocks", "subnet-ipv6-cidr-blocks", "ipv6s",
	} {
		rest = append(rest, func() error {
			_, err := f.imds(ctx, http.MethodGet, "meta-data/network/interfaces/macs/"+mac+"/"+leaf)
			return err
		})
	}
	metadata := time.Since(f.began)
	for _, h := range hosts {
		rest = append(rest, func() error { return f.chain(ctx, h, metadata) })
	}
	return together(rest)
}

// chain resolves a host and goes through all its addresses at once. What counts
// as its length is what its own steps took after the metadata was there.
func (f *floor) chain(ctx context.Context, host string, metadata time.Duration) error {
	began := time.Now()
	addrs, err := f.resolve(ctx, host)
	if err != nil {
		return err
	}
	resolved := time.Since(began)
	var steps []func() error
	for _, a := range addrs {
		steps = append(steps, func() error {
			took, err := f.dial(ctx, host, a)
			f.longest(metadata + resolved + took)
			return err
		})
	}
	return together(steps)
}

// longest keeps the length of the slowest chain.
func (f *floor) longest(chain time.Duration) {
	for {
		old := f.slowest.Load()
		if chain.Microseconds() <= old || f.slowest.CompareAndSwap(old, chain.Microseconds()) {
			return
		}
	}
}

// resolve asks the server for A records.
func (f *floor) resolve(ctx context.Context, host string) ([]string, error) {
	f.asking <- struct{}{}
	defer func() { <-f.asking }()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", f.server)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	// A lost packet ends the run with an error: it would not be a floor.
	if err := conn.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(host), dns.TypeA)
	m.SetEdns0(1232, false)
	b, err := m.Pack()
	if err != nil {
		return nil, err
	}
	f.questions.Add(1)
	if _, err := conn.Write(b); err != nil {
		return nil, err
	}
	buf := make([]byte, 1232)
	n, err := conn.Read(buf)
	if err != nil {
		return nil, err
	}
	if err := m.Unpack(buf[:n]); err != nil {
		return nil, err
	}
	var out []string
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			out = append(out, a.A.String())
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no address", host)
	}
	return out, nil
}

// dial connects, shakes hands, and asks the API server for its health. It
// returns how long that took, without waiting for a slot.
func (f *floor) dial(ctx context.Context, host, addr string) (time.Duration, error) {
	f.pending <- struct{}{}
	began := time.Now()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(addr, "443"))
	took := time.Since(began)
	<-f.pending
	if err != nil {
		return took, err
	}
	defer func() { _ = conn.Close() }()
	f.connections.Add(1)
	f.slots <- struct{}{}
	defer func() { <-f.slots }()
	began = time.Now()
	err = f.talk(ctx, host, conn)
	return took + time.Since(began), err
}

// talk does what follows on a connection.
func (f *floor) talk(ctx context.Context, host string, conn net.Conn) error {
	config := f.roots.Clone()
	if host == f.api {
		config = f.apiTLS.Clone()
	}
	config.ServerName = host
	c := tls.Client(conn, config)
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	f.handshakes.Add(1)
	defer func() { _ = c.Close() }() // says goodbye, as nodeprep does
	if host != f.api {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/readyz", http.NoBody)
	if err != nil {
		return err
	}
	f.requests.Add(1)
	if err := req.Write(c); err != nil {
		return err
	}
	res, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

// imds makes one metadata request.
func (f *floor) imds(ctx context.Context, method, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://169.254.169.254/latest/"+path, http.NoBody)
	if err != nil {
		return "", err
	}
	if f.token == "" {
		req.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", "300")
	} else {
		req.Header.Set("X-aws-ec2-metadata-token", f.token)
	}
	f.metadata.Add(1)
	res, err := f.meta.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return strings.TrimSpace(string(b)), err
}

// together runs functions side by side and returns the first error.
func together(fs []func() error) error {
	var wg sync.WaitGroup
	errs := make(chan error, len(fs))
	for _, f := range fs {
		wg.Go(func() {
			if err := f(); err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// failed prints an error and returns the exit code for it.
func failed(err error) int {
	fmt.Fprintln(os.Stderr, "floor:", err)
	return 1
}

// ms is a duration in milliseconds.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
