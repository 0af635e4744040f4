package ec2meta_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/ec2meta"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var cmpNetip = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

// whatWasRead compares readings, but for the clock, which went on.
var whatWasRead = cmp.Options{cmpNetip, cmpopts.IgnoreFields(bootstrap.Metadata{}, "Clock")}

var fixtures = []string{"us-west-2", "us-east-1", "cn-north-1", "us-gov-west-1", "ipv6-only"}

func TestReadFixtures(t *testing.T) {
	t.Parallel()
	for _, name := range fixtures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, fixture(t, name), nil)
			m, err := client(t, f.URL).Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			text, has := f.values["user-data"]
			if string(m.UserData) != text || (m.UserData != nil) != has {
				t.Errorf("user data %q, want %q", m.UserData, text)
			}
			got, err := json.MarshalIndent(m.Instance, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("instance: -want +got:\n%s", diff)
			}

			fromFile, err := ec2meta.ReadFile(filepath.Join("testdata", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(m, fromFile, whatWasRead); diff != "" {
				t.Errorf("-from the service +from the file:\n%s", diff)
			}

			puts, gets, conns := f.counts()
			if puts != 1 || puts+gets > 16 || conns > 8 {
				t.Errorf("%d token requests, %d others, %d connections; want 1, at most 16 in all, at most 8", puts, gets, conns)
			}
			for path := range f.values {
				if n := f.asked(path); n > 1 {
					t.Errorf("%s was asked for %d times", path, n)
				}
			}
		})
	}
}

// The wall time at a service that takes its time counts the requests that wait
// for another: the token, the instance, its network interface.
func TestReadDepth(t *testing.T) {
	t.Parallel()
	const delay = 60 * time.Millisecond
	f := serve(t, fixture(t, "us-east-1"), func(f *fake) { f.delay = delay })
	best := time.Hour
	// On a busy machine a reading may take longer, but none can take less.
	for i := 0; i < 3 || i < 40 && best > 33*delay/10; i++ {
		c := ec2meta.New(ec2meta.Options{Endpoint: f.URL})
		began := time.Now()
		if _, err := c.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(began))
		c.Close()
	}
	if depth := float64(best) / float64(delay); depth > 3.3 {
		t.Errorf("serial depth %.1f, want at most 3.3", depth)
	} else {
		t.Logf("serial depth %.2f", depth)
	}
}

func TestReadAgain(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		ttl     int
		between func(*fake)
		puts    int // of the second reading
		gets    int
	}{
		{"token still good", 0, func(*fake) {}, 0, 15},
		{"token expired", 1, func(*fake) { <-time.After(1100 * time.Millisecond) }, 1, 15},
		{"token no longer accepted", 0, (*fake).revoke, 1, 8 + 15},
		{"connections closed by the service", 0, func(f *fake) { f.server.CloseClientConnections() }, 0, 15},
		{"token expired and connections closed", 1, func(f *fake) {
			<-time.After(1100 * time.Millisecond)
			f.server.CloseClientConnections()
		}, 1, 15},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, fixture(t, "us-east-1"), func(f *fake) { f.ttl = tt.ttl })
			c := client(t, f.URL)
			first, err := c.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			tt.between(f)
			f.reset()
			second, err := c.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(first, second, whatWasRead); diff != "" {
				t.Errorf("-first +second:\n%s", diff)
			}
			puts, gets, _ := f.counts()
			if puts != tt.puts || gets != tt.gets || f.mostOpen() > 8 {
				t.Errorf("%d token requests, %d others, %d connections at a time; want %d, %d, at most 8", puts, gets, f.mostOpen(), tt.puts, tt.gets)
			}
		})
	}
}

// One new token is enough, however the refusals and the requests interleave.
func TestReadRevokedOften(t *testing.T) {
	t.Parallel()
	f := serve(t, fixture(t, "us-east-1"), nil)
	c := client(t, f.URL)
	if _, err := c.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		f.revoke()
		f.reset()
		if _, err := c.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		if puts, gets, _ := f.counts(); puts != 1 || gets != 8+15 {
			t.Errorf("reading %d: %d token requests, %d others; want 1 and 23", i, puts, gets)
		}
	}
}

func TestReadTogether(t *testing.T) {
	t.Parallel()
	f := serve(t, fixture(t, "us-east-1"), func(f *fake) { f.delay = 20 * time.Millisecond })
	c := client(t, f.URL)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := c.Read(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	most := f.mostOpen()
	if puts, gets, _ := f.counts(); puts != 1 || gets != 4*15 || most > 8 {
		t.Errorf("%d token requests, %d others, %d connections at a time; want 1, %d, at most 8", puts, gets, most, 4*15)
	}
}

// No setting of the environment diverts a request.
func TestReadIgnoresEnvironment(t *testing.T) {
	f := serve(t, fixture(t, "us-west-2"), nil)
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY", "AWS_EC2_METADATA_SERVICE_ENDPOINT"} {
		t.Setenv(name, "http://127.0.0.1:9")
	}
	t.Setenv("NO_PROXY", "")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_EC2_METADATA_V1_DISABLED", "false")
	if _, err := client(t, f.URL).Read(t.Context()); err != nil {
		t.Error(err)
	}
	// The proxy of the environment does not apply to loopback addresses at all,
	// so ask for another one: there is no way to it, and no proxy is tried.
	_, err := client(t, "http://198.51.100.1").Read(t.Context())
	wantFailure(t, err, failure{method: "PUT", path: "/latest/api/token", phase: "connect", is: errNetUnreachable})
}

func TestReadCanceled(t *testing.T) {
	t.Parallel()
	f := serve(t, fixture(t, "us-west-2"), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := client(t, f.URL).Read(ctx)
	var m *bootstrap.MetadataError
	if !errors.As(err, &m) || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want a MetadataError that is context.Canceled", err)
	}
	if puts, gets, _ := f.counts(); puts+gets != 0 {
		t.Errorf("%d requests", puts+gets)
	}
}

func TestNewDefaults(t *testing.T) {
	t.Parallel()
	// In this namespace there is no way to the default endpoint.
	_, err := ec2meta.New(ec2meta.Options{}).Read(t.Context())
	wantFailure(t, err, failure{method: "PUT", path: "/latest/api/token", phase: "connect", is: errNetUnreachable})
	_, err = ec2meta.New(ec2meta.Options{Endpoint: "http://[::1"}).Read(t.Context())
	if _, ok := errors.AsType[*bootstrap.MetadataError](err); !ok {
		t.Errorf("malformed endpoint: %v, want a MetadataError", err)
	}
}
