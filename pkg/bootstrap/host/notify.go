package host

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// notifyDeadline limits the wait for a service manager that does not read.
const notifyDeadline = 2 * time.Second

// A Notice is one message to the service manager (sd_notify(3)).
type Notice struct {
	Ready    bool
	Stopping bool
	Status   string        // one line for systemctl status
	Errno    int           // the kernel's error number; 0 for none
	Extend   time.Duration // the next sign of life is due before this has passed
}

// String is the datagram: one assignment a line.
func (n Notice) String() string {
	var lines []string
	if n.Ready {
		lines = append(lines, "READY=1")
	}
	if n.Stopping {
		lines = append(lines, "STOPPING=1")
	}
	if n.Status != "" {
		lines = append(lines, "STATUS="+oneLine(n.Status))
	}
	if n.Errno != 0 {
		lines = append(lines, "ERRNO="+strconv.Itoa(n.Errno))
	}
	if n.Extend > 0 {
		lines = append(lines, "EXTEND_TIMEOUT_USEC="+strconv.FormatInt(n.Extend.Microseconds(), 10))
	}
	return strings.Join(lines, "\n")
}

// A Notifier talks to the service manager that started this program. The zero
// Notifier has none and does nothing.
type Notifier struct {
	// Socket is a path, or a name in the abstract namespace behind an @.
	Socket string
}

// NewNotifier returns the notifier for NOTIFY_SOCKET.
func NewNotifier() Notifier { return Notifier{Socket: os.Getenv("NOTIFY_SOCKET")} }

// Send sends a notice in one datagram. Without a service manager, or with
// nothing to say, it does nothing.
func (n Notifier) Send(notice Notice) error {
	datagram := notice.String()
	if n.Socket == "" || datagram == "" {
		return nil
	}
	// go-systemd's SdNotify has no deadline, and a manager that does not read
	// must not stop the probing.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.Socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetWriteDeadline(time.Now().Add(notifyDeadline)); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	if _, err := conn.Write([]byte(datagram)); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}

// Status sets the line that systemctl status shows.
func (n Notifier) Status(line string) error { return n.Send(Notice{Status: line}) }

// Ready says that the unit's job is done.
func (n Notifier) Ready() error { return n.Send(Notice{Ready: true}) }

// Extend says that no sign of life is due before d has passed.
func (n Notifier) Extend(d time.Duration) error { return n.Send(Notice{Extend: d}) }
