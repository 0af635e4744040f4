package bootstrap

import (
	"context"
	"slices"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

const (
	// doubtful is the offset from which time servers are asked beside a round. The
	// metadata service's clock has a resolution of a second, tokens live for minutes.
	doubtful = time.Minute
	// clockLasts is how long the answers of time servers count.
	clockLasts = 2 * time.Minute
)

// A clockReading is a reading and when it was taken.
type clockReading struct {
	probe.ClockReading
	at time.Time
}

// noteClock keeps the newest reading of each source.
func (r *run) noteClock(at time.Time, readings ...probe.ClockReading) {
	for _, reading := range readings {
		i := slices.IndexFunc(r.clocks, func(c clockReading) bool { return c.Source == reading.Source })
		if i < 0 {
			i = len(r.clocks)
			r.clocks = append(r.clocks, clockReading{})
		}
		r.clocks[i] = clockReading{reading, at}
	}
}

// readings are the readings as they are now: when the clock was set since, they
// differ from what was read by the step that it made.
func (r *run) readings(now time.Time) []probe.ClockReading {
	out := make([]probe.ClockReading, 0, len(r.clocks))
	for _, c := range r.clocks {
		// Round strips the monotonic reading, which no step disturbs.
		c.Offset -= probe.Duration(stepOf(now.Round(0).Sub(c.at.Round(0)), now.Sub(c.at)))
		out = append(out, c.ClockReading)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// stepOf is by how much the wall clock was set while both clocks advanced. What is
// less than a second is the clock being slewed, or nothing.
func stepOf(wall, monotonic time.Duration) time.Duration {
	if step := wall - monotonic; step.Abs() >= time.Second {
		return step
	}
	return 0
}

// askClock asks time servers beside what else is under way, when there is reason
// to doubt this machine's clock. No gate waits for them.
func (r *run) askClock(ctx context.Context) {
	servers := r.experiments().NTP
	now := time.Now()
	if len(servers) == 0 || r.ntp != nil || now.Sub(r.ntpAsked) < clockLasts || !r.doubtsClock(now) {
		return
	}
	answers := make(chan []probe.ClockReading, 1)
	r.ntp, r.ntpAsked = answers, now
	go func() {
		var readings []probe.ClockReading
		defer func() {
			_ = recover() // a reading less; the round is what counts
			answers <- readings
		}()
		readings = r.Clock(ctx, servers)
	}()
}

// doubtsClock reports whether the machine says that its clock is not synchronised,
// or the metadata service's differs.
func (r *run) doubtsClock(now time.Time) bool {
	if c := r.out.Plan.Clock; c.Known && !c.Synchronized {
		return true
	}
	return slices.ContainsFunc(r.readings(now), func(c probe.ClockReading) bool {
		return c.Cause == "" && time.Duration(c.Offset).Abs()-time.Duration(c.Within) > doubtful
	})
}

// takeClock takes the answers of time servers, when they are there or, with wait,
// once they are: Deps.Clock has a deadline of its own. It reports whether there
// were any.
func (r *run) takeClock(wait bool) bool {
	var readings []probe.ClockReading
	if wait && r.ntp != nil {
		readings = <-r.ntp
	} else {
		select {
		case readings = <-r.ntp:
		default:
			return false
		}
	}
	r.ntp = nil
	r.noteClock(time.Now(), readings...)
	r.out.Report.Clock = r.readings(time.Now())
	return len(readings) > 0
}
