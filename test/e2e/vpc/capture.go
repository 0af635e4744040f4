package vpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// A Flow is what the node sent to one place: the packets of one protocol to one
// address and port, or in answer to what came from there.
type Flow struct {
	Proto string // tcp, udp, icmp, icmp6
	// To is the remote end; its port is 0 without ports.
	To netip.AddrPort
	// Packets counts what left the node, and At says when.
	Packets int
	At      []time.Time
	// Names are those asked for on port 53 over UDP, without a trailing dot.
	Names []string
	// Begun says when each TCP connection of the node's was begun, and each question
	// sent on port 53 over UDP. What is repeated from the same port is not counted.
	Begun []time.Time
}

// A Capture sees every IP packet that leaves the node, loopback included.
type Capture struct {
	file   *os.File
	ended  chan struct{}
	buffer []byte // of one packet
	flows  map[flowKey]*Flow
	begun  map[beginning]bool
}

// A beginning is a connection, or a question with its type.
type beginning struct {
	flowKey
	port     uint16 // the node's
	question string
}

type flowKey struct {
	proto string
	to    netip.AddrPort
}

// Capture begins to watch the node's packets. Call Stop.
func (v *VPC) Capture() (*Capture, error) {
	c := &Capture{ended: make(chan struct{}), buffer: make([]byte, 1<<16), flows: map[flowKey]*Flow{}, begun: map[beginning]bool{}}
	err := v.Exec(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(networkOrder(unix.ETH_P_ALL)))
		if err != nil {
			return fmt.Errorf("open a packet socket: %w", err)
		}
		// A burst of a thousand targets must fit while this process is busy.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20)
		c.file = os.NewFile(uintptr(fd), "packets")
		// The kernel's time: this process may come to a packet much later.
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1))
	})
	if err != nil {
		return nil, err
	}
	go c.read()
	return c, nil
}

// networkOrder swaps the bytes of a 16-bit number on the machines we build for.
func networkOrder(n uint16) uint16 {
	return binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, n))
}

// Stop ends the capture and returns the flows, by protocol and destination. It
// fails when packets were lost.
func (c *Capture) Stop() ([]Flow, error) {
	if err := c.file.SetReadDeadline(time.Now()); err != nil {
		return nil, err
	}
	<-c.ended
	raw, err := c.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var stats *unix.TpacketStats
	controlErr := raw.Control(func(fd uintptr) {
		for c.next(int(fd)) == nil { // what the reader had not come to
		}
		stats, err = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	})
	err = errors.Join(err, controlErr, c.file.Close())
	if err == nil && stats.Drops > 0 {
		err = fmt.Errorf("%d packets were not captured", stats.Drops)
	}
	out := make([]Flow, 0, len(c.flows))
	for _, f := range c.flows {
		slices.Sort(f.Names)
		f.Names = slices.Compact(f.Names)
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b Flow) int {
		if n := strings.Compare(a.Proto, b.Proto); n != 0 {
			return n
		}
		return a.To.Compare(b.To)
	})
	return out, err
}

func (c *Capture) read() {
	defer close(c.ended)
	raw, err := c.file.SyscallConn()
	if err != nil {
		return
	}
	for err == nil {
		// Fails once the deadline is set.
		err = raw.Read(func(fd uintptr) bool { return !errors.Is(c.next(int(fd)), unix.EAGAIN) })
	}
}

// next notes one packet that has arrived.
func (c *Capture) next(fd int) error {
	var control [64]byte // one time stamp
	n, controlLen, _, from, err := unix.Recvmsg(fd, c.buffer, control[:], 0)
	if err != nil {
		return err
	}
	if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
		c.note(c.buffer[:n], stamp(control[:controlLen]))
	}
	return nil
}

// stamp is the time stamp among the control messages of a packet (socket(7), SO_TIMESTAMPNS).
func stamp(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Now()
	}
	for _, m := range messages {
		var ts unix.Timespec
		if m.Header.Type != unix.SCM_TIMESTAMPNS {
			continue
		}
		if _, err := binary.Decode(m.Data, binary.NativeEndian, &ts); err == nil {
			return time.Unix(ts.Unix())
		}
	}
	return time.Now()
}

// note counts one IP packet.
func (c *Capture) note(b []byte, at time.Time) {
	proto, to, segment, ok := parsePacket(b)
	if !ok {
		return
	}
	key := flowKey{proto, to}
	f := c.flows[key]
	if f == nil {
		f = &Flow{Proto: proto, To: to}
		c.flows[key] = f
	}
	f.Packets++
	f.At = append(f.At, at)
	began := func(question string) {
		begin := beginning{key, binary.BigEndian.Uint16(segment), question}
		if !c.begun[begin] {
			c.begun[begin] = true
			f.Begun = append(f.Begun, at)
		}
	}
	switch {
	case proto == "tcp" && segment[13]&(synFlag|ackFlag) == synFlag:
		began("")
	case proto == "udp" && to.Port() == 53:
		var m dns.Msg
		if m.Unpack(segment[8:]) == nil {
			for _, q := range m.Question {
				f.Names = append(f.Names, strings.ToLower(strings.TrimSuffix(q.Name, ".")))
				began(q.String())
			}
		}
	}
}

// Flags of a TCP segment (RFC 9293 section 3.1).
const (
	synFlag = 1 << 1
	ackFlag = 1 << 4
)

// parsePacket takes an IP packet apart; segment is what follows its header. Extension
// headers of IPv6 and fragments are not expected on the way out of a node.
func parsePacket(b []byte) (proto string, to netip.AddrPort, segment []byte, ok bool) {
	if len(b) < 20 {
		return "", to, nil, false
	}
	var number byte
	var dst netip.Addr
	switch b[0] >> 4 {
	case 4:
		head := int(b[0]&15) * 4
		if len(b) < head {
			return "", to, nil, false
		}
		number, dst, segment = b[9], netip.AddrFrom4([4]byte(b[16:20])), b[head:]
	case 6:
		if len(b) < 40 {
			return "", to, nil, false
		}
		number, dst, segment = b[6], netip.AddrFrom16([16]byte(b[24:40])), b[40:]
	default:
		return "", to, nil, false
	}
	switch number {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP:
		proto, least := "udp", 8
		if number == unix.IPPROTO_TCP {
			proto, least = "tcp", 20
		}
		if len(segment) < least {
			return "", to, nil, false
		}
		return proto, netip.AddrPortFrom(dst, binary.BigEndian.Uint16(segment[2:])), segment, true
	case unix.IPPROTO_ICMP:
		return "icmp", netip.AddrPortFrom(dst, 0), segment, true
	case unix.IPPROTO_ICMPV6:
		return "icmp6", netip.AddrPortFrom(dst, 0), segment, true
	default:
		return fmt.Sprintf("ip protocol %d", number), netip.AddrPortFrom(dst, 0), segment, true
	}
}
