package bootstrap_test

import (
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// Wherever in its second the service was, the true offset is within the reading's bounds.
func TestNewMetadataClock(t *testing.T) {
	t.Parallel()
	base := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	for _, ahead := range []time.Duration{0, 3 * time.Hour, -48 * time.Hour, 700 * time.Millisecond} {
		for part := time.Duration(0); part < time.Second; part += 100 * time.Millisecond {
			for _, trip := range []time.Duration{0, 40 * time.Millisecond, time.Second} {
				sent := base.Add(part)
				for _, answered := range []time.Duration{0, trip / 2, trip} {
					theirs := sent.Add(answered).Add(ahead)
					r := bootstrap.NewMetadataClock(theirs.Truncate(time.Second), sent, trip)
					if err := time.Duration(r.Offset) - ahead; err.Abs() > time.Duration(r.Within) {
						t.Errorf("service ahead by %v, %v into its second, round trip %v: %+v is off by %v", ahead, part, trip, *r, err)
					}
					if want := probe.Duration(500*time.Millisecond + trip/2); r.Within != want || r.Source != "metadata" || r.Cause != "" {
						t.Errorf("%+v, want within %v", *r, want)
					}
				}
			}
		}
	}
}
