package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

const (
	// maxAddresses bounds what one answer can make us connect to.
	maxAddresses = 64
	// maxCNAMEs is more than any resolver follows.
	maxCNAMEs = 16
)

// Why a datagram is no answer to the question that was asked.
var (
	errNotAnswer  = errors.New("not an answer to this question")
	errCNAMEChain = errors.New("CNAME chain loops or is longer than 16")
)

// errBadName is the error for what no question can be asked about.
var errBadName = errors.New("not a domain name (RFC 1035 section 2.3.4)")

// answer is what one response says about one question.
type answer struct {
	rcode     int
	truncated bool
	addresses []netip.Addr // sorted, distinct
	cnames    []string
	ttl       uint32
}

// parseAnswer reads a response to the question for records of type qtype of the
// fully qualified name asked under id. An error means that the message must not
// be believed; the right answer may still follow.
func parseAnswer(msg []byte, id uint16, name string, qtype uint16) (answer, error) {
	const headerLen = 12
	if len(msg) < headerLen || binary.BigEndian.Uint16(msg) != id {
		return answer{}, fmt.Errorf("%w: another id", errNotAnswer)
	}
	var m dns.Msg
	err := m.Unpack(msg)
	if !m.Response || m.Opcode != dns.OpcodeQuery {
		return answer{}, fmt.Errorf("%w: not a response to a query", errNotAnswer)
	}
	// A server that cannot read the question need not repeat it (RFC 1035 section 4.1.1).
	if len(m.Question) == 0 && err == nil && m.Rcode == dns.RcodeFormatError {
		return answer{rcode: m.Rcode}, nil
	}
	if len(m.Question) != 1 || m.Question[0].Qtype != qtype || m.Question[0].Qclass != dns.ClassINET ||
		!strings.EqualFold(m.Question[0].Name, name) {
		return answer{}, fmt.Errorf("%w: another question", errNotAnswer)
	}
	if m.Truncated {
		// What was cut off need not be readable.
		return answer{rcode: m.Rcode, truncated: true}, nil
	}
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errNotAnswer, err)
	}
	a := answer{rcode: m.Rcode}
	return a, a.follow(m.Answer, name, qtype)
}

// follow walks from name over CNAME records to the addresses. Records of names
// outside that chain are nothing we asked for.
func (a *answer) follow(records []dns.RR, name string, qtype uint16) error {
	for range maxCNAMEs + 1 {
		var alias *dns.CNAME
		for _, rr := range records {
			h := rr.Header()
			if h.Class != dns.ClassINET || !strings.EqualFold(h.Name, name) {
				continue
			}
			switch rr := rr.(type) {
			case *dns.CNAME:
				if alias == nil {
					alias = rr
				}
			case *dns.A:
				if addr, ok := netip.AddrFromSlice(rr.A.To4()); ok && qtype == dns.TypeA {
					a.add(addr, h.Ttl)
				}
			case *dns.AAAA:
				if addr, ok := netip.AddrFromSlice(rr.AAAA.To16()); ok && qtype == dns.TypeAAAA {
					a.add(addr, h.Ttl)
				}
			}
		}
		if len(a.addresses) > 0 || alias == nil {
			slices.SortFunc(a.addresses, netip.Addr.Compare)
			return nil
		}
		a.lowerTTL(alias.Hdr.Ttl)
		name = alias.Target
		a.cnames = append(a.cnames, strings.TrimSuffix(name, "."))
	}
	return errCNAMEChain
}

func (a *answer) add(addr netip.Addr, ttl uint32) {
	a.lowerTTL(ttl)
	if len(a.addresses) < maxAddresses && !slices.Contains(a.addresses, addr) {
		a.addresses = append(a.addresses, addr)
	}
}

func (a *answer) lowerTTL(ttl uint32) {
	if len(a.addresses) == 0 && len(a.cnames) == 0 || ttl < a.ttl {
		a.ttl = ttl
	}
}

// fill copies the answer into the lookup and names its cause.
func (a *answer) fill(l *Lookup) {
	l.RCode = dns.RcodeToString[a.rcode]
	if l.RCode == "" {
		l.RCode = fmt.Sprintf("RCODE%d", a.rcode) // the presentation of RFC 3597 for what has no name
	}
	l.CNAMEs = a.cnames
	switch a.rcode {
	case dns.RcodeSuccess:
		l.Addresses = a.addresses
		l.TTL = a.ttl
		if len(a.addresses) == 0 {
			l.Cause = DNSNoData
		}
	case dns.RcodeNameError:
		l.Cause = DNSNXDomain
	case dns.RcodeServerFailure:
		l.Cause = DNSServFail
	case dns.RcodeRefused:
		l.Cause = DNSRefused
	default:
		l.Cause = DNSOtherRCode
	}
}

// packQuestion makes the query for name without an id. Only with EDNS may an
// answer over UDP exceed 512 bytes; 1232 passes every IPv6 path unfragmented.
func packQuestion(name string, qtype uint16, edns bool) ([]byte, error) {
	// Packing alone lets names of more than 255 bytes through.
	if _, ok := dns.IsDomainName(name); !ok {
		return nil, errBadName
	}
	m := dns.Msg{
		MsgHdr:   dns.MsgHdr{RecursionDesired: true},
		Question: []dns.Question{{Name: name, Qtype: qtype, Qclass: dns.ClassINET}},
	}
	if edns {
		m.SetEdns0(1232, false)
	}
	return m.Pack()
}
