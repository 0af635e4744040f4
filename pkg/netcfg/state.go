package netcfg

import "net/netip"

// State is the machine's network at one moment.
type State struct {
	Hostname string  `json:"hostname"`
	Links    []Link  `json:"links"`
	Routes   []Route `json:"routes"`
	Rules    []Rule  `json:"rules,omitempty"`
	DNS      DNS     `json:"dns"`
	// Hosts are the lines of /etc/hosts for names other than localhost and the machine's own.
	Hosts []HostsEntry `json:"hosts,omitempty"`
	// Destinations are what the kernel says about addresses that were asked for (Look).
	// They are no part of what Same compares.
	Destinations []Destination `json:"destinations,omitempty"`
	// LinkLocalDropped counts the packets to link-local services (DNS, metadata, NTP) that
	// the instance's network cards dropped beyond their allowance since they were
	// reset: the ENA driver's linklocal_allowance_exceeded, added up over the links.
	LinkLocalDropped uint64 `json:"linkLocalDropped,omitempty"`
}

// A HostsEntry is one name of /etc/hosts.
type HostsEntry struct {
	Name      string       `json:"name"` // lower case, without a trailing dot
	Addresses []netip.Addr `json:"addresses"`
	Line      int          `json:"line"` // of the first address, from 1
}

// A Destination is how the kernel would send a packet to an address now.
type Destination struct {
	Address netip.Addr `json:"address"`
	// Type is that of the route: unicast, local, blackhole, unreachable, prohibit or throw; empty when
	// no route matches.
	Type    string     `json:"type,omitempty"`
	Link    string     `json:"link,omitempty"` // name of the interface
	Source  netip.Addr `json:"source,omitzero"`
	Gateway netip.Addr `json:"gateway,omitzero"`
	// Neighbour is the state of the next hop's entry (ip-neighbour(8)): reachable, stale, delay,
	// probe, incomplete, failed, noarp, permanent; empty for none.
	Neighbour string `json:"neighbour,omitempty"`
}

// A Link is one network interface.
type Link struct {
	Index    int    `json:"index"`
	Name     string `json:"name"`
	MAC      string `json:"mac,omitempty"` // lower case, colons
	MTU      int    `json:"mtu"`           // bytes
	Up       bool   `json:"up"`            // IFF_UP
	Running  bool   `json:"running"`       // IFF_RUNNING: carrier
	Loopback bool   `json:"loopback,omitempty"`
	// Addresses are the link's addresses with their prefix length.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	// Tentative are those of Addresses that may not be used: duplicate address
	// detection has not cleared them, or found a duplicate (RFC 4862 section 5.4).
	Tentative []netip.Addr `json:"tentative,omitempty"`
}

// A Route is one entry of the main routing table, or of the table a Rule names.
type Route struct {
	// Destination is 0.0.0.0/0 or ::/0 for a default route.
	Destination netip.Prefix `json:"destination"`
	Gateway     netip.Addr   `json:"gateway,omitzero"`
	Source      netip.Addr   `json:"source,omitzero"`
	Link        int          `json:"link,omitempty"` // interface index, 0 for none
	Metric      int          `json:"metric,omitempty"`
	Table       int          `json:"table"`
	// Type is unicast, blackhole, unreachable, prohibit or throw.
	Type string `json:"type"`
}

// A Rule is one entry of the routing policy database beyond the three the kernel makes.
type Rule struct {
	Priority    int          `json:"priority"`
	Source      netip.Prefix `json:"source,omitzero"`
	Destination netip.Prefix `json:"destination,omitzero"`
	// Table is the table to look in, 0 for a rule that looks in none.
	Table int `json:"table"`
	// Mark and Mask select by firewall mark; both 0 for any packet.
	Mark uint32 `json:"mark,omitempty"`
	Mask uint32 `json:"mask,omitempty"`
	// In and Out select by interface name, empty for any.
	In  string `json:"in,omitempty"`
	Out string `json:"out,omitempty"`
	// Not inverts the selection.
	Not bool `json:"not,omitempty"`
	// Action is empty for a lookup in Table, else blackhole, unreachable,
	// prohibit, goto or nop.
	Action string `json:"action,omitempty"`
}

// DNS is what resolv.conf says, looked through systemd-resolved's stub.
type DNS struct {
	// Servers in the order of the file, port 53: at most the first three, which is all
	// that programs read (MAXNS in resolv.h), but all that systemd-resolved has behind
	// its stub. None when the file is missing, where resolvers fall back to the loopback
	// address.
	Servers []netip.AddrPort `json:"servers"`
	Search  []string         `json:"search,omitempty"`
	// NDots is the option of that name: a name with fewer dots is first looked up
	// below the search domains. 1 without the option (resolv.conf(5)).
	NDots int `json:"ndots,omitempty"`
	// File is the file the servers were read from.
	File string `json:"file"`
	// Stub says that /etc/resolv.conf names systemd-resolved's stub and File is its upstream list.
	Stub bool `json:"stub,omitempty"`
}
