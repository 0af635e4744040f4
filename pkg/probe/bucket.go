package probe

import (
	"net/netip"
	"sync"
	"time"
)

// The budget of packets to link-local servers. EC2 allows an interface 1024
// packets a second to all link-local services together (DNS, metadata, time) and
// drops the rest. We take a quarter: the burst plus one second of the rate is 256.
const (
	linkLocalBurst = 64
	linkLocalRate  = 192 // per second
)

// A bucket spaces packets. The zero value is full.
type bucket struct {
	mu sync.Mutex
	// drained is when the bucket is full again if nobody takes anything.
	drained time.Time
}

// reserve takes one packet and returns when it may be sent, now at the earliest.
func (b *bucket) reserve(now time.Time) time.Time {
	const interval = time.Second / linkLocalRate
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.drained.Before(now) {
		b.drained = now
	}
	b.drained = b.drained.Add(interval)
	if at := b.drained.Add(-linkLocalBurst * interval); at.After(now) {
		return at
	}
	return now
}

// linkLocal reports whether packets to a count against the allowance:
// 169.254.0.0/16, fe80::/10, and fd00:ec2::/32 where EC2 has its services for IPv6.
func linkLocal(a netip.Addr) bool {
	if a.IsLinkLocalUnicast() {
		return true
	}
	b := a.As16()
	return a.Is6() && b[0] == 0xfd && b[1] == 0 && b[2] == 0x0e && b[3] == 0xc2
}
