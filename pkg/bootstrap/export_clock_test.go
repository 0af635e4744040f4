package bootstrap

import (
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// ReadingAfter is a reading once both clocks have advanced.
func ReadingAfter(reading probe.ClockReading, wall, monotonic time.Duration) probe.ClockReading {
	return clockReading{ClockReading: reading}.after(wall, monotonic)
}
