package probe

import (
	"context"
	"io"
	"net/http"
	"sync"
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

// ParseNTP is parseNTP: the time at which the answer was sent.
func ParseNTP(packet []byte, cookie uint64) (time.Time, error) {
	answer, err := parseNTP(packet, cookie)
	return answer.sent, err
}

// TunnelAnswer is tunnelAnswer for a body that is there.
func TunnelAnswer(conn io.Reader) (HTTPInfo, []byte, error) {
	var info HTTPInfo
	rest, err := tunnelAnswer(conn, &http.Request{Method: http.MethodConnect}, &info, func() error { return nil })
	return info, rest, err
}

// ReferenceTime is what n callers of referenceTime get at once in a round of p, and the
// report's readings after it.
func ReferenceTime(ctx context.Context, p *Prober, n int) ([]ClockReading, Report) {
	r := newRound(ctx, p, p.Timing.withDefaults(), time.Now(), nil)
	var all sync.WaitGroup
	readings := make([]ClockReading, n)
	for i := range n {
		all.Go(func() {
			if reading, ok := r.referenceTime(ctx); ok {
				readings[i] = reading
			}
		})
	}
	all.Wait()
	return readings, r.snapshot()
}

// PanickingTrial makes a trial on nothing.
func PanickingTrial(ctx context.Context) Experiment {
	r := &round{open: 1, idle: make(chan struct{}), grown: make(chan struct{}, 1)}
	t := &trial{kind: KindMSSClamp, pending: true}
	r.try(ctx, t)
	<-r.idle
	p := path{trials: []*trial{t}}
	made, _ := p.experiments()
	return made[0]
}
