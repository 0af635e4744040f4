package host_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
)

func TestJournalPublishesChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got []string
		j := host.NewJournalWith(func(e host.Entry) error {
			got = append(got, time.Now().Format("15:04 ")+e.Fields["NODEPREP_STATE"]+" "+e.Fields["NODEPREP_CODE"])
			return nil
		}, nil)
		start := time.Now()
		at := func(minutes int) string { return start.Add(time.Duration(minutes) * time.Minute).Format("15:04 ") }
		blocked := outcome(findings(securityGroup()))
		j.Publish(outcome())
		j.Publish(blocked)
		for range 20 { // rounds that change nothing
			wait(time.Minute)
			j.Publish(blocked)
		}
		j.Publish(outcome(findings(), opened("nodeprep")))
		wait(2 * time.Hour)
		if err := close5s(t, j); err != nil {
			t.Error(err)
		}
		j.Publish(outcome())
		want := []string{
			at(0) + "new NP-NET-105", at(0) + "new NP-NET-105", // finding, verdict
			at(1) + "still NP-NET-105", at(3) + "still NP-NET-105", at(7) + "still NP-NET-105", at(15) + "still NP-NET-105",
			at(20) + "resolved NP-NET-105", at(20) + "new none",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestJournalFallback(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	j := host.NewJournalWith(func(host.Entry) error { return errors.New("no journald") }, &b)
	j.Send(host.Entry{Message: "first", Priority: 2})
	j.Send(host.Entry{Message: "second", Priority: 6})
	if err := close5s(t, j); err == nil || j.Dropped() != 2 {
		t.Errorf("Close: %v, %d dropped", err, j.Dropped())
	}
	if got := b.String(); got != "<2>first\n<6>second\n" {
		t.Errorf("got %q", got)
	}
}

// journald makes journald's socket in a /run of this process's own.
func journald(t *testing.T) *net.UnixConn {
	t.Helper()
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount("/run", unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := os.MkdirAll("/run/systemd/journal", 0o755); err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/run/systemd/journal/socket", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, conn)
	return conn
}

// The rest is on the real socket, one after the other: go-systemd knows one path
// and keeps one socket for the process.
func TestJournald(t *testing.T) {
	conn := journald(t)

	j := host.NewJournal(nil)
	j.Publish(outcome(findings(securityGroup())))
	if err := close5s(t, j); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	var verdict string
	for range 2 {
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		verdict = string(buf[:n])
	}
	for _, line := range []string{
		"MESSAGE=kubelet.service is held back: NP-NET-105 ecr.api: the endpoint's security group drops TCP 443",
		"PRIORITY=2", "MESSAGE_ID=" + bootstrap.MessageBlocked, "SYSLOG_IDENTIFIER=nodeprep", "OBJECT_SYSTEMD_UNIT=kubelet.service",
		"NODEPREP_ADDR=10.0.12.34 10.0.13.40 10.0.14.9", "NODEPREP_REMEDY=" + securityGroup().Remedy,
	} {
		if !strings.Contains("\n"+verdict, "\n"+line+"\n") {
			t.Errorf("no %q in:\n%s", line, verdict)
		}
	}

	// Nobody reads from here on.
	j = host.NewJournal(nil)
	longest := time.Duration(0)
	for range 5000 {
		at := time.Now()
		j.Send(host.Entry{Message: strings.Repeat("x", 100), Priority: 6})
		longest = max(longest, time.Since(at))
	}
	if longest > time.Second {
		t.Errorf("Send blocked for %v", longest)
	}
	if j.Dropped() == 0 {
		t.Error("nothing dropped, so the socket never was full")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	at := time.Now()
	if err := j.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(at) > time.Second {
		t.Errorf("Close: %v after %v", err, time.Since(at))
	}

	// A journald that reads again gets what was queued.
	go func() {
		for {
			if err := conn.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
				return
			}
			if _, err := conn.Read(buf); err != nil {
				return
			}
		}
	}()
	if err := close5s(t, j); errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("still stuck: %v", err)
	}
}
