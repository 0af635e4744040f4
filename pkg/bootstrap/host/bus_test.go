package host_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
)

// A bus is a system bus with as many services as a test needs. These tests set where it
// is in the environment, so none is parallel.
type bus struct {
	// answer returns the body of the reply to a call, or an error's name.
	answer func(destination, member string, flags dbus.Flags) (body []any, failure string)

	mu    sync.Mutex
	calls []string // destination and member, without Hello
	open  int
}

// serveBus starts a bus at which DBUS_SYSTEM_BUS_ADDRESS points.
func serveBus(t *testing.T, b *bus) *bus {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bus")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+path)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.open++
			b.mu.Unlock()
			go func() {
				b.serve(c)
				_ = c.Close()
				b.mu.Lock()
				b.open--
				b.mu.Unlock()
			}()
		}
	}()
	return b
}

// serve speaks the D-Bus Specification's "Authentication Protocol" as far as a
// client of this machine needs it, then answers calls.
func (b *bus) serve(c net.Conn) {
	if b.answer == nil { // accepts and says nothing, as a bus that is being started
		_, _ = io.Copy(io.Discard, c)
		return
	}
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		var say string
		switch words := strings.Fields(strings.TrimLeft(line, "\x00")); words[0] {
		case "AUTH":
			say = "OK 0123456789abcdef0123456789abcdef"
			if len(words) == 1 {
				say = "REJECTED EXTERNAL"
			}
		case "NEGOTIATE_UNIX_FD":
			say = "ERROR"
		case "BEGIN":
			b.talk(c, r)
			return
		default:
			say = "ERROR"
		}
		if _, err := io.WriteString(c, say+"\r\n"); err != nil {
			return
		}
	}
}

func (b *bus) talk(w io.Writer, r io.Reader) {
	for serial := uint32(1); ; serial++ {
		call, err := dbus.DecodeMessage(r)
		if err != nil {
			return
		}
		destination, _ := call.Headers[dbus.FieldDestination].Value().(string)
		member, _ := call.Headers[dbus.FieldMember].Value().(string)
		reply := &dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldReplySerial: dbus.MakeVariant(call.Serial()),
		}}
		if member == "Hello" {
			reply.Body = []any{":1.7"}
		} else {
			b.mu.Lock()
			b.calls = append(b.calls, destination+" "+member)
			b.mu.Unlock()
			body, failure := b.answer(destination, member, call.Flags)
			if failure == "silence" {
				continue
			}
			reply.Body = body
			if failure != "" {
				reply.Type = dbus.TypeError
				reply.Headers[dbus.FieldErrorName] = dbus.MakeVariant(failure)
			}
		}
		if len(reply.Body) > 0 {
			reply.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(reply.Body...))
		}
		// The library counts serials of its own connections only.
		if err := encode(w, reply, serial); err != nil {
			return
		}
	}
}

// encode writes a message with a serial, which the library's messages do not let one
// set: it is the four bytes from the eighth on.
func encode(w io.Writer, m *dbus.Message, serial uint32) error {
	var raw strings.Builder
	if err := m.EncodeTo(&raw, binary.LittleEndian); err != nil {
		return err
	}
	data := []byte(raw.String())
	binary.LittleEndian.PutUint32(data[8:], serial)
	_, err := w.Write(data)
	return err
}

// seen returns the calls so far.
func (b *bus) seen() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.calls)
}

// closed waits until no connection is left.
func (b *bus) closed(t *testing.T) {
	t.Helper()
	for range 200 {
		b.mu.Lock()
		open := b.open
		b.mu.Unlock()
		if open == 0 {
			return
		}
		wait(10 * time.Millisecond)
	}
	t.Error("a connection to the bus is left")
}

func TestReadClockState(t *testing.T) {
	props := func(p map[string]dbus.Variant) []any { return []any{p} }
	v := func(b bool) dbus.Variant { return dbus.MakeVariant(b) }
	for name, c := range map[string]struct {
		body    []any
		failure string
		want    bootstrap.ClockState
		slow    bool
	}{
		"synchronised":      {body: props(map[string]dbus.Variant{"NTPSynchronized": v(true), "NTP": v(true), "Timezone": dbus.MakeVariant("UTC")}), want: bootstrap.ClockState{Known: true, Synchronized: true, Service: true}},
		"not yet":           {body: props(map[string]dbus.Variant{"NTPSynchronized": v(false), "NTP": v(true)}), want: bootstrap.ClockState{Known: true, Service: true}},
		"no service":        {body: props(map[string]dbus.Variant{"NTPSynchronized": v(false), "NTP": v(false)}), want: bootstrap.ClockState{Known: true}},
		"another form":      {body: props(map[string]dbus.Variant{"NTPSynchronized": dbus.MakeVariant("yes"), "NTP": v(true)})},
		"no properties":     {body: props(map[string]dbus.Variant{})},
		"another answer":    {body: []any{"x"}},
		"not installed":     {failure: "org.freedesktop.DBus.Error.ServiceUnknown"},
		"never answers":     {failure: "silence", slow: true},
		"cannot be started": {failure: "org.freedesktop.DBus.Error.TimedOut"},
	} {
		t.Run(name, func(t *testing.T) {
			b := serveBus(t, &bus{answer: func(_, _ string, flags dbus.Flags) ([]any, string) {
				if flags&dbus.FlagNoAutoStart != 0 {
					t.Error("timedated would not be started")
				}
				return c.body, c.failure
			}})
			began := time.Now()
			if diff := cmp.Diff(c.want, host.ReadClockState(t.Context())); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if took := time.Since(began); took > 1500*time.Millisecond || !c.slow && took > 700*time.Millisecond {
				t.Errorf("took %v", took)
			}
			if diff := cmp.Diff([]string{"org.freedesktop.timedate1 GetAll"}, b.seen()); diff != "" {
				t.Errorf("calls: -want +got:\n%s", diff)
			}
			b.closed(t)
		})
	}
}

func TestFlushDNS(t *testing.T) {
	const (
		asked   = "org.freedesktop.DBus NameHasOwner"
		flushed = "org.freedesktop.resolve1 FlushCaches"
	)
	for name, c := range map[string]struct {
		runs          bool
		owner, answer string // error names
		calls         []string
		bad           bool
	}{
		"runs":           {runs: true, calls: []string{asked, flushed}},
		"does not run":   {calls: []string{asked}},
		"ended just now": {runs: true, answer: "org.freedesktop.DBus.Error.ServiceUnknown", calls: []string{asked, flushed}},
		"has no owner":   {runs: true, answer: "org.freedesktop.DBus.Error.NameHasNoOwner", calls: []string{asked, flushed}},
		"refuses":        {runs: true, answer: "org.freedesktop.DBus.Error.AccessDenied", calls: []string{asked, flushed}, bad: true},
		"bus refuses":    {owner: "org.freedesktop.DBus.Error.AccessDenied", calls: []string{asked}, bad: true},
		"never answers":  {runs: true, answer: "silence", calls: []string{asked, flushed}, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := serveBus(t, &bus{answer: func(_, member string, flags dbus.Flags) ([]any, string) {
				if member == "NameHasOwner" {
					return []any{c.runs}, c.owner
				}
				if flags&dbus.FlagNoAutoStart == 0 {
					t.Error("systemd-resolved would be started")
				}
				return nil, c.answer
			}})
			if err := host.FlushDNS(t.Context()); (err != nil) != c.bad {
				t.Errorf("error %v", err)
			}
			if diff := cmp.Diff(c.calls, b.seen()); diff != "" {
				t.Errorf("calls: -want +got:\n%s", diff)
			}
			b.closed(t)
		})
	}
}

// A bus that is not there, or not yet, holds nobody up.
func TestBusNotUp(t *testing.T) {
	t.Run("no socket", func(t *testing.T) {
		t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "none"))
		began := time.Now()
		if s := host.ReadClockState(t.Context()); s != (bootstrap.ClockState{}) {
			t.Errorf("%+v", s)
		}
		if err := host.FlushDNS(t.Context()); err != nil {
			t.Errorf("flush: %v, want none: there is no resolver", err)
		}
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
	t.Run("silent", func(t *testing.T) {
		b := serveBus(t, &bus{})
		began := time.Now()
		if s := host.ReadClockState(t.Context()); s != (bootstrap.ClockState{}) {
			t.Errorf("%+v", s)
		}
		if took := time.Since(began); took < 900*time.Millisecond || took > 1500*time.Millisecond {
			t.Errorf("took %v, want a second", took)
		}
		if err := host.FlushDNS(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("flush: %v, want the deadline", err)
		}
		b.closed(t)
	})
	t.Run("canceled", func(t *testing.T) {
		b := serveBus(t, &bus{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := host.FlushDNS(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("flush: %v, want canceled", err)
		}
		b.closed(t)
	})
}
