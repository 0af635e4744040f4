package vpc_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(fetchEnv); url != "" {
		os.Exit(fetch(url))
	}
	if os.Getenv(orphanEnv) != "" {
		os.Exit(orphan())
	}
	// Most of a test is waiting for packets that do not come.
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("12")
	}
	os.Exit(probetest.Isolate(m))
}

func newVPC(t *testing.T, o vpc.Options) *vpc.VPC {
	t.Helper()
	v, err := vpc.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// Setting a VPC up is cheap enough for one per test.
func TestSetupTime(t *testing.T) {
	best := time.Hour
	for range 5 {
		start := time.Now()
		v, err := vpc.New(t.Context(), vpc.Options{})
		took := time.Since(start)
		if err != nil {
			t.Fatal(err)
		}
		best = min(best, took)
		start = time.Now()
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("up in %v, down in %v", took.Round(100*time.Microsecond), time.Since(start).Round(100*time.Microsecond))
	}
	if best > 200*time.Millisecond {
		t.Errorf("fastest setup took %v", best)
	}
}

// A packet to a public address vanishes; nothing says that there is no way.
func TestPublicIsSilent(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]vpc.Options{"IPv4": {}, "IPv6": {IPv6: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVPC(t, o)
			addresses := []string{"198.51.100.1:443", "52.94.20.11:443", "10.20.2.99:443", "10.99.0.1:443"}
			if o.IPv6 {
				addresses = append(addresses, "[2001:db8::1]:443", "[2600:1f14:c0:de02::99]:443")
			}
			for _, a := range addresses {
				start := time.Now()
				_, err := dial(t.Context(), v, a)
				if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: %v after %v, want silence", a, err, time.Since(start))
				}
			}
		})
	}
}
