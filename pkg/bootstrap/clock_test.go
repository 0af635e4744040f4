package bootstrap_test

import (
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// A clock that is set takes its readings along: one that was an hour behind and is
// put forward by an hour is right.
func TestReadingAfter(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		offset, wall, monotonic, want time.Duration
	}{
		"nothing happened": {time.Hour, time.Minute, time.Minute, time.Hour},
		"put right":        {time.Hour, time.Hour + time.Minute, time.Minute, 0},
		"put back":         {-time.Hour, time.Minute - time.Hour, time.Minute, 0},
		"put wrong":        {0, 2 * time.Hour, time.Minute, time.Minute - 2*time.Hour},
		"slewed":           {time.Second, time.Minute + 900*time.Millisecond, time.Minute, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reading := probe.ClockReading{Source: "metadata", Offset: probe.Duration(c.offset), Within: probe.Duration(time.Second)}
			want := reading
			want.Offset = probe.Duration(c.want)
			if got := bootstrap.ReadingAfter(reading, c.wall, c.monotonic); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}
