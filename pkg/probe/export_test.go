package probe

import (
	"time"

	"github.com/miekg/dns"
)

// AlertNumber is alertNumber.
var AlertNumber = alertNumber

// LinkLocal is linkLocal.
var LinkLocal = linkLocal

// ParseAnswer shows what a response to the question for name makes of a lookup.
func ParseAnswer(msg []byte, id uint16, name string, qtype uint16) (Lookup, bool, error) {
	var l Lookup
	a, err := parseAnswer(msg, id, name, qtype)
	if err == nil && !a.truncated {
		a.fill(&l)
	}
	return l, a.truncated, err
}

// PackQuestion is packQuestion for an A record with EDNS.
func PackQuestion(name string) ([]byte, error) { return packQuestion(name, dns.TypeA, true) }

// Bucket is a bucket.
type Bucket = bucket

// Reserve takes one packet.
func (b *Bucket) Reserve(now time.Time) time.Time { return b.reserve(now) }
