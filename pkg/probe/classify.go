package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"syscall"
	"time"
)

// Classify says what err means in the given phase, and which error number the
// kernel gave, 0 when it gave none. A nil error has no cause.
//
// Types and wrapped values decide, never the text. What each situation returns
// is measured by the package's tests against real sockets and routes.
func Classify(err error, phase Phase) (Cause, int) {
	if err == nil {
		return "", 0
	}
	var number int
	errno, isErrno := errors.AsType[syscall.Errno](err)
	if isErrno {
		number = int(errno)
	}
	if errors.Is(err, context.Canceled) {
		return Canceled, number
	}
	switch phase {
	case PhaseResolve:
		return classifyResolve(err, errno), number
	case PhaseConnect:
		return classifyConnect(err, errno), number
	case PhaseTLS:
		return classifyTLS(err, errno), number
	case PhaseProxy:
		return classifyProxy(err, errno), number
	case PhaseHTTP:
		return classifyHTTP(err, errno), number
	case PhaseUDP:
		if errno == syscall.ECONNREFUSED {
			return "", number // the answer of a peer without such a port: nothing stands between
		}
		return classifyConnect(err, errno), number
	default:
		return Other, number
	}
}

func classifyResolve(err error, errno syscall.Errno) Cause {
	switch errno {
	case syscall.ECONNREFUSED:
		return DNSPortClosed
	case syscall.EHOSTUNREACH, syscall.EHOSTDOWN, syscall.ENETUNREACH, syscall.ENETDOWN,
		syscall.EACCES, syscall.EPERM, syscall.EINVAL, syscall.EAFNOSUPPORT:
		return DNSUnreachable
	default:
		return timeoutOr(err, DNSTimeout)
	}
}

func classifyConnect(err error, errno syscall.Errno) Cause {
	switch errno {
	case syscall.ECONNREFUSED:
		return TCPRefused
	case syscall.EHOSTUNREACH, syscall.EHOSTDOWN:
		return TCPHostUnreachable
	case syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EAFNOSUPPORT:
		return TCPNetUnreachable
	case syscall.EACCES, syscall.EPERM:
		return TCPProhibited
	case syscall.EINVAL:
		return TCPBlackhole
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL:
		return TCPExhausted
	case syscall.ECONNRESET:
		return TCPReset
	default:
		return timeoutOr(err, TCPTimeout)
	}
}

func timeoutOr(err error, timeout Cause) Cause {
	if timedOut(err) {
		return timeout
	}
	return Other
}

func classifyTLS(err error, errno syscall.Errno) Cause {
	if verification, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return classifyCertificate(verification.Err, time.Now())
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return TLSNotTLS
	}
	if _, ok := alertNumber(err); ok {
		return TLSAlert
	}
	switch {
	case reset(errno):
		return TLSReset
	case timedOut(err):
		return TLSTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return TLSClosed
	default:
		return TLSError
	}
}

// classifyCertificate says why a chain does not verify at the time now.
func classifyCertificate(err error, now time.Time) Cause {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return TLSWrongHost
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return TLSUnknownAuthority
	}
	// Without any root on the machine no chain can end in one.
	if _, ok := errors.AsType[x509.SystemRootsError](err); ok {
		return TLSUnknownAuthority
	}
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	if !ok || invalid.Reason != x509.Expired {
		return TLSBadCertificate
	}
	// crypto/x509 has one reason for both ends of the validity.
	if invalid.Cert != nil && now.Before(invalid.Cert.NotBefore) {
		return TLSNotYetValid
	}
	return TLSExpired
}

// classifyProxy has the causes of HTTP, and of the handshake with a proxy that is
// spoken to over TLS those that HTTP has no like of.
func classifyProxy(err error, errno syscall.Errno) Cause {
	switch {
	case errors.Is(err, errProxyStatus):
		return ProxyStatus
	case !errors.Is(err, errProxyTLS):
		return classifyHTTP(err, errno)
	}
	switch cause := classifyTLS(err, errno); cause {
	case TLSTimeout:
		return HTTPTimeout
	case TLSReset:
		return HTTPReset
	case TLSClosed:
		return HTTPClosed
	default:
		return cause
	}
}

func classifyHTTP(err error, errno syscall.Errno) Cause {
	if _, ok := errors.AsType[*requestError](err); ok {
		return Other
	}
	if _, ok := alertNumber(err); ok {
		return TLSAlert
	}
	switch {
	case reset(errno):
		return HTTPReset
	case timedOut(err):
		return HTTPTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errNoReuse):
		return HTTPClosed
	}
	// What is left is either the connection's trouble or net/http's opinion
	// of the bytes, which has no exported type.
	if _, ok := errors.AsType[*net.OpError](err); ok || errno != 0 {
		return Other
	}
	return HTTPMalformed
}

func reset(errno syscall.Errno) bool {
	return errno == syscall.ECONNRESET || errno == syscall.EPIPE || errno == syscall.ECONNABORTED
}

// timedOut reports whether a deadline or the kernel's own patience (ETIMEDOUT) ended the step.
func timedOut(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// alertNumber finds the alert that the peer sent. crypto/tls keeps its alert type
// to itself and errors.As with tls.AlertError does not match it outside QUIC, but
// the number is the value of a uint8 kind in the chain. An alert of our own has
// the Op "local error".
func alertNumber(err error) (int, bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" || op.Err == nil {
		return 0, false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 || v.Type().PkgPath() != "crypto/tls" {
		return 0, false
	}
	return int(v.Uint()), true
}
