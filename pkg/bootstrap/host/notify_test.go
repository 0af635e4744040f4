package host_test

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
)

func TestNotifier(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, conn)
	n := host.Notifier{Socket: socket}
	for _, c := range []struct {
		send func() error
		want string
	}{
		{func() error { return n.Status("blocked 42s:\nREADY=1") }, "STATUS=blocked 42s: READY=1"},
		{n.Ready, "READY=1"},
		{func() error { return n.Extend(90 * time.Second) }, "EXTEND_TIMEOUT_USEC=90000000"},
		{
			func() error {
				return n.Send(host.Notice{Ready: true, Stopping: true, Status: "ends", Errno: 110, Extend: time.Microsecond})
			},
			"READY=1\nSTOPPING=1\nSTATUS=ends\nERRNO=110\nEXTEND_TIMEOUT_USEC=1",
		},
	} {
		if err := c.send(); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		got, err := conn.Read(b)
		if err != nil || string(b[:got]) != c.want {
			t.Errorf("got %q, %v, want %q", b[:got], err, c.want)
		}
	}
}

func TestNotifierWithoutManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := host.NewNotifier().Ready(); err != nil {
		t.Error(err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	if err := host.NewNotifier().Ready(); err == nil {
		t.Error("READY=1 into nothing is no error")
	}
	if err := host.NewNotifier().Send(host.Notice{}); err != nil {
		t.Errorf("nothing to say: %v", err)
	}
}

// A service manager that does not read stops nobody for long.
func TestNotifierStuck(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, conn)
	n := host.Notifier{Socket: socket}
	for i := 0; ; i++ {
		began := time.Now()
		err := n.Status("still here")
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("message %d took %v", i, took)
		}
		if err != nil {
			return
		}
		if i > 10_000 {
			t.Fatal("the socket never fills")
		}
	}
}
