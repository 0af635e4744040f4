package vpc_test

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// TestCapture sends one packet of each kind and finds it again.
func TestCapture(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{})
	began := time.Now()
	c, err := v.Capture()
	if err != nil {
		t.Fatal(err)
	}
	api := v.Addresses(vpc.APIServer)[0]
	err = v.Exec(func() error {
		q, err := new(dns.Msg).SetQuestion("ec2.us-west-2.amazonaws.com.", dns.TypeA).Pack()
		if err != nil {
			return err
		}
		for _, to := range []struct{ network, address string }{
			{"udp", netip.AddrPortFrom(vpc.AmazonDNSAddr(), 53).String()},
			{"tcp", netip.AddrPortFrom(api, 443).String()},
		} {
			conn, err := net.Dial(to.network, to.address)
			if err != nil {
				return err
			}
			for range 2 { // the second one is a repetition
				if to.network == "udp" && err == nil {
					_, err = conn.Write(q)
				}
			}
			if err != nil {
				return err
			}
			if err := conn.Close(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	flows, err := c.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []netip.AddrPort{netip.AddrPortFrom(vpc.AmazonDNSAddr(), 53), netip.AddrPortFrom(api, 443)} {
		i := slices.IndexFunc(flows, func(f vpc.Flow) bool { return f.To == want })
		if i < 0 {
			t.Errorf("%s is not among %+v", want, flows)
			continue
		}
		if n := len(flows[i].Begun); n != 1 {
			t.Errorf("%s was begun %d times: %+v", want, n, flows[i])
		}
		for _, at := range flows[i].At {
			if at.Before(began) || at.After(time.Now()) {
				t.Errorf("a packet to %s left at %s", want, at)
			}
		}
		if f := flows[i]; len(f.At) != f.Packets || f.Proto == "udp" && f.Packets != 2 {
			t.Errorf("packets to %s: %+v", want, f)
		}
		if f := flows[i]; f.Proto == "udp" && !slices.Equal(f.Names, []string{"ec2.us-west-2.amazonaws.com"}) {
			t.Errorf("names %v", f.Names)
		}
	}
}
