package netcfg_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodeprep/nodeprep/pkg/netcfg"
)

// wait reports whether a value came within d.
func wait(c <-chan struct{}, d time.Duration) bool {
	select {
	case _, ok := <-c:
		return ok
	case <-time.After(d):
		return false
	}
}

func TestWatch(t *testing.T) {
	ens, _ := veth(t, "ens5", "02:29:96:8f:6a:2d", false)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes, err := netcfg.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if wait(changes, 100*time.Millisecond) {
		t.Fatal("a change before anything changed")
	}
	steps := []struct {
		name string
		do   func() error
	}{
		{"link up", func() error { return netlink.LinkSetUp(ens) }},
		{"address", func() error {
			a, _ := netlink.ParseAddr("10.0.1.23/24")
			return netlink.AddrAdd(ens, a)
		}},
		{"route", func() error {
			return netlink.RouteAdd(&netlink.Route{Dst: ipnet("192.0.2.0/24"), Type: unix.RTN_BLACKHOLE})
		}},
		{"IPv6 route", func() error {
			return netlink.RouteAdd(&netlink.Route{Dst: ipnet("2001:db8:1::/64"), Type: unix.RTN_BLACKHOLE, LinkIndex: 1})
		}},
		{"route removed", func() error {
			return netlink.RouteDel(&netlink.Route{Dst: ipnet("192.0.2.0/24"), Type: unix.RTN_BLACKHOLE})
		}},
		{"IPv6 route removed", func() error {
			return netlink.RouteDel(&netlink.Route{Dst: ipnet("2001:db8:1::/64"), Type: unix.RTN_BLACKHOLE, LinkIndex: 1})
		}},
	}
	for _, step := range steps {
		for wait(changes, 150*time.Millisecond) { // late echoes of the step before
		}
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if !wait(changes, 2*time.Second) {
			t.Errorf("%s: no change seen", step.name)
		}
	}

	// A burst nobody reads becomes one value.
	for wait(changes, 150*time.Millisecond) {
	}
	for i := range 300 {
		r := netlink.Route{Dst: ipnet(fmt.Sprintf("198.51.%d.0/24", i%250)), Type: unix.RTN_BLACKHOLE}
		_ = netlink.RouteAdd(&r)
		_ = netlink.RouteDel(&r)
	}
	<-time.After(100 * time.Millisecond)
	n := 0
	for wait(changes, 200*time.Millisecond) {
		n++
	}
	if n != 1 {
		t.Errorf("a burst of 600 changes became %d values, want 1", n)
	}

	cancel()
	select {
	case _, open := <-changes:
		if open {
			t.Error("a change after the context ended")
		}
	case <-time.After(2 * time.Second):
		t.Error("the channel is still open 2 s after the context ended")
	}
}
