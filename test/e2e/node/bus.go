package node

import (
	"context"
	"fmt"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// A Unit is what systemd says of a unit now.
type Unit struct {
	LoadState   string // loaded, not-found, masked, …
	ActiveState string // active, activating, inactive, failed, …
	SubState    string
	Result      string // success, exit-code, timeout, …; services only
	StatusText  string // what the service last sent as STATUS=
	// MainPID is 0 while there is no process, in the node's numbering.
	MainPID uint32
	// ExitStatus of the last main process.
	ExitStatus int32
	Restarts   uint32
	// ConditionMet is false when a Condition kept the last start from happening.
	ConditionMet bool
}

func (u Unit) String() string {
	s := fmt.Sprintf("%s (%s)", u.ActiveState, u.SubState)
	if u.Result != "" && u.Result != "success" {
		s += fmt.Sprintf(", result %s, exit status %d", u.Result, u.ExitStatus)
	}
	if u.StatusText != "" {
		s += fmt.Sprintf(", status %q", u.StatusText)
	}
	return s
}

// dial connects to the node's system bus from outside. The socket's file belongs
// to root and there is no user namespace between, so EXTERNAL as 0 is the truth.
func (n *Node) dial(ctx context.Context, sock string) error {
	life, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	// The connection outlives ctx, the connecting does not.
	stop := context.AfterFunc(ctx, hangUp)
	defer stop()
	bus, err := dbus.NewConnection(func() (*godbus.Conn, error) {
		c, err := godbus.Dial("unix:path="+sock, godbus.WithContext(life))
		if err != nil {
			return nil, err
		}
		if err := c.Auth([]godbus.Auth{godbus.AuthExternal("0")}); err != nil {
			_ = c.Close()
			return nil, err
		}
		if err := c.Hello(); err != nil {
			_ = c.Close()
			return nil, err
		}
		return c, nil
	})
	if err != nil {
		hangUp()
		return err
	}
	n.bus = bus
	n.hangUp = func() { bus.Close(); hangUp() }
	return nil
}

// manager calls a method of systemd's manager that has no arguments.
func (n *Node) manager(ctx context.Context, method string) error {
	if n.bus == nil {
		return fmt.Errorf("%s: no bus", method)
	}
	c, err := godbus.Dial(fmt.Sprintf("unix:path=/proc/%d/root/run/dbus/system_bus_socket", n.leader), godbus.WithContext(ctx))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := c.Auth([]godbus.Auth{godbus.AuthExternal("0")}); err != nil {
		return err
	}
	if err := c.Hello(); err != nil {
		return err
	}
	return c.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1").
		CallWithContext(ctx, "org.freedesktop.systemd1.Manager."+method, 0).Err
}

// Unit asks systemd for the state of a unit. A unit that does not exist has
// LoadState not-found.
func (n *Node) Unit(ctx context.Context, name string) (Unit, error) {
	p, err := n.bus.GetAllPropertiesContext(ctx, name)
	if err != nil {
		return Unit{}, fmt.Errorf("state of %s: %w", name, err)
	}
	var u Unit
	u.LoadState, _ = p["LoadState"].(string)
	u.ActiveState, _ = p["ActiveState"].(string)
	u.SubState, _ = p["SubState"].(string)
	u.Result, _ = p["Result"].(string)
	u.StatusText, _ = p["StatusText"].(string)
	u.MainPID, _ = p["MainPID"].(uint32)
	u.ExitStatus, _ = p["ExecMainStatus"].(int32)
	u.Restarts, _ = p["NRestarts"].(uint32)
	u.ConditionMet, _ = p["ConditionResult"].(bool)
	return u, nil
}

// WaitUnit waits until ok accepts the unit's state, and returns that state. When
// ctx ends first, the error says the last state seen.
func (n *Node) WaitUnit(ctx context.Context, name string, ok func(Unit) bool) (Unit, error) {
	var u Unit
	var asked error
	err := n.poll(ctx, name, func(ctx context.Context) bool {
		now, err := n.Unit(ctx, name)
		if err != nil {
			// The end of ctx says nothing about the unit.
			if ctx.Err() == nil {
				asked = err
			}
			return false
		}
		u, asked = now, nil
		return ok(u)
	})
	switch {
	case err == nil:
		return u, nil
	case asked != nil:
		return u, fmt.Errorf("%w (%w)", err, asked)
	default:
		return u, fmt.Errorf("%w; it is %s", err, u)
	}
}

// Start starts a unit and returns the job's result: done, failed, dependency, ….
// A start that a Condition refused is "done" too: ask for the Unit afterwards.
func (n *Node) Start(ctx context.Context, name string) (string, error) {
	return n.job(ctx, "start", name, n.bus.StartUnitContext)
}

// Stop stops a unit and returns the job's result.
func (n *Node) Stop(ctx context.Context, name string) (string, error) {
	return n.job(ctx, "stop", name, n.bus.StopUnitContext)
}

// Restart restarts a unit and returns the job's result.
func (n *Node) Restart(ctx context.Context, name string) (string, error) {
	return n.job(ctx, "restart", name, n.bus.RestartUnitContext)
}

// Kill sends a signal to the main process of a unit.
func (n *Node) Kill(ctx context.Context, name string, signal int32) error {
	return n.bus.KillUnitWithTarget(ctx, name, dbus.Main, signal)
}

func (n *Node) job(ctx context.Context, verb, name string, do func(context.Context, string, string, chan<- string) (int, error)) (string, error) {
	done := make(chan string, 1)
	if _, err := do(ctx, name, "replace", done); err != nil {
		return "", fmt.Errorf("%s %s: %w", verb, name, err)
	}
	select {
	case result := <-done:
		return result, nil
	case <-ctx.Done():
		return "", fmt.Errorf("%s %s: %w", verb, name, context.Cause(ctx))
	case <-n.exited:
		return "", fmt.Errorf("%s %s: the node has stopped", verb, name)
	}
}
