package bootstrap

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/nodeprep/nodeprep/pkg/netcfg"
)

// A Packet is one destination that a round may contact. What the kernel sends on its
// own to get there (ARP, neighbour discovery, ICMP errors) is not listed.
type Packet struct {
	Proto string `json:"proto"` // tcp or udp
	// Address is where it goes; without one it goes to the addresses that any of the DNS
	// servers in the list gives for Host.
	Address netip.Addr `json:"address,omitzero"`
	Host    string     `json:"host,omitempty"`
	Port    uint16     `json:"port"`
	// Names are those asked of a DNS server, without a trailing dot.
	Names []string `json:"names,omitempty"`
	// PrivateOnly says that of the addresses of Host only those of a VPC or of a
	// private network are contacted.
	PrivateOnly bool `json:"privateOnly,omitempty"`
	// When is always, or the condition in words.
	When string `json:"when"`
	Why  string `json:"why"`
}

// When packets are sent.
const (
	whenAlways     = "always"
	whenNoRoute    = "when this machine has no route to 169.254.169.254"
	whenTruncated  = "when an answer over UDP is cut off"
	whenSearched   = "when the name itself is not found"
	whenFailing    = "when a lookup or a connection of the name is late or fails"
	whenLate       = "when a connection is late, at most 4 a round"
	whenClock      = "when a certificate is outside its validity"
	whenProxyFails = "when the proxy fails for the target"
	whenStarted    = "after the kubelet was started"
)

// kubeletHealth is where the kubelet answers for its health unless it is moved.
var kubeletHealth = netip.MustParseAddrPort("127.0.0.1:10248")

// metadataAddresses are those of the metadata service (EC2 user guide, "Access
// instance metadata").
var metadataAddresses = [...]netip.Addr{netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("fd00:ec2::254")}

// Packets lists every destination, port, protocol and name that a round on this network
// may contact, and why. An experiment that is switched off is not in it.
func (p Plan) Packets(s netcfg.State) []Packet {
	l := packetList{plan: p, state: s}
	l.at("tcp", netip.AddrPortFrom(metadataAddresses[0], 80), whenAlways, "read the instance's metadata and user data")
	if _, v6 := p.families(s); v6 {
		l.at("tcp", netip.AddrPortFrom(metadataAddresses[1], 80), whenNoRoute, "read the instance's metadata and user data")
	}
	l.lookups()
	for _, t := range p.Targets {
		l.target(t)
	}
	l.experiments()
	l.at("tcp", kubeletHealth, whenStarted, "ask the kubelet whether it is healthy")
	return l.packets
}

// A packetList is a list under construction.
type packetList struct {
	plan    Plan
	state   netcfg.State
	packets []Packet
}

// add appends a packet; one that is in the list for another reason is not repeated.
func (l *packetList) add(p Packet) {
	if !slices.ContainsFunc(l.packets, func(o Packet) bool {
		return o.Proto == p.Proto && o.Address == p.Address && o.Host == p.Host && o.Port == p.Port && o.When == p.When &&
			o.PrivateOnly == p.PrivateOnly && slices.Equal(o.Names, p.Names)
	}) {
		l.packets = append(l.packets, p)
	}
}

func (l *packetList) at(proto string, a netip.AddrPort, when, why string, names ...string) {
	l.add(Packet{Proto: proto, Address: a.Addr(), Port: a.Port(), Names: names, When: when, Why: why})
}

// host appends a packet to a name or an address literal.
func (l *packetList) host(p Packet, host string) {
	if a, err := netip.ParseAddr(host); err == nil {
		p.Address = a
	} else {
		p.Host = host
	}
	l.add(p)
}

// question appends both protocols of a question: TCP repeats what was cut off.
func (l *packetList) question(server netip.AddrPort, when, why string, names []string) {
	if len(names) == 0 {
		return
	}
	l.at("udp", server, when, why, names...)
	l.at("tcp", server, whenTruncated, why, names...)
}

// lookups are the questions to the configured servers.
func (l *packetList) lookups() {
	var always, failing, searched []string
	note := func(list *[]string, host string) {
		if _, err := netip.ParseAddr(host); err != nil && !slices.Contains(*list, host) {
			*list = append(*list, host)
		}
	}
	for _, t := range l.plan.Targets {
		if proxy, _, ok := proxyHost(t); ok {
			note(&always, proxy)
			if l.plan.Policy.Experiments.DirectPath == directPrivate {
				note(&failing, t.Host)
			}
		} else {
			note(&always, t.Host)
		}
		if !t.System {
			continue
		}
		if _, err := netip.ParseAddr(t.Host); err == nil {
			continue
		}
		list := &searched
		if strings.Count(t.Host, ".") < l.state.DNS.NDots {
			list = &always // a name with so few dots is first looked up below them (resolv.conf(5))
		}
		for _, domain := range l.state.DNS.Search {
			note(list, t.Host+"."+strings.TrimSuffix(domain, "."))
		}
	}
	failing = slices.DeleteFunc(failing, func(name string) bool { return slices.Contains(always, name) })
	servers := l.state.DNS.Servers
	for _, server := range servers {
		l.question(server, whenAlways, "look up the targets", always)
		l.question(server, whenProxyFails, "look up the targets without their proxy", failing)
		l.question(server, whenSearched, "look up the API server as this machine's programs do", searched)
	}
	for _, server := range l.own() {
		for _, t := range l.plan.Targets {
			if t.System {
				why := "look up the API server as this machine's programs do"
				l.question(server, whenAlways, why, slices.DeleteFunc(slices.Clone(always), func(name string) bool {
					return name != t.Host && !strings.HasPrefix(name, t.Host+".")
				}))
				l.question(server, whenSearched, why, searched)
			}
		}
	}
}

// own are the servers that programs ask and nodeprep does not: systemd-resolved's
// stub, or this machine where resolv.conf names none (resolv.conf(5)).
func (l *packetList) own() []netip.AddrPort {
	switch {
	case l.state.DNS.Stub:
		return []netip.AddrPort{netip.MustParseAddrPort("127.0.0.53:53")}
	case len(l.state.DNS.Servers) == 0:
		return []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53"), netip.MustParseAddrPort("[::1]:53")}
	default:
		return nil
	}
}

// target are the connections to one target.
func (l *packetList) target(t Target) {
	why := t.Name + ": " + t.Why
	direct := Packet{Proto: "tcp", Port: t.Port, When: whenAlways, Why: why}
	if proxy, port, ok := proxyHost(t); ok {
		l.host(Packet{Proto: "tcp", Port: port, When: whenAlways, Why: t.Name + " is reached through this proxy"}, proxy)
		if l.plan.Policy.Experiments.DirectPath != directPrivate {
			return
		}
		direct.When, direct.PrivateOnly, direct.Why = whenProxyFails, true, "tell the proxy's failure from that of "+t.Name
	}
	l.host(direct, t.Host)
	for _, a := range t.Hosts {
		if !direct.PrivateOnly || l.plan.isPrivate(a) {
			fixed := direct
			fixed.Address, fixed.Why = a, t.Name+": the hosts file has this address"
			l.add(fixed)
		}
	}
}

// experiments are what may be sent beside the targets, as Plan.Experiments allows it.
func (l *packetList) experiments() {
	e := l.plan.Experiments(l.state)
	var names []string
	for _, t := range l.plan.Targets {
		if t.Compare && !slices.Contains(names, t.Host) {
			names = append(names, t.Host)
		}
	}
	for _, server := range e.References {
		if !slices.Contains(l.state.DNS.Servers, server) {
			l.question(server, whenFailing, "compare the configured DNS servers with AmazonProvidedDNS", names)
		}
	}
	for _, server := range e.NTP {
		l.at("udp", server, whenClock, "compare this machine's clock with Amazon's time service")
	}
	if !e.UDPTest {
		return
	}
	for _, t := range l.plan.Targets {
		host, port, ok := proxyHost(t)
		if !ok {
			host, port = t.Host, t.Port
		}
		test := Packet{Proto: "udp", Port: port, When: whenLate, Why: "tell a firewall of this machine from one in the network"}
		l.host(test, host)
		for _, a := range t.Hosts {
			if !ok {
				fixed := test
				fixed.Address = a
				l.add(fixed)
			}
		}
	}
}

// proxyHost is the name or address of a target's proxy and its port.
func proxyHost(t Target) (host string, port uint16, ok bool) {
	if t.Proxy == "" {
		return "", 0, false
	}
	u, err := url.Parse(string(t.Proxy))
	if err != nil {
		return "", 0, false
	}
	n := uint64(80)
	if u.Scheme == "https" {
		n = httpsPort
	}
	if text := u.Port(); text != "" {
		n, err = strconv.ParseUint(text, 10, 16)
	}
	return u.Hostname(), uint16(n), err == nil && n > 0
}
