package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// busDeadline is the time a question over D-Bus gets, connecting included: enough to start
// systemd-timedated, and no hold-up for a machine whose bus is not up yet.
const busDeadline = time.Second

// Names on the bus (org.freedesktop.timedate1(5), org.freedesktop.resolve1(5)).
const (
	timedate1     = "org.freedesktop.timedate1"
	timedatePath  = "/org/freedesktop/timedate1"
	resolve1      = "org.freedesktop.resolve1"
	resolvePath   = "/org/freedesktop/resolve1"
	propertiesAll = "org.freedesktop.DBus.Properties.GetAll"
	nameHasOwner  = "org.freedesktop.DBus.NameHasOwner"
	// noOwner and noService are the errors for a name that nobody has (any more).
	noOwner   = "org.freedesktop.DBus.Error.NameHasNoOwner"
	noService = "org.freedesktop.DBus.Error.ServiceUnknown"
)

// ReadClockState asks systemd-timedated, which the bus starts for this, about the clock. It
// takes at most a second, mostly some milliseconds. Without an answer nothing is known. It
// is no part of ReadMachine: the answer changes while a machine boots, and a boot that
// needs no evidence about its clock need not wait for a service to be started.
func ReadClockState(ctx context.Context) bootstrap.ClockState {
	var props map[string]dbus.Variant
	err := onBus(ctx, func(ctx context.Context, conn *dbus.Conn) error {
		return conn.Object(timedate1, timedatePath).CallWithContext(ctx, propertiesAll, 0, timedate1).Store(&props)
	})
	if err != nil {
		return bootstrap.ClockState{}
	}
	var s bootstrap.ClockState
	synchronized, ok := props["NTPSynchronized"].Value().(bool)
	if !ok {
		return s
	}
	s.Known, s.Synchronized = true, synchronized
	s.Service, _ = props["NTP"].Value().(bool)
	return s
}

// FlushDNS empties the cache of systemd-resolved. Where that does not run there is none,
// and no error; it is not started for this. It takes at most a second.
func FlushDNS(ctx context.Context) error {
	err := onBus(ctx, func(ctx context.Context, conn *dbus.Conn) error {
		var runs bool
		if err := conn.BusObject().CallWithContext(ctx, nameHasOwner, 0, resolve1).Store(&runs); err != nil || !runs {
			return err
		}
		// It may end between the question and the call.
		call := conn.Object(resolve1, resolvePath).CallWithContext(ctx, resolve1+".Manager.FlushCaches", dbus.FlagNoAutoStart)
		if said, ok := errors.AsType[dbus.Error](call.Err); ok && (said.Name == noOwner || said.Name == noService) {
			return nil
		}
		return call.Err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		return nil // no bus, so nobody on it
	case err != nil:
		return fmt.Errorf("flush the cache of systemd-resolved: %w", err)
	}
	return nil
}

// onBus calls f with a connection to the system bus, and returns when f does or the
// deadline has passed.
func onBus(ctx context.Context, f func(context.Context, *dbus.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, busDeadline)
	defer cancel()
	done := make(chan error, 1)
	// A bus that is being started accepts a connection and says nothing; the end of ctx
	// closes the connection and so ends the goroutine.
	go func() {
		conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
		if err != nil {
			done <- err
			return
		}
		defer func() { _ = conn.Close() }()
		done <- f(ctx, conn)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
