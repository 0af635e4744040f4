package netcfg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watchSettle is how long a burst of changes (link up, address, routes) is
// collected before one notification: enough for one DHCP answer to be applied,
// short against a boot.
const watchSettle = 20 * time.Millisecond

// watchGroups are the changes Watch is about (the RTMGRP masks of linux/rtnetlink.h).
const watchGroups = unix.RTMGRP_LINK |
	unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
	unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE

// Watch sends a value after a link, an address or a route changed. Changes are
// coalesced: one value stands for all since the last one was received, and a
// slow receiver never blocks anything. The channel is closed when ctx ends or
// the kernel ends the subscription. What happens after Watch returned is not missed.
func Watch(ctx context.Context) (<-chan struct{}, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: watchGroups}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("subscribe to network changes: %w", err)
	}
	// A file of a non-blocking socket waits in the runtime's poller, where
	// closing it ends the wait.
	f := os.NewFile(uintptr(fd), "rtnetlink")
	changes := make(chan struct{}, 1)
	go watch(ctx, f, changes)
	return changes, nil
}

func watch(ctx context.Context, f *os.File, changes chan<- struct{}) {
	defer close(changes)
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	defer func() {
		stop()
		_ = f.Close()
	}()
	// The content does not matter, the reader reads the state anew: a message
	// larger than the buffer is cut by the kernel and counts all the same.
	buf := make([]byte, 4096)
	for {
		if err := f.SetReadDeadline(time.Time{}); err != nil {
			return
		}
		if !received(f, buf) {
			return
		}
		if err := f.SetReadDeadline(time.Now().Add(watchSettle)); err != nil {
			return
		}
		for {
			_, err := f.Read(buf)
			if err != nil && !errors.Is(err, syscall.ENOBUFS) {
				break // settled, or closed: the next wait tells
			}
		}
		select {
		case changes <- struct{}{}:
		default: // the last one was not received yet and stands for this too
		}
	}
}

// received waits for one message. ENOBUFS means that the kernel dropped
// messages, so something changed.
func received(f *os.File, buf []byte) bool {
	_, err := f.Read(buf)
	return err == nil || errors.Is(err, syscall.ENOBUFS)
}
