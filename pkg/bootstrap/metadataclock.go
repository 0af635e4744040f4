package bootstrap

import (
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// NewMetadataClock compares this machine's clock with the Date header of the metadata
// service's answer to a request that was sent at a time and took a round trip. The header
// has whole seconds (RFC 9110 section 5.6.7): half a second is added to what it says, and is
// the reading's error beside half the round trip.
func NewMetadataClock(date, sent time.Time, roundTrip time.Duration) *probe.ClockReading {
	const half = time.Second / 2
	middle := sent.Add(roundTrip / 2)
	return &probe.ClockReading{
		Source: "metadata",
		Offset: probe.Duration(date.Add(half).Sub(middle)),
		Within: probe.Duration(half + roundTrip/2),
	}
}
