package netcfg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// readTries bounds how often a dump is asked for again when the kernel
	// marked it inconsistent: something changed while it was being listed.
	readTries = 10
	// netlinkTimeout is a guard only; the kernel answers dumps at once.
	netlinkTimeout = time.Second
)

// Read returns the network state of the namespace the calling process is in.
// The DNS configuration and the hosts file are read from below root; "" means /. It sends
// no packet, and asks the kernel again a few times when the tables change under
// its hands. Errors are the operating system's; a missing resolv.conf is not one.
func Read(ctx context.Context, root string) (State, error) {
	k, err := openKernel()
	if err != nil {
		return State{}, fmt.Errorf("open netlink socket: %w", err)
	}
	defer k.close()

	var s State
	steps := []struct {
		what string
		read func(*State) error
	}{
		{"links", k.links},
		{"addresses", k.addresses},
		{"rules", k.rules},
		{"routes", k.routes}, // after the rules: they name the tables to keep
	}
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return State{}, err
		}
		if err := retry(func() error { return step.read(&s) }); err != nil {
			return State{}, fmt.Errorf("read %s: %w", step.what, err)
		}
	}
	if s.Hostname, err = os.Hostname(); err != nil {
		return State{}, fmt.Errorf("read host name: %w", err)
	}
	if s.DNS, err = ReadDNS(root); err != nil {
		return State{}, err
	}
	// A file that cannot be read has no entries for this machine's programs either.
	if hosts, err := ReadHosts(root, s.Hostname); err == nil {
		s.Hosts = hosts
	}
	s.LinkLocalDropped = linkLocalDropped(k.cards, openCards)
	return s, nil
}

// retry repeats a dump that was interrupted, at most readTries times in all.
func retry(dump func() error) error {
	var err error
	for range readTries {
		err = dump()
		if !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
	return err
}

// A kernel is an open conversation with rtnetlink.
type kernel struct {
	handle *netlink.Handle
	// cards are the names of the links that may be network cards: those that the
	// kernel did not make up itself, as it does a veth or a bridge.
	cards []string
}

func openKernel() (*kernel, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	if err := h.SetSocketTimeout(netlinkTimeout); err != nil {
		h.Close()
		return nil, err
	}
	return &kernel{handle: h}, nil
}

func (k *kernel) close() { k.handle.Close() }
