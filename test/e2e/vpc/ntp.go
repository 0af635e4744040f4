package vpc

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A timeServer answers NTP requests (RFC 5905) as 169.254.169.123 does.
type timeServer struct {
	now      func() time.Time
	requests atomic.Int64

	mu      sync.Mutex
	sockets []net.PacketConn
}

// listen serves port 123 of an address. It wants to be called in the router's namespace.
func (s *timeServer) listen(ctx context.Context, a netip.Addr) error {
	c, err := new(net.ListenConfig).ListenPacket(ctx, "udp", netip.AddrPortFrom(a, 123).String())
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.sockets = append(s.sockets, c)
	s.mu.Unlock()
	go s.run(c)
	return nil
}

func (s *timeServer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.sockets {
		_ = c.Close()
	}
}

// run answers until its socket is closed.
func (s *timeServer) run(c net.PacketConn) {
	request := make([]byte, 1024)
	for {
		n, from, err := c.ReadFrom(request)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil || n < ntpLength || request[0]&7 != ntpClient:
			continue
		}
		s.requests.Add(1)
		_, _ = c.WriteTo(s.answer(request[:n]), from) // who does not get it asks again
	}
}

const (
	ntpLength = 48 // bytes of a packet without extensions
	ntpClient = 3  // mode
	ntpServer = 4
)

func (s *timeServer) answer(request []byte) []byte {
	now := s.now()
	b := make([]byte, ntpLength)
	b[0] = request[0]&0x38 | ntpServer // no leap second, the version that was asked
	b[1] = 3                           // stratum
	b[2] = request[2]                  // poll interval
	b[3] = 0xe8                        // precision: 2⁻²⁴ s
	copy(b[12:16], []byte{169, 254, 169, 122})
	binary.BigEndian.PutUint64(b[16:], ntpTime(now.Add(-10*time.Second))) // when the clock was last set
	copy(b[24:32], request[40:48])                                        // the client's transmit time
	binary.BigEndian.PutUint64(b[32:], ntpTime(now))
	binary.BigEndian.PutUint64(b[40:], ntpTime(s.now()))
	return b
}

// ntpTime is seconds since 1900 and, in the lower half, their fraction.
func ntpTime(t time.Time) uint64 {
	const since1900 = 2208988800 // Unix time 0
	return uint64(t.Unix()+since1900)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}
