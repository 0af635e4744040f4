package probetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// Listen opens a TCP listener for Serve. Port 0 takes a free one.
func Listen(tb testing.TB, addr netip.AddrPort) net.Listener {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", addr.String())
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// Serve calls handle for each connection until the test ends, closes it
// afterwards, and returns the address of the listener.
func Serve(tb testing.TB, l net.Listener, handle func(net.Conn)) netip.AddrPort {
	tb.Helper()
	var (
		mu      sync.Mutex
		over    bool
		open    = make(map[net.Conn]bool)
		running sync.WaitGroup
	)
	running.Go(func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // the peer was faster
			}
			mu.Lock()
			open[c] = true
			if over {
				_ = c.Close()
			}
			mu.Unlock()
			running.Go(func() {
				handle(c)
				_ = c.Close()
				mu.Lock()
				delete(open, c)
				mu.Unlock()
			})
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		over = true
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

// ServeTLS completes handshakes at l and answers requests with handler, or waits
// for the peer to close when handler is nil.
func ServeTLS(tb testing.TB, l net.Listener, config *tls.Config, handler http.Handler) netip.AddrPort {
	tb.Helper()
	if handler == nil {
		return Serve(tb, l, func(c net.Conn) {
			_, _ = io.Copy(io.Discard, tls.Server(c, config))
		})
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // failed handshakes are what tests are about
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(tls.NewListener(l, config))
	}()
	tb.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

// A CA issues certificates.
type CA struct {
	Cert *x509.Certificate
	// PEM is the bundle that trusts this CA.
	PEM []byte

	key *ecdsa.PrivateKey
}

// NewCA makes a CA with the common name name.
func NewCA(tb testing.TB, name string) *CA {
	tb.Helper()
	key := newKey(tb)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return &CA{Cert: cert, PEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key: key}
}

// A Leaf describes a server certificate.
type Leaf struct {
	// Names are the subject alternative names, DNS names or addresses.
	Names []string
	// NotBefore and NotAfter are an hour away when zero.
	NotBefore, NotAfter time.Time
}

// Issue makes a server certificate.
func (ca *CA) Issue(tb testing.TB, leaf Leaf) tls.Certificate {
	tb.Helper()
	key := newKey(tb)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "server"},
		NotBefore:    leaf.NotBefore,
		NotAfter:     leaf.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if leaf.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if leaf.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	for _, name := range leaf.Names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Cert, key.Public(), ca.key)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}
