package host_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
)

// manager is a systemd that does as its fields say.
type manager struct {
	mu     sync.Mutex
	props  map[string]any // before a start, and after it when after is nil
	after  map[string]any
	result string // of the job; "" never comes
	err    error  // of StartUnit
	read   error  // of GetAll
	lost   bool
	starts int
	closed int
	asked  chan<- string // the channel of the last start
}

func (m *manager) StartUnitContext(_ context.Context, _, mode string, ch chan<- string) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.starts++
	m.asked = ch
	if mode != "replace" || cap(ch) == 0 {
		return 0, errors.New("want mode replace and a buffered channel")
	}
	if m.err != nil {
		return 0, m.err
	}
	if m.after != nil {
		m.props = m.after
	}
	if m.result != "" {
		ch <- m.result
	}
	return 1, nil
}

func (m *manager) GetAllPropertiesContext(ctx context.Context, _ string) (map[string]any, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return m.props, m.read
}

func (m *manager) Connected() bool { return !m.lost }
func (m *manager) Close()          { m.closed++ }

func units(m *manager) *host.Units {
	return host.NewUnitsWith(func(context.Context) (host.Manager, error) { return m, nil }, "")
}

var (
	inactive = map[string]any{"ActiveState": "inactive", "SubState": "dead", "Result": "success", "ConditionResult": false, "ConditionTimestamp": uint64(0)}
	active   = map[string]any{
		"ActiveState": "active", "SubState": "running", "Result": "success", "ExecMainStatus": int32(0),
		"NRestarts": uint32(2), "ConditionResult": true, "ConditionTimestamp": uint64(1),
	}
	refused = map[string]any{"ActiveState": "inactive", "SubState": "dead", "Result": "success", "ConditionResult": false, "ConditionTimestamp": uint64(7)}
	failed  = map[string]any{
		"ActiveState": "failed", "SubState": "failed", "Result": "exit-code", "ExecMainStatus": int32(1),
		"ConditionResult": true, "ConditionTimestamp": uint64(7),
	}
)

func TestStart(t *testing.T) {
	t.Parallel()
	noUnit := errors.New("unit kubelet.service not found")
	for name, c := range map[string]struct {
		m      *manager
		want   bootstrap.UnitResult
		starts int
	}{
		"started": {
			&manager{props: inactive, after: active, result: "done"},
			bootstrap.UnitResult{Job: "done", ActiveState: "active", SubState: "running", Result: "success", Restarts: 2, ConditionMet: true},
			1,
		},
		"active already": {
			&manager{props: active},
			bootstrap.UnitResult{ActiveState: "active", SubState: "running", Result: "success", Restarts: 2, ConditionMet: true},
			0,
		},
		"refused by a condition": {
			&manager{props: inactive, after: refused, result: "done"},
			bootstrap.UnitResult{Job: "done", ActiveState: "inactive", SubState: "dead", Result: "success"},
			1,
		},
		"failed": {
			&manager{props: inactive, after: failed, result: "failed"},
			bootstrap.UnitResult{Job: "failed", ActiveState: "failed", SubState: "failed", Result: "exit-code", ExitStatus: 1, ConditionMet: true},
			1,
		},
		"no such unit": {
			&manager{props: map[string]any{"LoadState": "not-found", "ActiveState": "inactive"}, err: noUnit},
			bootstrap.UnitResult{ActiveState: "inactive", ConditionMet: true, Err: "start kubelet.service: unit kubelet.service not found"},
			1,
		},
		"connection lost on the way": {
			&manager{err: errors.New("EOF"), read: errors.New("closed")},
			bootstrap.UnitResult{ConditionMet: true, Err: "start kubelet.service: EOF read kubelet.service: closed"},
			1,
		},
		"properties of other types": {
			&manager{props: map[string]any{"ActiveState": 7, "NRestarts": "many"}, result: "done"},
			bootstrap.UnitResult{Job: "done", ConditionMet: true},
			1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.want.Unit = host.KubeletUnit
			got := units(c.m).Start(t.Context(), host.KubeletUnit)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if c.m.starts != c.starts {
				t.Errorf("%d starts, want %d", c.m.starts, c.starts)
			}
		})
	}
}

func TestStartDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		starting := map[string]any{"ActiveState": "activating", "SubState": "start-pre"}
		m := &manager{props: inactive, after: starting}
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		began := time.Now()
		got := units(m).Start(ctx, host.KubeletUnit)
		if took := time.Since(began); took != 90*time.Second {
			t.Errorf("took %v", took)
		}
		want := bootstrap.UnitResult{
			Unit: host.KubeletUnit, ActiveState: "activating", SubState: "start-pre", ConditionMet: true,
			Err: "start kubelet.service: no result of the job: context deadline exceeded",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		// A result after the deadline must not block systemd's connection.
		select {
		case m.asked <- "done":
		default:
			t.Error("a late result finds no buffer")
		}
	})
}

func TestUnitsReconnect(t *testing.T) {
	t.Parallel()
	conns := []*manager{{props: active}, {props: failed}}
	n := 0
	u := host.NewUnitsWith(func(context.Context) (host.Manager, error) {
		if n == 2 {
			return nil, errors.New("no bus")
		}
		n++
		return conns[n-1], nil
	}, "")
	for range 2 {
		if got := u.Inspect(t.Context(), "x.service"); got.ActiveState != "active" {
			t.Errorf("got %+v", got)
		}
	}
	conns[0].lost = true
	if got := u.Inspect(t.Context(), "x.service"); got.ActiveState != "failed" || n != 2 || conns[0].closed != 1 {
		t.Errorf("got %+v with %d connections, %d closed", got, n, conns[0].closed)
	}
	u.Close()
	want := bootstrap.UnitResult{Unit: "x.service", ConditionMet: true, Err: "connect to systemd: no bus"}
	if diff := cmp.Diff(want, u.Inspect(t.Context(), "x.service")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want = bootstrap.UnitResult{Unit: "x.service", Err: "connect to systemd: no bus"}
	if diff := cmp.Diff(want, u.Start(t.Context(), "x.service")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUnitsConnectHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{}, 2)
		u := host.NewUnitsWith(func(ctx context.Context) (host.Manager, error) {
			<-ctx.Done()
			ended <- struct{}{}
			return nil, ctx.Err()
		}, "")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go u.Inspect(ctx, "x.service")
		synctest.Wait()
		// A second caller does not wait for the first one's deadline.
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if got := u.Start(short, "x.service"); got.Err == "" || time.Since(began) != time.Second {
			t.Errorf("got %+v after %v", got, time.Since(began))
		}
		<-ended // the attempt ends with the deadline
	})
}

func TestInspectHealthz(t *testing.T) {
	// The proxy must not be asked: not parallel.
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   bool
	}{
		"ok":       {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }, true},
		"sick":     {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) }, false},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, false},
		"stalls":   {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(c.answer)
			t.Cleanup(srv.Close)
			u := host.NewUnitsWith(func(context.Context) (host.Manager, error) { return &manager{props: active}, nil }, srv.URL+"/healthz")
			began := time.Now()
			if got := u.Inspect(t.Context(), host.KubeletUnit); got.Healthy != c.want || got.Err != "" || got.ActiveState != "active" {
				t.Errorf("got %+v", got)
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("took %v", took)
			}
			if got := u.Inspect(t.Context(), "other.service"); got.Healthy {
				t.Error("another unit has the kubelet's health")
			}
		})
	}
	u := host.NewUnitsWith(func(context.Context) (host.Manager, error) { return &manager{props: active}, nil }, "")
	if got := u.Inspect(t.Context(), host.KubeletUnit); got.Healthy || got.Err != "" {
		t.Errorf("nobody listens: %+v", got)
	}
}

func TestCloudFinal(t *testing.T) {
	t.Parallel()
	job := func(id uint32) []any { return []any{id, "/org/freedesktop/systemd1/job/1"} }
	for name, c := range map[string]struct {
		props   map[string]any
		pending bool
		state   string
	}{
		"not installed": {map[string]any{"LoadState": "not-found", "ActiveState": "inactive", "Job": job(0)}, false, "not-found"},
		"masked":        {map[string]any{"LoadState": "masked", "ActiveState": "inactive", "Job": job(0)}, false, "masked"},
		"active":        {map[string]any{"LoadState": "loaded", "ActiveState": "active", "Job": job(0)}, false, "active"},
		"failed":        {map[string]any{"LoadState": "loaded", "ActiveState": "failed", "Job": job(0)}, false, "failed"},
		"queued":        {map[string]any{"LoadState": "loaded", "ActiveState": "inactive", "Job": job(42)}, true, "inactive"},
		"not wanted":    {map[string]any{"LoadState": "loaded", "ActiveState": "inactive", "Job": job(0)}, false, "inactive"},
		"no job known":  {map[string]any{"LoadState": "loaded", "ActiveState": "inactive"}, false, "inactive"},
		"running":       {map[string]any{"LoadState": "loaded", "ActiveState": "activating", "Job": job(42)}, true, "activating"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := units(&manager{props: c.props}).CloudFinal(t.Context())
			want := bootstrap.ScriptState{Pending: c.pending, Unit: "cloud-final.service", State: c.state}
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestCloudFinalErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		none bool
	}{
		"no socket":     {&net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.ENOENT)}, true},
		"nobody there":  {&net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, true},
		"not permitted": {&net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := host.NewUnitsWith(func(context.Context) (host.Manager, error) { return nil, c.err }, "")
			got, err := u.CloudFinal(t.Context())
			if got.Pending || (err == nil) != c.none || (got.State == "no systemd") != c.none {
				t.Errorf("got %+v, %v", got, err)
			}
			if !c.none && !errors.Is(err, c.err) {
				t.Errorf("%v does not wrap %v", err, c.err)
			}
		})
	}
}

// A bus address where nothing is must not look like a systemd with nothing to
// do, and a bus that takes connections and says nothing must not hang.
func TestRealDial(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(dir, "bus"))
	u := host.NewUnits("")
	if os.Geteuid() != 0 || !exists("/run/systemd/private") {
		if got, err := u.CloudFinal(t.Context()); err != nil || got.State != "no systemd" {
			t.Errorf("got %+v, %v", got, err)
		}
	}

	silent, err := net.Listen("unix", filepath.Join(dir, "bus"))
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, silent)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	got := u.Start(ctx, host.KubeletUnit)
	if !strings.HasPrefix(got.Err, "connect to systemd: context deadline exceeded") || time.Since(began) > 2*time.Second {
		t.Errorf("%+v after %v", got, time.Since(began))
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
