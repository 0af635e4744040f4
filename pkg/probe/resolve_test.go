package probe_test

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"

	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

// reply makes an answer to query with the given records and lets edit spoil it.
func reply(query []byte, edit func(*dns.Msg), records ...string) []byte {
	var q dns.Msg
	if err := q.Unpack(query); err != nil {
		panic(err)
	}
	m := new(dns.Msg).SetReply(&q)
	for _, r := range records {
		rr, err := dns.NewRR(r)
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	if edit != nil {
		edit(m)
	}
	msg, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return msg
}

// What a server may answer, and what a lookup makes of it.
func TestHostileServer(t *testing.T) {
	t.Parallel()
	const name = "a.test."
	good := "a.test. 60 IN A 192.0.2.1"
	want := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	once := func(edit func(*dns.Msg), records ...string) probetest.DNSAnswer {
		return func(query []byte, _ bool) [][]byte { return [][]byte{reply(query, edit, records...)} }
	}
	// spoiled answers come first, the right one right behind them.
	behind := func(edit func(*dns.Msg)) probetest.DNSAnswer {
		return func(query []byte, _ bool) [][]byte {
			return [][]byte{reply(query, edit, "a.test. 60 IN A 198.51.100.66"), reply(query, nil, good)}
		}
	}
	chain := func(n int) []string {
		records := []string{"a.test. 60 IN CNAME c0.test."}
		for i := range n - 1 {
			records = append(records, "c"+strconv.Itoa(i)+".test. 60 IN CNAME c"+strconv.Itoa(i+1)+".test.")
		}
		return append(records, "c"+strconv.Itoa(n-1)+".test. 5 IN A 192.0.2.1")
	}
	hundred := make([]string, 100)
	for i := range hundred {
		hundred[i] = "a.test. 60 IN A 192.0.2." + strconv.Itoa(200-i)
	}
	truncate := func(m *dns.Msg) { m.Truncated = true; m.Answer = nil }
	tests := []struct {
		name   string
		answer probetest.DNSAnswer
		cause  probe.Cause
		addrs  []netip.Addr
		check  func(probe.Lookup) bool
	}{
		{name: "good", answer: once(nil, good), addrs: want, check: func(l probe.Lookup) bool {
			return l.Sent == 1 && l.TTL == 60 && l.RCode == "NOERROR"
		}},
		{name: "silence", answer: once(func(m *dns.Msg) { m.Response = false }), cause: probe.DNSMalformed},
		{name: "wrong id", answer: once(func(m *dns.Msg) { m.Id++ }, good), cause: probe.DNSMalformed},
		{name: "wrong id first", answer: behind(func(m *dns.Msg) { m.Id++ }), addrs: want},
		{name: "wrong name", answer: once(func(m *dns.Msg) { m.Question[0].Name = "b.test." }, good), cause: probe.DNSMalformed},
		{name: "wrong name first", answer: behind(func(m *dns.Msg) { m.Question[0].Name = "b.test." }), addrs: want},
		{name: "wrong type first", answer: behind(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTXT }), addrs: want},
		{name: "wrong class first", answer: behind(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), addrs: want},
		{name: "no question first", answer: behind(func(m *dns.Msg) { m.Question = nil }), addrs: want},
		{name: "a query first", answer: behind(func(m *dns.Msg) { m.Response = false }), addrs: want},
		{name: "mixed case", answer: once(func(m *dns.Msg) { m.Question[0].Name = "A.tEsT." }, "A.TEST. 60 IN A 192.0.2.1"), addrs: want},
		{name: "garbage", answer: func([]byte, bool) [][]byte { return [][]byte{[]byte("garbage"), {}} }, cause: probe.DNSMalformed},
		{name: "cut off", answer: func(query []byte, _ bool) [][]byte {
			msg := reply(query, nil, good)
			return [][]byte{msg[:len(msg)-3]}
		}, cause: probe.DNSMalformed},
		{name: "other owner", answer: once(nil, "b.test. 60 IN A 192.0.2.7"), cause: probe.DNSNoData},
		{name: "other class", answer: once(nil, "a.test. 60 CH A 192.0.2.7"), cause: probe.DNSNoData},
		{name: "other type", answer: once(nil, "a.test. 60 IN AAAA 2001:db8::1"), cause: probe.DNSNoData},
		{name: "chain", answer: once(nil, chain(16)...), addrs: want, check: func(l probe.Lookup) bool {
			return len(l.CNAMEs) == 16 && l.CNAMEs[15] == "c15.test" && l.TTL == 5
		}},
		{name: "chain in reverse", answer: func(query []byte, _ bool) [][]byte {
			records := chain(5)
			slices.Reverse(records)
			return [][]byte{reply(query, nil, records...)}
		}, addrs: want},
		{name: "chain too long", answer: once(nil, chain(18)...), cause: probe.DNSMalformed},
		{name: "chain to itself", answer: once(nil, "a.test. 60 IN CNAME A.test."), cause: probe.DNSMalformed},
		{name: "chain to nothing", answer: once(nil, "a.test. 60 IN CNAME b.test."), cause: probe.DNSNoData, check: func(l probe.Lookup) bool {
			return slices.Equal(l.CNAMEs, []string{"b.test"})
		}},
		{name: "same address twice", answer: once(nil, good, good), addrs: want},
		{name: "truncated", answer: func(query []byte, tcp bool) [][]byte {
			if tcp {
				return [][]byte{reply(query, nil, hundred...)}
			}
			return [][]byte{reply(query, truncate)}
		}, check: func(l probe.Lookup) bool {
			return l.Cause == "" && len(l.Addresses) == 64 && slices.IsSortedFunc(l.Addresses, netip.Addr.Compare)
		}},
		{name: "truncated in the middle of a record", answer: func(query []byte, tcp bool) [][]byte {
			msg := reply(query, func(m *dns.Msg) { m.Truncated = !tcp }, good)
			if !tcp {
				msg = msg[:len(msg)-3]
			}
			return [][]byte{msg}
		}, addrs: want},
		{name: "truncated, TCP closed", answer: func(query []byte, tcp bool) [][]byte {
			if tcp {
				return [][]byte{{}}
			}
			return [][]byte{reply(query, truncate)}
		}, cause: probe.DNSMalformed},
		{name: "truncated, TCP silent", answer: func(query []byte, tcp bool) [][]byte {
			if tcp {
				return nil
			}
			return [][]byte{reply(query, truncate)}
		}, cause: probe.DNSNoTCP},
		{name: "truncated over TCP too", answer: once(truncate), cause: probe.DNSMalformed},
		{name: "NXDOMAIN", answer: once(func(m *dns.Msg) { m.Rcode = dns.RcodeNameError }), cause: probe.DNSNXDomain},
		{name: "NODATA", answer: once(nil), cause: probe.DNSNoData},
		{name: "SERVFAIL", answer: once(func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }), cause: probe.DNSServFail},
		{name: "REFUSED", answer: once(func(m *dns.Msg) { m.Rcode = dns.RcodeRefused }), cause: probe.DNSRefused},
		{name: "NOTIMP", answer: once(func(m *dns.Msg) { m.Rcode = dns.RcodeNotImplemented }), cause: probe.DNSOtherRCode, check: func(l probe.Lookup) bool {
			return l.RCode == "NOTIMP"
		}},
		{name: "no EDNS", answer: func(query []byte, _ bool) [][]byte {
			var q dns.Msg
			if q.Unpack(query) == nil && q.IsEdns0() != nil {
				return [][]byte{reply(query, func(m *dns.Msg) { m.Rcode = dns.RcodeFormatError; m.Question = nil })}
			}
			return [][]byte{reply(query, nil, good)}
		}, addrs: want, check: func(l probe.Lookup) bool { return l.Sent == 2 && time.Duration(l.Took) < 900*time.Millisecond }},
		{name: "FORMERR always", answer: once(func(m *dns.Msg) { m.Rcode = dns.RcodeFormatError }), cause: probe.DNSOtherRCode},
		{name: "second packet answered", answer: func() probetest.DNSAnswer {
			var n atomic.Int32
			return func(query []byte, _ bool) [][]byte {
				if n.Add(1) == 1 {
					return nil
				}
				return [][]byte{reply(query, nil, good)}
			}
		}(), addrs: want, check: func(l probe.Lookup) bool { return l.Sent == 2 }},
	}
	p := &probe.Prober{Timing: probe.Timing{
		DNSSends: []time.Duration{0, time.Second}, DNS: 3 * time.Second, DNSTCP: 2 * time.Second,
	}}
	for _, tt := range tests {
		p.Servers = append(p.Servers, probetest.ServeDNS(t, loopback, tt.answer))
	}
	report := p.Run(t.Context(), []probe.Target{{Host: strings.TrimSuffix(name, "."), Port: closedPort}}, nil)
	for i, tt := range tests {
		l := report.Results[0].Lookups[i]
		if l.Cause != tt.cause || tt.addrs != nil && !slices.Equal(l.Addresses, tt.addrs) || (l.Cause == "") != (len(l.Addresses) > 0) {
			t.Errorf("%s: %+v, want cause %q and %v", tt.name, l, tt.cause, tt.addrs)
		}
		if tt.check != nil && !tt.check(l) {
			t.Errorf("%s: %+v", tt.name, l)
		}
	}
}

// Truncated, and nothing listens on TCP: a cause of its own, with the error number.
func TestNoTCP(t *testing.T) {
	t.Parallel()
	server := probetest.ServeUDP(t, loopback, func(query []byte, _ bool) [][]byte {
		return [][]byte{reply(query, func(m *dns.Msg) { m.Truncated = true })}
	})
	p := &probe.Prober{Servers: []netip.AddrPort{server}}
	report := p.Run(t.Context(), []probe.Target{{Host: "a.test", Port: 1}}, nil)
	if l := report.Results[0].Lookups[0]; l.Cause != probe.DNSNoTCP || l.Errno != 111 {
		t.Errorf("lookup: %+v", l)
	}
}

// A name that cannot be asked for is a result like any other.
func TestBadNames(t *testing.T) {
	t.Parallel()
	server := probetest.ServeDNS(t, loopback, probetest.Zone{}.Answer)
	p := &probe.Prober{Servers: []netip.AddrPort{server}}
	targets := []probe.Target{
		{Name: "label", Host: strings.Repeat("a", 64) + ".test", Port: 443},
		{Name: "dots", Host: "a..test", Port: 443},
		{Name: "long", Host: strings.Repeat("abcdefg.", 40), Port: 443},
	}
	for _, res := range p.Run(t.Context(), targets, nil).Results {
		if l := res.Lookups[0]; res.Pending || l.Cause != probe.Other || l.Err == "" || l.Sent != 0 {
			t.Errorf("%s: %+v", res.Target, res)
		}
	}
}

// One question per name, server and type, whatever the targets.
func TestQuestionsAreShared(t *testing.T) {
	t.Parallel()
	answer, asked := counted(probetest.Zone{"a.test": {"A 127.0.0.1"}}.Answer)
	p := &probe.Prober{Servers: []netip.AddrPort{probetest.ServeDNS(t, loopback, answer)}}
	targets := []probe.Target{{Name: "1", Host: "a.test", Port: closedPort}, {Name: "2", Host: "A.test", Port: closedPort + 1}}
	report := p.Run(t.Context(), targets, nil)
	wantEqual(t, "questions", asked.Load(), 1)
	for i, res := range report.Results {
		wantEqual(t, "port", res.Paths[0].Address.Port(), uint16(closedPort+i))
		wantEqual(t, "cause", res.Paths[0].Cause(), probe.TCPRefused)
	}
}

// A link-local server gets no more than its share of packets, and waiting for
// that is no time of the server.
func TestLinkLocalServer(t *testing.T) {
	t.Parallel()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	addr, err := netlink.ParseAddr("169.254.169.253/32")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrReplace(lo, addr); err != nil {
		t.Fatal(err)
	}
	server := probetest.ServeDNS(t, netip.MustParseAddrPort("169.254.169.253:0"), probetest.Zone{}.Answer)
	p := &probe.Prober{Servers: []netip.AddrPort{server}, Timing: probe.Timing{DNS: 700 * time.Millisecond}}
	var targets []probe.Target
	for i := range 256 {
		targets = append(targets, probe.Target{Host: "n" + strconv.Itoa(i) + ".test", Port: 443})
	}
	report := p.Run(t.Context(), targets, nil)
	if took := time.Duration(report.Took); took < 900*time.Millisecond || took > 3*time.Second {
		t.Errorf("256 questions took %v, want a second", took)
	}
	for i, res := range report.Results {
		if l := res.Lookups[0]; l.Cause != probe.DNSNXDomain {
			t.Fatalf("question %d: %+v", i, l)
		}
	}
	if first, last := report.Results[0].Lookups[0], report.Results[255].Lookups[0]; first.At > last.At {
		t.Errorf("the first target was asked for at %v, the last at %v", first.At, last.At)
	}
}

func FuzzParseAnswer(f *testing.F) {
	query, err := probe.PackQuestion("a.test.")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(reply(query, nil, "a.test. 60 IN A 192.0.2.1"))
	f.Add(reply(query, nil, "a.test. 60 IN CNAME b.test.", "b.test. 1 IN A 192.0.2.1", "b.test. 1 IN A 192.0.2.2"))
	f.Add(reply(query, nil, "a.test. 60 IN CNAME a.test."))
	f.Add(reply(query, func(m *dns.Msg) { m.Truncated = true }))
	f.Add(reply(query, func(m *dns.Msg) { m.Rcode = dns.RcodeFormatError; m.Question = nil }))
	f.Add([]byte{0, 0, 0x81, 0x80})
	f.Fuzz(func(t *testing.T, msg []byte) {
		l, truncated, err := probe.ParseAnswer(msg, 0, "a.test.", dns.TypeA)
		switch {
		case err != nil || truncated:
			return
		case l.RCode == "":
			t.Error("an answer without rcode")
		case (l.Cause == "") != (len(l.Addresses) > 0):
			t.Errorf("cause %q with addresses %v", l.Cause, l.Addresses)
		case len(l.Addresses) > 64 || len(l.CNAMEs) > 16:
			t.Errorf("%d addresses, %d aliases", len(l.Addresses), len(l.CNAMEs))
		case !slices.IsSortedFunc(l.Addresses, netip.Addr.Compare):
			t.Errorf("not sorted: %v", l.Addresses)
		}
		for i, a := range l.Addresses {
			if !a.Is4() || i > 0 && a == l.Addresses[i-1] {
				t.Errorf("addresses: %v", l.Addresses)
			}
		}
	})
}
