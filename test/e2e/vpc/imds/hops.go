package imds

import (
	"net"
	"net/http"
	"syscall"

	"golang.org/x/sys/unix"
)

// limitHops gives the packets of the coming answer the TTL that the instance's
// hop limit asks for. Only answers to token requests are limited: a client
// behind too many hops connects, and then waits for a token that never comes.
func (s *Service) limitHops(r *http.Request) {
	conn, ok := r.Context().Value(connKey{}).(*net.TCPConn)
	if !ok {
		return
	}
	limit := s.Instance().HopLimit
	if limit == 0 || r.Method != http.MethodPut {
		limit = 64
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return // the connection is closed
	}
	setTTL(raw, limit, conn.LocalAddr())
}

func setTTL(raw syscall.RawConn, ttl int, local net.Addr) {
	level, option := unix.IPPROTO_IP, unix.IP_TTL
	if a, ok := local.(*net.TCPAddr); ok && a.IP.To4() == nil {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS
	}
	// Control fails when the connection is closed, the option only on no socket at all.
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), level, option, ttl) })
}
