package probe

import (
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tcpInfo asks the kernel what it knows of a connection; nil when it does not say.
func tcpInfo(conn net.Conn) *TCPInfo {
	var info *unix.TCPInfo
	control(conn, func(fd int) {
		// Fails for what is not TCP: there is nothing to know then.
		info, _ = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if info == nil {
		return nil
	}
	return &TCPInfo{
		RTT:           Duration(time.Duration(info.Rtt) * time.Microsecond),
		Retransmits:   int(info.Total_retrans),
		Unacked:       int(info.Unacked),
		BytesAcked:    info.Bytes_acked,
		BytesReceived: info.Bytes_received,
		SndMSS:        int(info.Snd_mss),
		PathMTU:       int(info.Pmtu),
	}
}

// control calls f with the descriptor of conn, unless conn is closed.
func control(conn net.Conn, f func(fd int)) {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { f(int(fd)) }) // closed: f is not called
}

// Segments of KindMSSClamp, in bytes. 1220 is what every IPv6 path carries (RFC 8200
// section 5: 1280 less two headers); 1000 is below any IPv4 path in use.
const (
	clampIPv4 = 1000
	clampIPv6 = 1220
)

// clamp limits the segments of a connection that is about to be made, both ways: the
// SYN tells the peer (tcp(7), TCP_MAXSEG). It is a Control of net.Dialer.
func clamp(network, _ string, c syscall.RawConn) error {
	size := clampIPv4
	if network == "tcp6" {
		size = clampIPv6
	}
	var err error
	if closed := c.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, size))
	}); closed != nil {
		return closed
	}
	return err
}
