package ec2meta_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/ec2meta"
)

const keyCreds = keyRole + "eks-node" // of the fixture us-west-2

// Of the role's credentials their state is kept and nothing else.
func TestCredentials(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	const secrets = `"SecretAccessKey": "SECRET", "Token": "SECRET"`
	base := fixture(t, "us-west-2")
	for name, c := range map[string]struct {
		text string // "-" for none
		want bootstrap.Credentials
		bad  bool
	}{
		"good":              {`{"Code": "Success", ` + secrets + `, "Expiration": "2026-09-01T12:00:00Z"}`, bootstrap.Credentials{Code: "Success", Expiration: at}, false},
		"another zone":      {`{"Code": "Success", ` + secrets + `, "Expiration": "2026-09-01T14:00:00+02:00"}`, bootstrap.Credentials{Code: "Success", Expiration: at}, false},
		"not trusted":       {`{"Code": "AssumeRoleUnauthorizedAccess", "Message": "EC2 cannot assume the role"}`, bootstrap.Credentials{Code: "AssumeRoleUnauthorizedAccess"}, false},
		"none yet":          {"-", bootstrap.Credentials{}, false},
		"no expiration":     {`{"Code": "Success", ` + secrets + `}`, bootstrap.Credentials{}, true},
		"no code":           {`{` + secrets + `, "Expiration": "2026-09-01T12:00:00Z"}`, bootstrap.Credentials{}, true},
		"not a code":        {`{"Code": "SECRET <html>"}`, bootstrap.Credentials{}, true},
		"endless code":      {`{"Code": "` + strings.Repeat("SECRET", 100) + `"}`, bootstrap.Credentials{}, true},
		"not a time":        {`{"Code": "Success", "Expiration": "SECRET"}`, bootstrap.Credentials{}, true},
		"a secret for JSON": {`SECRET`, bootstrap.Credentials{}, true},
		"empty":             {``, bootstrap.Credentials{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := base.with(keyCreds, c.text)
			if c.text == "-" {
				v = base.without(keyCreds)
			}
			m, err := ec2meta.Parse(v.json())
			if (err != nil) != c.bad || c.bad && !errors.Is(err, ec2meta.ErrMalformedCredentials) {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(c.want, m.Instance.Credentials); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			shown, err2 := json.Marshal(m)
			if err2 != nil {
				t.Fatal(err2)
			}
			for _, text := range []string{string(shown), fmt.Sprintf("%+v", m), fmt.Sprint(err)} {
				if strings.Contains(text, "SECRET") {
					t.Errorf("a secret is in %s", text)
				}
			}
		})
	}
}

func TestPublicIPv4(t *testing.T) {
	t.Parallel()
	base := fixture(t, "us-west-2")
	for text, want := range map[string]bool{"198.51.100.7\n": true, "\n": false} {
		m, err := ec2meta.Parse(base.with("meta-data/public-ipv4", text).json())
		if err != nil || m.Instance.PublicIPv4 != want {
			t.Errorf("%q: %v, %v, want %v", text, m.Instance.PublicIPv4, err, want)
		}
	}
	if m, err := ec2meta.Parse(base.json()); err != nil || m.Instance.PublicIPv4 {
		t.Errorf("absent: %v, %v", m.Instance.PublicIPv4, err)
	}
	if _, err := ec2meta.Parse(base.with("meta-data/public-ipv4", "<html>").json()); err == nil {
		t.Error("a page: no error")
	}
}

// While nothing but the role is missing, nothing but the role is asked for.
func TestReadRoleAgain(t *testing.T) {
	t.Parallel()
	whole := fixture(t, "us-west-2")
	f := serve(t, whole, nil)
	c := client(t, f.URL)
	broken := whole.with(keyCreds, `{"Code": "AssumeRoleUnauthorizedAccess"}`)
	expired := whole.with(keyCreds, `{"Code": "Success", "Expiration": "2020-01-01T00:00:00Z"}`)
	want, err := ec2meta.Parse(whole.json())
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		values values
		gets   int
		want   bootstrap.Credentials
		absent bool
	}{
		{whole.without(keyRole, keyCreds), 8 + 6, bootstrap.Credentials{}, true},
		{whole.without(keyRole, keyCreds), 1, bootstrap.Credentials{}, true},
		{whole.without(keyCreds), 1 + 1, bootstrap.Credentials{}, false},
		{broken, 1 + 1, bootstrap.Credentials{Code: "AssumeRoleUnauthorizedAccess"}, false},
		{whole.without(keyRole, keyCreds), 1, bootstrap.Credentials{}, true},
		{expired, 1 + 1, bootstrap.Credentials{Code: "Success", Expiration: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}, false},
		{whole, 1 + 1, want.Instance.Credentials, false},
		{whole, 8 + 7, want.Instance.Credentials, false},
	} {
		f.reset()
		f.set(step.values)
		m, err := c.Read(t.Context())
		if err != nil {
			t.Fatalf("reading %d: %v", i, err)
		}
		puts, gets, _ := f.counts()
		if wantPuts := map[int]int{0: 1}[i]; puts != wantPuts || gets != step.gets {
			t.Errorf("reading %d: %d token requests, %d others, want %d, %d", i, puts, gets, wantPuts, step.gets)
		}
		if m.Clock == nil {
			t.Errorf("reading %d has no clock", i)
		}
		now := want
		now.Instance.Credentials, now.Instance.RoleAbsent = step.want, step.absent
		if step.absent {
			now.Instance.Role = ""
		}
		if diff := cmp.Diff(now, m, whatWasRead); diff != "" {
			t.Errorf("reading %d: -want +got:\n%s", i, diff)
		}
	}
	// A failure forgets nothing that was learnt before it.
	f.set(whole.without(keyRole, keyCreds))
	if _, err := c.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.set(whole.with(keyRole, "<html>"))
	if _, err := c.Read(t.Context()); err == nil {
		t.Error("a page for a role: no error")
	}
	f.set(whole)
	f.reset()
	if _, err := c.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, gets, _ := f.counts(); gets != 2 {
		t.Errorf("after a failure %d requests, want 2", gets)
	}
}

// The reading's bounds hold the service's true lead, and its quickest answer counts.
func TestReadClock(t *testing.T) {
	t.Parallel()
	for _, lead := range []time.Duration{0, 3 * time.Hour, -48 * time.Hour} {
		f := serve(t, fixture(t, "us-west-2"), func(f *fake) {
			f.fault = func(w http.ResponseWriter, r *http.Request) bool {
				if strings.HasSuffix(r.URL.Path, "user-data") {
					// A slow answer with a date that is wrong by more than the bounds.
					w.Header().Set("Date", time.Now().Add(lead-time.Minute).UTC().Format(http.TimeFormat))
					<-time.After(100 * time.Millisecond)
					return false
				}
				w.Header().Set("Date", time.Now().Add(lead).UTC().Format(http.TimeFormat))
				return false
			}
		})
		m, err := client(t, f.URL).Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if m.Clock == nil || m.Clock.Source != "metadata" {
			t.Fatalf("clock %+v", m.Clock)
		}
		off, within := time.Duration(m.Clock.Offset)-lead, time.Duration(m.Clock.Within)
		if off.Abs() > within || within < 500*time.Millisecond || within > 550*time.Millisecond {
			t.Errorf("the service leads by %v, read as %+v", lead, *m.Clock)
		}
	}
	f := serve(t, fixture(t, "us-west-2"), func(f *fake) {
		f.fault = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header()["Date"] = nil
			return false
		}
	})
	if m, err := client(t, f.URL).Read(t.Context()); err != nil || m.Clock != nil {
		t.Errorf("without dates: %+v, %v", m.Clock, err)
	}
	f = serve(t, fixture(t, "us-west-2"), func(f *fake) {
		f.fault = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Date", "yesterday")
			return false
		}
	})
	if m, err := client(t, f.URL).Read(t.Context()); err != nil || m.Clock != nil {
		t.Errorf("with dates that are none: %+v, %v", m.Clock, err)
	}
}

// Where a request without a token tells something, one is sent.
func TestTokenless(t *testing.T) {
	t.Parallel()
	const token = "/latest/api/token"
	both := func(put, get http.HandlerFunc) func(*fake) {
		return func(f *fake) {
			f.fault = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Header.Get("X-Aws-Ec2-Metadata-Token") != "" {
					panic("a request with a token that nobody gave")
				}
				if r.URL.Path == token {
					put(w, r)
				} else {
					get(w, r)
				}
				return true
			}
		}
	}
	for name, c := range map[string]struct {
		put, get  http.HandlerFunc
		status    int
		tokenless int
		gets      int
	}{
		"version 1 only":         {status(404), status(200), 404, 200, 1},
		"PUT not allowed":        {status(405), status(200), 405, 200, 1},
		"nothing there":          {status(404), status(404), 404, 404, 1},
		"tokens required":        {status(405), status(401), 405, 401, 1},
		"GET silent too":         {status(404), hang, 404, 0, 1},
		"answers lost":           {hang, status(401), 0, 401, 1},
		"answers lost, optional": {hang, status(200), 0, 200, 1},
		"silent":                 {hang, hang, 0, 0, 1},
		"disabled":               {status(403), status(403), 403, 0, 0},
		"throttled":              {status(503), status(200), 503, 0, 0},
		"reset":                  {reset, status(200), 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, values{}, both(c.put, c.get))
			cl := ec2meta.New(ec2meta.Options{Endpoint: f.URL, Timeout: 800 * time.Millisecond})
			t.Cleanup(cl.Close)
			_, err := cl.Read(t.Context())
			var m *bootstrap.MetadataError
			if !errors.As(err, &m) {
				t.Fatalf("error %v", err)
			}
			_, gets, _ := f.counts()
			if m.Method != "PUT" || m.Status != c.status || m.Tokenless != c.tokenless || gets != c.gets {
				t.Errorf("%s %d, without a token %d in %d requests; want PUT %d, %d in %d", m.Method, m.Status, m.Tokenless, gets, c.status, c.tokenless, c.gets)
			}
			if m.Took > 1200*time.Millisecond {
				t.Errorf("the token request took %v", m.Took)
			}
			if "http://"+m.Address.String() != f.URL {
				t.Errorf("address %v, want %s", m.Address, f.URL)
			}
		})
	}
}
