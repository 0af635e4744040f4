package netcfg

import "net/netip"

// State is the machine's network at one moment.
type State struct {
	Hostname string  `json:"hostname"`
	Links    []Link  `json:"links"`
	Routes   []Route `json:"routes"`
	Rules    []Rule  `json:"rules,omitempty"`
	DNS      DNS     `json:"dns"`
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
	// Servers in the order of the file, port 53. All are kept; glibc asks only
	// the first three (MAXNS in resolv.h). None when the file is missing, where
	// resolvers fall back to the loopback address.
	Servers []netip.AddrPort `json:"servers"`
	Search  []string         `json:"search,omitempty"`
	// File is the file the servers were read from.
	File string `json:"file"`
	// Stub says that /etc/resolv.conf names systemd-resolved's stub and File is its upstream list.
	Stub bool `json:"stub,omitempty"`
}
