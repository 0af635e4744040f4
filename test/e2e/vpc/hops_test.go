package vpc_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// A client behind one more hop than allowed connects, and gets no token.
func TestHopLimit(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{HopLimit: 1})
	if got := metadata(t, v, "meta-data/placement/region"); got != "us-west-2" {
		t.Fatalf("from the node itself: %s", got)
	}
	token := behindNode(t, v)
	if s := token(); s != "silence" {
		t.Errorf("with hop limit 1: %s", s)
	}
	v = newVPC(t, vpc.Options{HopLimit: 2})
	token = behindNode(t, v)
	if s := token(); s != "ok" {
		t.Errorf("with hop limit 2: %s", s)
	}
}

// behindNode makes a pod with an interface of its own on the node and returns
// what asks for a metadata token from in there.
func behindNode(t *testing.T, v *vpc.VPC) func() string {
	t.Helper()
	pod := netns.None()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(v.Exec(func() error {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600); err != nil {
			return err
		}
		var err error
		pod, err = netns.New() // the thread is thrown away
		return err
	}))
	t.Cleanup(func() { _ = pod.Close() })
	up := func(name, address string) error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		return errors.Join(netlink.AddrAdd(link, a), netlink.LinkSetUp(link))
	}
	must(v.Exec(func() error {
		err := netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "pod0", Index: 50}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(pod)),
		})
		return errors.Join(err, up("pod0", "10.20.1.60/32"))
	}))
	inPod := func(f func() error) error {
		return v.Exec(func() error { return errors.Join(netns.Set(pod), f()) })
	}
	must(inPod(func() error {
		err := up("eth0", "10.20.1.61/24")
		_, all, _ := net.ParseCIDR("0.0.0.0/0")
		return errors.Join(err, netlink.RouteAdd(&netlink.Route{Dst: all, Gw: net.ParseIP("10.20.1.60")}))
	}))
	// The node answers for the pod's address on the subnet, and knows where it is.
	must(v.Exec(func() error {
		link, err := netlink.LinkByName("pod0")
		if err != nil {
			return err
		}
		_, to, _ := net.ParseCIDR("10.20.1.61/32")
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		proxy := &netlink.Neigh{LinkIndex: eth0.Attrs().Index, IP: to.IP, Flags: netlink.NTF_PROXY, Family: netlink.FAMILY_V4}
		return errors.Join(
			netlink.RouteAdd(&netlink.Route{Dst: to, LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK}),
			netlink.NeighAdd(proxy),
		)
	}))
	return func() string {
		var c net.Conn
		err := inPod(func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
			defer cancel()
			var err error
			c, err = new(net.Dialer).DialContext(ctx, "tcp", "169.254.169.254:80")
			return err
		})
		if err != nil {
			return "connect: " + symptom(err)
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(patience))
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://169.254.169.254/latest/api/token", nil)
		must(err)
		req.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", "60")
		must(req.Write(c))
		_, err = c.Read(make([]byte, 1))
		return symptom(err)
	}
}
