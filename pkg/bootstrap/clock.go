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
func (r *run) noteClock(at time.Time, reading probe.ClockReading) {
	i := slices.IndexFunc(r.clocks, func(c clockReading) bool { return c.Source == reading.Source })
	if i < 0 {
		i = len(r.clocks)
		r.clocks = append(r.clocks, clockReading{})
	}
	r.clocks[i] = clockReading{reading, at}
}

// noteRound keeps the readings that a round made, unless the clock was set
// meanwhile: nobody knows whether that was before or after them.
func (r *run) noteRound(p probed, now time.Time) {
	if stepOf(elapsed(p.report.Started, now)) != 0 {
		return
	}
	for _, reading := range p.report.Clock {
		if !slices.Contains(p.experiments.Clock, reading) { // which was known before
			r.noteClock(now, reading)
		}
	}
}

// readings are the readings as they are now.
func (r *run) readings(now time.Time) []probe.ClockReading {
	var out []probe.ClockReading
	for _, c := range r.clocks {
		out = append(out, c.after(elapsed(c.at, now)))
	}
	return out
}

// after is the reading once both clocks have advanced: when the wall clock was set
// meanwhile, it differs from what was read by the step that it made.
func (c clockReading) after(wall, monotonic time.Duration) probe.ClockReading {
	c.Offset -= probe.Duration(stepOf(wall, monotonic))
	return c.ClockReading
}

// elapsed is the time from at to now by the wall clock and by the monotonic one, which
// no step disturbs.
func elapsed(at, now time.Time) (wall, monotonic time.Duration) {
	return now.Round(0).Sub(at.Round(0)), now.Sub(at)
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
	answers := make(chan []clockReading, 1)
	r.ntp, r.ntpAsked = answers, now
	go func() {
		var readings []clockReading
		defer func() {
			_ = recover() // a reading less; the round is what counts
			answers <- readings
		}()
		for _, reading := range r.Clock(ctx, servers) {
			readings = append(readings, clockReading{reading, time.Now()})
		}
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
	var readings []clockReading
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
	for _, c := range readings {
		r.noteClock(c.at, c.ClockReading)
	}
	r.out.Report.Clock = r.readings(time.Now())
	return len(readings) > 0
}
