package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// maxLinkLocal is how many packets a second may go to link-local services. EC2 drops
// what is beyond 1024 (VPC user guide, "DNS attributes for your VPC").
const maxLinkLocal = 256

// packetCase is a round whose packets are counted.
type packetCase struct {
	what      string
	endpoints int
	options   vpc.Options
	fault     string // empty for a healthy bootstrap
}

// packets is the table of packets to link-local services.
func (b *bench) packets(ctx context.Context) (string, []error, error) {
	direct := vpc.Options{DNSServers: []netip.Addr{vpc.LinkLocalDNSAddr()}}
	cases := []packetCase{
		{"healthy boot", smallSize, vpc.Options{}, ""},
		{"healthy boot, link-local resolver", smallSize, direct, ""},
		{"healthy boot, link-local resolver", 1000, direct, ""},
		{"dns-silent", smallSize, vpc.Options{}, "dns-silent"},
		{"dns-silent", 300, vpc.Options{}, "dns-silent"},
		{"custom-dns-silent", 300, vpc.Options{}, "custom-dns-silent"},
		{"dns-servfail", 300, vpc.Options{}, "dns-servfail"},
		{"imds-drop", smallSize, vpc.Options{}, "imds-drop"},
		{"imds-503", smallSize, vpc.Options{}, "imds-503"},
		{"clock-behind", smallSize, vpc.Options{}, "clock-behind"},
	}
	found := make([]counted, len(cases))
	errs := make([]error, len(cases))
	var wg sync.WaitGroup
	for i, c := range cases {
		wg.Go(func() {
			if found[i], errs[i] = b.count(ctx, c); errs[i] != nil {
				errs[i] = fmt.Errorf("%s: %w", c.what, errs[i])
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return "", nil, err
	}
	t := newTable("round", "endpoints", "link-local packets", "most in a second", "to the resolver at VPC+2", "most in a second")
	var bad broken
	for i, c := range cases {
		f := found[i]
		t.line(c.what, c.endpoints, len(f.linkLocal), busiest(f.linkLocal), len(f.plusTwo), busiest(f.plusTwo))
		bad.over("link-local packets in a second: "+c.what, float64(busiest(f.linkLocal)), maxLinkLocal)
		if len(f.linkLocal) == 0 {
			bad = append(bad, fmt.Errorf("%s: no link-local packet was seen", c.what))
		}
	}
	return t.String(), bad, nil
}

// counted says when packets left the node.
type counted struct{ linkLocal, plusTwo []time.Time }

// count captures one round.
func (b *bench) count(ctx context.Context, c packetCase) (counted, error) {
	c.options.ExtraEndpoints = max(0, c.endpoints-alwaysThere)
	if f, ok := vpc.FaultNamed(c.fault); ok {
		c.options = f.Options(c.options)
	}
	v, err := vpc.New(ctx, c.options)
	if err != nil {
		return counted{}, err
	}
	defer func() { _ = v.Close() }()
	args := []string{"bootstrap", "--no-start"}
	if c.fault != "" {
		if _, err := v.Inject(c.fault); err != nil {
			return counted{}, err
		}
		args = []string{"check"}
	}
	root, err := b.root(v)
	if err != nil {
		return counted{}, err
	}
	capture, err := v.Capture()
	if err != nil {
		return counted{}, err
	}
	_, _, err = b.one(ctx, v, anyVerdict(), b.nodeprep, append(args, "--root", root)...)
	flows, captureErr := capture.Stop()
	var out counted
	for _, f := range flows {
		switch a := f.To.Addr(); {
		case isLinkLocal(a):
			out.linkLocal = append(out.linkLocal, f.At...)
		case a == vpc.AmazonDNSAddr():
			out.plusTwo = append(out.plusTwo, f.At...)
		}
	}
	return out, errors.Join(err, captureErr)
}

// isLinkLocal reports whether an address is one of EC2's link-local services. Neighbour
// discovery, to fe80::/10, is none.
func isLinkLocal(a netip.Addr) bool {
	return netip.MustParsePrefix("169.254.0.0/16").Contains(a) || netip.MustParsePrefix("fd00:ec2::/32").Contains(a)
}

// busiest is the greatest number of packets within a second.
func busiest(at []time.Time) int {
	at = slices.SortedFunc(slices.Values(at), time.Time.Compare)
	most, from := 0, 0
	for i, t := range at {
		for t.Sub(at[from]) >= time.Second {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}
