package host

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// KubeletUnit is the unit whose health endpoint Inspect asks.
const KubeletUnit = "kubelet.service"

// readBack is the time for reading a unit's state after a job, granted even
// when the job used up its deadline.
const readBack = 2 * time.Second

// Manager is the part of systemd's D-Bus interface that Units uses.
type Manager interface {
	// StartUnitContext queues a start job; its result is sent to ch.
	StartUnitContext(ctx context.Context, name, mode string, ch chan<- string) (int, error)
	// GetAllPropertiesContext returns a unit's properties, values as plain Go types.
	GetAllPropertiesContext(ctx context.Context, unit string) (map[string]any, error)
	Connected() bool
	Close()
}

// Units starts and looks at systemd units. It connects when it is first used
// and again after a connection is lost. Its methods may be called from several
// goroutines.
type Units struct {
	connect func(context.Context) (Manager, error)
	health  health

	// turn guards conn. It is a channel, because a caller that waits for another
	// one's attempt to connect has a deadline of its own.
	turn chan struct{}
	conn Manager
}

// NewUnits returns the units of the systemd that answers at
// DBUS_SYSTEM_BUS_ADDRESS, else on the system bus, else (as root) on systemd's
// own socket. healthz is the URL of the kubelet's health endpoint, "" for
// DefaultHealthz.
func NewUnits(healthz string) *Units {
	return NewUnitsWith(func(ctx context.Context) (Manager, error) {
		conn, err := dbus.NewWithContext(ctx)
		if err != nil {
			return nil, err // not a nil *dbus.Conn in an interface
		}
		return conn, nil
	}, healthz)
}

// NewUnitsWith is NewUnits with a connection of the caller's. connect's context
// lives as long as the connection: the connection ends with it.
func NewUnitsWith(connect func(context.Context) (Manager, error), healthz string) *Units {
	return &Units{connect: connect, health: newHealth(healthz), turn: make(chan struct{}, 1)}
}

// Close ends the connection. Units can be used again.
func (u *Units) Close() {
	u.turn <- struct{}{}
	defer func() { <-u.turn }()
	if u.conn != nil {
		u.conn.Close()
		u.conn = nil
	}
}

// Start starts a unit, waits for the result of the job and reads the unit's
// state, whatever the result: a start that a condition of the unit refuses is
// reported as done. A unit that is active already is not started again; Job
// stays empty then. A failure to talk to systemd is in Err.
func (u *Units) Start(ctx context.Context, unit string) bootstrap.UnitResult {
	m, err := u.manager(ctx)
	if err != nil {
		return bootstrap.UnitResult{Unit: unit, Err: fmt.Sprintf("connect to systemd: %v", err)}
	}
	if props, err := m.GetAllPropertiesContext(ctx, unit); err == nil {
		if r := unitResult(unit, props); r.ActiveState == "active" {
			return r
		}
	}
	// Buffered: a result that comes after the deadline must not block the
	// connection for later jobs.
	result := make(chan string, 1)
	var failure error
	job := ""
	if _, err := m.StartUnitContext(ctx, unit, "replace", result); err != nil {
		failure = fmt.Errorf("start %s: %w", unit, err)
	} else {
		select {
		case job = <-result:
		case <-ctx.Done():
			failure = fmt.Errorf("start %s: no result of the job: %w", unit, context.Cause(ctx))
		}
	}
	// The state tells why, also when there is no time left to wait.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readBack)
	defer cancel()
	props, err := m.GetAllPropertiesContext(ctx, unit)
	if err != nil {
		err = fmt.Errorf("read %s: %w", unit, err)
	}
	r := unitResult(unit, props)
	r.Job = job
	if err := errors.Join(failure, err); err != nil {
		r.Err = oneLine(err.Error())
	}
	return r
}

// Inspect reads a unit's state and, for the kubelet, asks its health endpoint.
func (u *Units) Inspect(ctx context.Context, unit string) bootstrap.UnitResult {
	healthy := make(chan bool, 1)
	if unit == KubeletUnit {
		go func() { healthy <- u.health.ok(ctx) }()
	} else {
		healthy <- false
	}
	props, err := u.properties(ctx, unit)
	r := unitResult(unit, props)
	if err != nil {
		r.Err = oneLine(err.Error())
	}
	r.Healthy = <-healthy
	return r
}

// properties reads all properties of a unit.
func (u *Units) properties(ctx context.Context, unit string) (map[string]any, error) {
	m, err := u.manager(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to systemd: %w", err)
	}
	props, err := m.GetAllPropertiesContext(ctx, unit)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", unit, err)
	}
	return props, nil
}

// manager returns the connection, a new one if there is none that works.
func (u *Units) manager(ctx context.Context) (Manager, error) {
	select {
	case u.turn <- struct{}{}:
		defer func() { <-u.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if u.conn != nil {
		if u.conn.Connected() {
			return u.conn, nil
		}
		u.conn.Close()
		u.conn = nil
	}
	type dialed struct {
		m   Manager
		err error
	}
	// The connection outlives this call, so ctx only limits the wait for it.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan dialed, 1)
	go func() {
		m, err := u.connect(life)
		if err != nil {
			end()
		}
		done <- dialed{m, err}
	}()
	select {
	case d := <-done:
		if d.err != nil {
			return nil, d.err
		}
		u.conn = managed{Manager: d.m, end: end}
		return u.conn, nil
	case <-ctx.Done():
		// Ends the attempt, or the connection that it makes too late.
		end()
		return nil, context.Cause(ctx)
	}
}

// managed is a connection with the end of its context.
type managed struct {
	Manager
	end context.CancelFunc
}

// Close closes the connection.
func (m managed) Close() {
	m.Manager.Close()
	m.end()
}

// unitResult picks from a unit's properties what Outcome keeps. Names and
// values: org.freedesktop.systemd1(5), interfaces Unit and Service.
func unitResult(unit string, props map[string]any) bootstrap.UnitResult {
	r := bootstrap.UnitResult{
		Unit:         unit,
		ActiveState:  text(props, "ActiveState"),
		SubState:     text(props, "SubState"),
		Result:       text(props, "Result"),
		ConditionMet: true,
	}
	if status, ok := props["ExecMainStatus"].(int32); ok {
		r.ExitStatus = int(status)
	}
	if restarts, ok := props["NRestarts"].(uint32); ok {
		r.Restarts = int(restarts)
	}
	// ConditionResult is also false before the first start; ConditionTimestamp
	// tells the two apart.
	if tried, ok := props["ConditionTimestamp"].(uint64); ok && tried > 0 {
		if met, ok := props["ConditionResult"].(bool); ok {
			r.ConditionMet = met
		}
	}
	return r
}

func text(props map[string]any, name string) string {
	s, _ := props[name].(string)
	return s
}

// DefaultHealthz is where a kubelet answers by default (KubeletConfiguration
// healthzBindAddress and healthzPort).
const DefaultHealthz = "http://127.0.0.1:10248/healthz"

// health asks a kubelet how it is.
type health struct {
	url    string
	client *http.Client
}

func newHealth(url string) health {
	if url == "" {
		url = DefaultHealthz
	}
	// Its own transport: the proxy of the environment is not asked about
	// loopback, and no connection stays open to a kubelet that may restart.
	return health{url: url, client: &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true},
		Timeout:   time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}}
}

// ok reports whether the endpoint answered 200 within a second.
func (h health) ok(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url, nil)
	if err != nil {
		return false
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
