package vpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// A hello is what a middlebox sees of a ClientHello.
type hello struct {
	name string // server_name
	size int    // bytes of its TLS record, the header included
}

// A reaction is what a middlebox does about a ClientHello. The zero value lets it pass.
type reaction struct {
	// silent says nothing and keeps the connection, cut resets it, and an alert other
	// than 0 is a fatal one of that number (RFC 8446 section 6).
	silent, cut bool
	alert       byte
}

// The alerts that are used.
const (
	alertHandshakeFailure = 40
	alertProtocolVersion  = 70
	alertUnrecognizedName = 112
)

// onHello reads the ClientHello and does what rule says. When that is nothing,
// it returns a connection from which the ClientHello is read again.
func onHello(ctx context.Context, c net.Conn, rule func(hello) reaction) (net.Conn, bool) {
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	record := make([]byte, 5)
	if _, err := io.ReadFull(c, record); err != nil {
		_ = c.Close()
		return nil, false
	}
	record = append(record, make([]byte, int(record[3])<<8|int(record[4]))...)
	if _, err := io.ReadFull(c, record[5:]); err != nil {
		_ = c.Close()
		return nil, false
	}
	_ = c.SetReadDeadline(time.Time{})
	r := rule(hello{name: serverName(ctx, record), size: len(record)})
	switch {
	case r.silent:
		_, _ = io.Copy(io.Discard, c)
	case r.cut:
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // a close is a reset then
		}
	case r.alert != 0:
		_, _ = c.Write([]byte{21, 3, 3, 0, 2, 2, r.alert})
		if half, ok := c.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		_, _ = io.Copy(io.Discard, c)
	default:
		return &replayed{Conn: c, first: bytes.NewReader(record)}, true
	}
	_ = c.Close()
	return nil, false
}

// replayed is a connection that begins with bytes that were read before.
type replayed struct {
	net.Conn
	first *bytes.Reader
}

// Read returns the bytes that were read before, then those that follow.
func (c *replayed) Read(b []byte) (int, error) {
	if c.first.Len() > 0 {
		return c.first.Read(b)
	}
	return c.Conn.Read(b)
}

// serverName lets crypto/tls read the ClientHello and stops it there.
func serverName(ctx context.Context, record []byte) (name string) {
	errRead := errors.New("the ClientHello was read")
	nobody, end := net.Pipe()
	_ = end.Close()
	conn := tls.Server(&replayed{Conn: nobody, first: bytes.NewReader(record)}, &tls.Config{
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			name = h.ServerName
			return nil, errRead
		},
	})
	// It fails in any case; there is nothing else to hear.
	_ = conn.HandshakeContext(ctx)
	return name
}
