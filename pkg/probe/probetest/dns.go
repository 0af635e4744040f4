package probetest

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// A DNSAnswer says which messages to send for a query, none for silence. Over
// TCP each is framed. It is called from several goroutines.
type DNSAnswer func(query []byte, tcp bool) [][]byte

// ServeDNS answers on UDP and TCP at addr until the test ends, and returns
// where. Port 0 takes one that is free for both.
func ServeDNS(tb testing.TB, addr netip.AddrPort, answer DNSAnswer) netip.AddrPort {
	tb.Helper()
	udp, tcp := listenBoth(tb, addr)
	Serve(tb, tcp, func(c net.Conn) {
		var size [2]byte
		for {
			if _, err := io.ReadFull(c, size[:]); err != nil {
				return
			}
			query := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(c, query); err != nil {
				return
			}
			for _, msg := range answer(query, true) {
				framed := binary.BigEndian.AppendUint16(nil, uint16(len(msg)))
				if _, err := c.Write(append(framed, msg...)); err != nil {
					return
				}
			}
		}
	})
	return serveUDP(tb, udp, answer)
}

// ServeUDP is ServeDNS without TCP.
func ServeUDP(tb testing.TB, addr netip.AddrPort, answer DNSAnswer) netip.AddrPort {
	tb.Helper()
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		tb.Fatal(err)
	}
	return serveUDP(tb, udp, answer)
}

func serveUDP(tb testing.TB, udp *net.UDPConn, answer DNSAnswer) netip.AddrPort {
	tb.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, peer, err := udp.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // the ICMP error of an earlier answer
			}
			for _, msg := range answer(buf[:n:n], false) {
				_, _ = udp.WriteToUDPAddrPort(msg, peer) // lost answers happen
			}
		}
	}()
	tb.Cleanup(func() {
		_ = udp.Close()
		<-done
	})
	return netip.MustParseAddrPort(udp.LocalAddr().String())
}

func listenBoth(tb testing.TB, addr netip.AddrPort) (*net.UDPConn, net.Listener) {
	tb.Helper()
	for range 100 {
		udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		if err != nil {
			tb.Fatal(err)
		}
		// Hundreds of questions come at once.
		_ = udp.SetReadBuffer(4 << 20)
		tcp, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", udp.LocalAddr().String())
		if err == nil {
			return udp, tcp
		}
		_ = udp.Close()
		if addr.Port() != 0 {
			tb.Fatal(err)
		}
	}
	tb.Fatal("no port is free for UDP and TCP")
	return nil, nil
}

// A Zone answers from a table: name in lower case without trailing dot to
// records in zone file form without owner, TTL and class ("A 192.0.2.1", "CNAME
// other.example"). A name that is missing gives NXDOMAIN, one without records of
// the type NODATA. The only entry may be an rcode in capitals ("SERVFAIL") or
// "silent".
type Zone map[string][]string

// Answer is the DNSAnswer of the zone. Records have a TTL of 60 s.
func (z Zone) Answer(query []byte, _ bool) [][]byte {
	var q dns.Msg
	if err := q.Unpack(query); err != nil || len(q.Question) != 1 {
		return nil
	}
	m := new(dns.Msg).SetReply(&q)
	m.RecursionAvailable = true
	name := q.Question[0].Name
	for range 16 {
		records, ok := z[strings.ToLower(strings.TrimSuffix(name, "."))]
		if !ok {
			m.Rcode = dns.RcodeNameError
			break
		}
		alias := ""
		for _, r := range records {
			if r == "silent" {
				return nil
			}
			if code, ok := dns.StringToRcode[r]; ok {
				m.Rcode = code
				break
			}
			rr, err := dns.NewRR(name + " 60 IN " + r)
			if err != nil {
				panic(err) // a mistake of the test
			}
			if c, ok := rr.(*dns.CNAME); ok {
				alias = dns.Fqdn(c.Target)
				c.Target = alias
				m.Answer = append(m.Answer, c)
			} else if rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		if alias == "" {
			break
		}
		name = alias
	}
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	return [][]byte{packed}
}
