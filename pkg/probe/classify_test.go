package probe_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

// The cases that no test brings the kernel to. The others are in kernel_test.go.
func TestClassify(t *testing.T) {
	t.Parallel()
	dial := func(errno syscall.Errno) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errno)}
	}
	verification := func(err error) error { return &tls.CertificateVerificationError{Err: err} }
	tests := []struct {
		name  string
		err   error
		phase probe.Phase
		cause probe.Cause
		errno int
	}{
		{"nil", nil, probe.PhaseConnect, "", 0},
		{"canceled", fmt.Errorf("x: %w", context.Canceled), probe.PhaseTLS, probe.Canceled, 0},
		{"EPERM", dial(syscall.EPERM), probe.PhaseConnect, probe.TCPProhibited, 1},
		{"ENETDOWN", dial(syscall.ENETDOWN), probe.PhaseConnect, probe.TCPNetUnreachable, 100},
		{"IPv6 disabled", dial(syscall.EAFNOSUPPORT), probe.PhaseConnect, probe.TCPNetUnreachable, 97},
		{"ETIMEDOUT", dial(syscall.ETIMEDOUT), probe.PhaseConnect, probe.TCPTimeout, 110},
		{"ECONNRESET", dial(syscall.ECONNRESET), probe.PhaseConnect, probe.TCPReset, 104},
		{"EADDRNOTAVAIL", dial(syscall.EADDRNOTAVAIL), probe.PhaseConnect, probe.TCPExhausted, 99},
		{"ENOBUFS", dial(syscall.ENOBUFS), probe.PhaseConnect, probe.TCPExhausted, 105},
		{"EPROTO", dial(syscall.EPROTO), probe.PhaseConnect, probe.Other, 71},
		{"deadline", context.DeadlineExceeded, probe.PhaseConnect, probe.TCPTimeout, 0},
		{"EPERM for a question", dial(syscall.EPERM), probe.PhaseResolve, probe.DNSUnreachable, 1},
		{"EMFILE for a question", dial(syscall.EMFILE), probe.PhaseResolve, probe.Other, 24},
		{"ETIMEDOUT in TLS", dial(syscall.ETIMEDOUT), probe.PhaseTLS, probe.TLSTimeout, 110},
		{"EPIPE in TLS", dial(syscall.EPIPE), probe.PhaseTLS, probe.TLSReset, 32},
		{"EHOSTUNREACH in TLS", dial(syscall.EHOSTUNREACH), probe.PhaseTLS, probe.TLSError, 113},
		{"own alert", &net.OpError{Op: "local error", Err: tls.AlertError(40)}, probe.PhaseTLS, probe.TLSError, 0},
		{"no system roots", verification(x509.SystemRootsError{}), probe.PhaseTLS, probe.TLSUnknownAuthority, 0},
		{
			"not a server certificate", verification(x509.CertificateInvalidError{Reason: x509.IncompatibleUsage}),
			probe.PhaseTLS, probe.TLSBadCertificate, 0,
		},
		{"unexpected EOF", fmt.Errorf("x: %w", io.ErrUnexpectedEOF), probe.PhaseHTTP, probe.HTTPClosed, 0},
		{"EPIPE", dial(syscall.EPIPE), probe.PhaseHTTP, probe.HTTPReset, 32},
		{"bad MAC", &net.OpError{Op: "local error", Err: tls.AlertError(20)}, probe.PhaseHTTP, probe.Other, 0},
		{"no phase", errors.New("x"), "", probe.Other, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cause, errno := probe.Classify(tt.err, tt.phase)
			if cause != tt.cause || errno != tt.errno {
				t.Errorf("%v is %q, errno %d; want %q, errno %d", tt.err, cause, errno, tt.cause, tt.errno)
			}
		})
	}
}

// What Go does with an alert. When this fails, a new Go has changed the type
// behind it: alertNumber must follow.
func TestAlertOfCryptoTLS(t *testing.T) {
	t.Parallel()
	server := probetest.Serve(t, probetest.Listen(t, loopback), alert(70))
	conn, err := net.DialTimeout("tcp", server.String(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	err = tls.Client(conn, &tls.Config{ServerName: "x"}).HandshakeContext(t.Context())
	if number, ok := probe.AlertNumber(err); !ok || number != 70 {
		t.Errorf("%#v has alert %d, %v", err, number, ok)
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		t.Error("errors.As finds tls.AlertError now: alertNumber needs no reflection any more")
	}
}

func TestLinkLocal(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"169.254.169.253": true, "169.255.0.1": false, "fe80::1%eth0": true, "fd00:ec2::253": true,
		"fd00:ec3::253": false, "10.0.0.2": false, "::ffff:169.254.169.253": true,
	} {
		if got := probe.LinkLocal(netip.MustParseAddr(addr)); got != want {
			t.Errorf("LinkLocal(%s) = %v", addr, got)
		}
	}
}

// In no second are there more than 256 packets, and what is saved up is not wasted.
func TestBucket(t *testing.T) {
	t.Parallel()
	var b probe.Bucket
	now := time.Unix(1000, 0)
	var sent []time.Time
	for i := range 2000 {
		at := b.Reserve(now)
		if at.Before(now) {
			t.Fatal("a packet in the past")
		}
		if i == 63 && !at.Equal(now) {
			t.Error("64 packets may go at once")
		}
		sent = append(sent, at)
		if i%500 == 499 {
			now = at.Add(10 * time.Second)
		}
	}
	for i := range sent {
		if i >= 256 && sent[i].Sub(sent[i-256]) < time.Second {
			t.Fatalf("packets %d to %d within %v", i-256, i, sent[i].Sub(sent[i-256]))
		}
	}
}

func TestRoundBudget(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]time.Duration{0: 6 * time.Second, 64: 6 * time.Second, 65: 12 * time.Second, 1000: 96 * time.Second} {
		if got := probe.RoundBudget(n); got != want {
			t.Errorf("round of %d targets: %v, want %v", n, got, want)
		}
	}
}
