package vpc

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A slowLink is a wire on which each packet takes its time: two TAP devices of this
// process, which carries the frames from one to the other. The kernel's own way,
// the netem qdisc, is not in every kernel.
type slowLink struct{ ends [2]*os.File }

// maxFrame is the length of the longest frame, in bytes.
const maxFrame = wireMTU + 14

// newSlowLink connects subnet-a of the router with eth0 of the node. It needs
// /dev/net/tun.
func newSlowLink(router, node netns.NsHandle, mac net.HardwareAddr, latency time.Duration) (*slowLink, error) {
	l := new(slowLink)
	for i, end := range []struct {
		ns   netns.NsHandle
		name string
		mac  net.HardwareAddr
	}{{router, "subnet-a", nil}, {node, "eth0", mac}} {
		err := in(end.ns, func() error {
			var err error
			if l.ends[i], err = newTAP(end.name); err != nil {
				return err
			}
			link, err := netlink.LinkByName(end.name)
			if err != nil {
				return err
			}
			if end.mac != nil {
				if err := netlink.LinkSetHardwareAddr(link, end.mac); err != nil {
					return err
				}
			}
			return netlink.LinkSetMTU(link, wireMTU)
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make the slow end %s: %w", end.name, err), l.close())
		}
	}
	go carry(l.ends[0], l.ends[1], latency)
	go carry(l.ends[1], l.ends[0], latency)
	return l, nil
}

// close takes the devices away, and ends what carries.
func (l *slowLink) close() error {
	var errs []error
	for _, f := range l.ends {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// newTAP makes a device that exists as long as the file is open.
func newTAP(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("TUNSETIFF: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// carry takes frames from one end to the other, each for the latency, until the ends
// are closed.
func carry(from, to *os.File, latency time.Duration) {
	type frame struct {
		due  time.Time
		data []byte
	}
	// More than are under way at any time here: a queue that is full would drop nothing
	// and be slower.
	frames := make(chan frame, 1<<12)
	go func() {
		timer := time.NewTimer(0)
		defer timer.Stop()
		for f := range frames {
			timer.Reset(time.Until(f.due))
			<-timer.C
			_, _ = to.Write(f.data) // a device that is down takes none
		}
	}()
	defer close(frames)
	buffer := make([]byte, maxFrame)
	for {
		n, err := from.Read(buffer)
		switch {
		case err == nil:
			frames <- frame{time.Now().Add(latency), append([]byte(nil), buffer[:n]...)}
		case errors.Is(err, unix.EIO): // it is down, not up yet
			<-time.After(time.Millisecond)
		default:
			return
		}
	}
}
