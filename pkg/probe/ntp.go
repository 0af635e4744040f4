package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// What is asked of a time server.
const (
	ntpTries   = 2
	ntpTimeout = 500 * time.Millisecond // of one try
)

const ntpLen = 48 // bytes of a packet without extensions (RFC 5905 section 7.3)

var (
	errNotTime = errors.New("not an answer to this request for the time")
	errNoTime  = errors.New("the server gives no time")
)

// ntpTime is a timestamp: seconds since 1900 modulo 2^32, and 2^-32 of them.
type ntpTime uint64

const (
	// ntpUnix is the Unix epoch in seconds since 1900.
	ntpUnix = 2208988800
	// ntpPivot, the first second of 2020, is the time before which no timestamp is.
	// Era 0 ends in 2036 (RFC 5905 section 6); with this, timestamps are right until
	// 2156 whatever this machine's clock says.
	ntpPivot = ntpUnix + 1577836800
)

// time is the time of t.
func (t ntpTime) time() time.Time {
	since := uint32(t>>32) - ntpPivot // modulo 2^32
	nanos := uint64(t&math.MaxUint32) * uint64(time.Second) >> 32
	return time.Unix(ntpPivot-ntpUnix+int64(since), int64(nanos))
}

// An ntpAnswer is what a server said.
type ntpAnswer struct {
	received, sent time.Time
	precision      time.Duration
}

// ntpRequest is a client's packet. A server sends its transmit timestamp back, which is
// a random number here: it proves that the answer is one, and tells nobody our clock.
func ntpRequest(cookie uint64) []byte {
	packet := make([]byte, ntpLen)
	packet[0] = 4<<3 | 3 // version 4, client
	binary.BigEndian.PutUint64(packet[40:], cookie)
	return packet
}

// parseNTP reads an answer to the request with the cookie. An errNotTime may be
// followed by the right answer; errNoTime is one.
func parseNTP(packet []byte, cookie uint64) (ntpAnswer, error) {
	if len(packet) < ntpLen {
		return ntpAnswer{}, fmt.Errorf("%w: %d bytes", errNotTime, len(packet))
	}
	leap, version, mode := packet[0]>>6, packet[0]>>3&7, packet[0]&7
	if mode != 4 || version < 3 || version > 4 || binary.BigEndian.Uint64(packet[24:]) != cookie {
		return ntpAnswer{}, errNotTime
	}
	stratum := packet[1]
	received, sent := ntpTime(binary.BigEndian.Uint64(packet[32:])), ntpTime(binary.BigEndian.Uint64(packet[40:]))
	switch {
	case stratum == 0:
		return ntpAnswer{}, fmt.Errorf("%w: kiss of death %q", errNoTime, packet[12:16])
	case leap == 3 || stratum > 15:
		return ntpAnswer{}, fmt.Errorf("%w: it is not synchronised", errNoTime)
	case received == 0 || sent == 0 || sent.time().Before(received.time()):
		return ntpAnswer{}, fmt.Errorf("%w: impossible timestamps", errNoTime)
	}
	// The precision is a power of two; what is better than ours or absurd is neither here nor there.
	exponent := min(max(int(int8(packet[3])), -30), 6)
	return ntpAnswer{
		received: received.time(), sent: sent.time(),
		precision: time.Duration(math.Ldexp(float64(time.Second), exponent)),
	}, nil
}

// ReadClock compares this machine's clock with the time servers, all at once, and
// returns when each has answered or did not within 1 s, or when ctx ends.
// Readings are in the order of servers.
func ReadClock(ctx context.Context, servers []netip.AddrPort) []ClockReading {
	return readClock(servers, func(server netip.AddrPort) ClockReading {
		return askNTP(ctx, server, func(netip.AddrPort) error { return nil })
	})
}

func readClock(servers []netip.AddrPort, ask func(netip.AddrPort) ClockReading) []ClockReading {
	readings := make([]ClockReading, len(servers))
	var all sync.WaitGroup
	for i, server := range servers {
		all.Go(func() { readings[i] = ask(server) })
	}
	all.Wait()
	return readings
}

// askNTP asks one server. admit waits until a packet may be sent.
func askNTP(ctx context.Context, server netip.AddrPort, admit func(netip.AddrPort) error) ClockReading {
	reading := ClockReading{Source: "ntp " + server.Addr().String()}
	conn, err := new(net.Dialer).DialContext(ctx, "udp", server.String())
	if err == nil {
		defer func() { _ = conn.Close() }()
		defer interrupt(ctx, conn)()
		for range ntpTries {
			if err = admit(server); err != nil {
				break
			}
			if err = exchangeNTP(ctx, conn, &reading); err == nil {
				return reading
			}
			// Only silence may be somebody's loss.
			if ctx.Err() != nil || !timedOut(err) && !errors.Is(err, errNotTime) {
				break
			}
		}
	}
	switch {
	case ctx.Err() != nil:
		reading.Cause = Canceled
		if roundOver(ctx) {
			reading.Cause = ClockSilent
		}
		err = ended(ctx)
	case errors.Is(err, errNoTime):
		reading.Cause = ClockNoTime
	default:
		reading.Cause = ClockSilent
	}
	reading.Err = err.Error()
	return reading
}

// exchangeNTP sends one request and fills the reading from the answer.
func exchangeNTP(ctx context.Context, conn net.Conn, reading *ClockReading) error {
	cookie := rand.Uint64()
	begin := time.Now()
	if err := conn.SetReadDeadline(begin.Add(ntpTimeout)); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ended(ctx)
	}
	if _, err := conn.Write(ntpRequest(cookie)); err != nil {
		return err
	}
	var stray error
	for {
		var packet [512]byte
		n, err := conn.Read(packet[:])
		arrived := time.Now()
		if err != nil && stray != nil && timedOut(err) {
			return stray
		}
		if err != nil {
			return err
		}
		answer, err := parseNTP(packet[:n], cookie)
		if errors.Is(err, errNotTime) {
			stray = err
			continue
		}
		if err != nil {
			return err
		}
		// The time under way is measured by the monotonic clock, which nobody sets.
		away := max(arrived.Sub(begin)-answer.sent.Sub(answer.received), 0)
		// Both ways took the same, or one of them all of it.
		there := answer.sent.Add(away / 2)
		reading.Offset = Duration(there.Sub(arrived.Round(0)))
		reading.Within = Duration(away/2 + answer.precision)
		return nil
	}
}

// A clock is what a round knows of the time.
type clock struct {
	once     sync.Once
	mu       sync.Mutex
	readings []ClockReading
}

// referenceTime is the best known comparison of this machine's clock with another,
// and whether there is one. The first call asks the time servers; all wait for them.
func (r *round) referenceTime(ctx context.Context) (ClockReading, bool) {
	c := &r.clock
	if ctx.Err() == nil {
		c.once.Do(func() { r.askClock(ctx) })
	}
	var best ClockReading
	found := false
	for _, reading := range r.clockReadings() {
		if reading.Cause == "" && (!found || reading.Within < best.Within) {
			best, found = reading, true
		}
	}
	return best, found
}

// askClock asks the time servers.
func (r *round) askClock(ctx context.Context) {
	readings := readClock(r.experiments.NTP, func(server netip.AddrPort) ClockReading {
		return askNTP(ctx, server, func(server netip.AddrPort) error {
			_, err := r.admit(ctx, linkLocal(server.Addr()))
			return err
		})
	})
	r.clock.mu.Lock()
	r.clock.readings = readings
	r.clock.mu.Unlock()
}

// clockReadings are those given and those made.
func (r *round) clockReadings() []ClockReading {
	r.clock.mu.Lock()
	defer r.clock.mu.Unlock()
	return slices.Concat(r.experiments.Clock, r.clock.readings)
}
