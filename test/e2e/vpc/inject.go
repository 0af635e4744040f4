package vpc

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodeprep/nodeprep/test/e2e/vpc/apiserver"
	"github.com/nodeprep/nodeprep/test/e2e/vpc/imds"
)

// A Fault is something that can be broken and mended again while programs run.
type Fault struct {
	// Name is what Inject takes.
	Name string
	// Title says what is broken, in the words of the one who broke it.
	Title string
	// Code is the code of the one root cause that a finished nodeprep names,
	// empty when the node must pass, in the end, as if nothing were wrong.
	Code string
	// Service is the service concerned, empty for all or none.
	Service string
	// Warning says that the code does not hold the gate closed.
	Warning bool
	// Later says that the code is not one of the first version's.
	Later bool
	// CustomDNS and IPv6 name options the VPC must have been built with.
	CustomDNS, IPv6 bool

	apply func(v *VPC, name string) (undo, error)
}

// An undo takes a change back.
type undo = func() error

// Options returns o with what the fault needs added.
func (f Fault) Options(o Options) Options {
	o.CustomDNS = o.CustomDNS || f.CustomDNS
	o.IPv6 = o.IPv6 || f.IPv6
	return o
}

// FaultNamed returns a fault and whether there is one of that name.
func FaultNamed(name string) (Fault, bool) {
	for _, f := range Faults() {
		if f.Name == name {
			return f, true
		}
	}
	return Fault{}, false
}

// Inject breaks what the named fault breaks. The returned function mends it;
// calling that twice, or after Close, is harmless. A fault that is injected already is refused.
func (v *VPC) Inject(name string) (remove func() error, err error) {
	f, ok := FaultNamed(name)
	switch {
	case !ok:
		return nil, fmt.Errorf("inject %q: no such fault", name)
	case f.CustomDNS && !v.options.CustomDNS:
		return nil, fmt.Errorf("inject %s: the VPC has no custom DNS server", name)
	case f.IPv6 && !v.options.IPv6:
		return nil, fmt.Errorf("inject %s: the VPC has no IPv6", name)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil, fmt.Errorf("inject %s: %w", name, errClosed)
	}
	if v.injected[name] {
		return nil, fmt.Errorf("inject %s: injected already", name)
	}
	mend, err := f.apply(v, name)
	if err != nil {
		return nil, fmt.Errorf("inject %s: %w", name, err)
	}
	v.injected[name] = true
	return sync.OnceValue(func() error {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.injected, name)
		if v.closed {
			return nil // what was broken is gone
		}
		if err := mend(); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
		return nil
	}), nil
}

// all applies several changes under one name. Their undos run in reverse.
func all(parts ...func(*VPC, string) (undo, error)) func(*VPC, string) (undo, error) {
	return func(v *VPC, name string) (undo, error) {
		var undos []undo
		back := func() error {
			var errs []error
			for _, u := range slices.Backward(undos) {
				errs = append(errs, u())
			}
			return errors.Join(errs...)
		}
		for _, apply := range parts {
			u, err := apply(v, name)
			if err != nil {
				return nil, errors.Join(err, back())
			}
			undos = append(undos, u)
		}
		return back, nil
	}
}

// filter lets the router judge packets that arrive, by the rules of a chain of
// nft(8), which rules makes.
func filter(rules func(*VPC) []string) func(*VPC, string) (undo, error) {
	return func(v *VPC, name string) (undo, error) {
		table := "inet fault-" + name
		add := "table " + table + " {\n\tchain in {\n\t\ttype filter hook input priority 0; policy accept;\n\t\t" +
			strings.Join(rules(v), "\n\t\t") + "\n\t}\n}\n"
		if err := v.nft(add); err != nil {
			return nil, err
		}
		return func() error { return v.nft("delete table " + table + "\n") }, nil
	}
}

func (v *VPC) nft(script string) error {
	path, err := lookNFT()
	if err != nil {
		return err
	}
	return in(v.router, func() error {
		// It ends by itself within milliseconds, so there is nothing to cancel.
		cmd := &exec.Cmd{Path: path, Args: []string{"nft", "-f", "-"}, Stdin: strings.NewReader(script)}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s\n%s", err, out, script)
		}
		return nil
	})
}

// lookNFT also looks where administrators' programs are, which is not in every user's PATH.
func lookNFT() (string, error) {
	path, err := exec.LookPath("nft")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/nft")
	}
	return path, err
}

const syn = "tcp flags & (syn | ack) == syn "

// to makes the rules for new connections to port 443 of some addresses.
func to(addresses []netip.Addr, verdict string) []string {
	var rules []string
	for _, family := range []struct {
		match string
		want  func(netip.Addr) bool
	}{{"ip daddr", netip.Addr.Is4}, {"ip6 daddr", netip.Addr.Is6}} {
		if set := nftSet(addresses, family.want); set != "" {
			rules = append(rules, family.match+" "+set+" tcp dport 443 "+syn+verdict)
		}
	}
	return rules
}

func nftSet(addresses []netip.Addr, want func(netip.Addr) bool) string {
	var list []string
	for _, a := range addresses {
		if want(a) {
			list = append(list, a.String())
		}
	}
	if list == nil {
		return ""
	}
	return "{ " + strings.Join(list, ", ") + " }"
}

// service filters connections to all addresses of services.
func service(verdict string, services ...string) func(*VPC, string) (undo, error) {
	return filter(func(v *VPC) []string {
		var addresses []netip.Addr
		for _, s := range services {
			addresses = append(addresses, v.Addresses(s)...)
		}
		return to(addresses, verdict)
	})
}

// servers filters DNS to the servers that resolv.conf names.
func servers(udp, tcp string) func(*VPC, string) (undo, error) {
	return filter(func(v *VPC) []string {
		var rules []string
		for _, a := range v.options.DNSServers {
			family := "ip"
			if a.Is6() {
				family = "ip6"
			}
			rules = append(rules,
				fmt.Sprintf("%s daddr %s udp dport 53 %s", family, a, udp),
				fmt.Sprintf("%s daddr %s tcp dport 53 %s", family, a, tcp))
		}
		return rules
	})
}

// resolve changes DNS answers; rule makes the rule.
func resolve(rule func(*VPC) dnsRule) func(*VPC, string) (undo, error) {
	return func(v *VPC, _ string) (undo, error) {
		pop := v.resolver.rules.Push(rule(v))
		return func() error { pop(); return nil }, nil
	}
}

// hostOf matches the names of services.
func (v *VPC) hostOf(services ...string) func(string) bool {
	names := map[string]bool{}
	for _, s := range services {
		for _, h := range v.endpoint(s).hosts {
			names[strings.ToLower(h)] = true
		}
	}
	return func(name string) bool {
		_, parent, _ := strings.Cut(name, ".")
		return names[name] || names["*."+parent]
	}
}

// isPublic lets the names of services resolve to their public addresses only.
func isPublic(services ...string) func(*VPC, string) (undo, error) {
	var parts []func(*VPC, string) (undo, error)
	for _, s := range services {
		parts = append(parts, resolve(func(v *VPC) dnsRule {
			return dnsRule{name: v.hostOf(s), record: &record{addresses: v.endpoint(s).public}}
		}))
	}
	return all(parts...)
}

// answers lets a service's server misbehave below HTTP.
func answers(name string, change func(*VPC, *endpoint) (mode, error)) func(*VPC, string) (undo, error) {
	return func(v *VPC, _ string) (undo, error) {
		e := v.endpoint(name)
		m, err := change(v, e)
		if err != nil {
			return nil, err
		}
		pop := e.modes.Push(m)
		return func() error { pop(); return nil }, nil
	}
}

// api lets the API server misbehave.
func api(b apiserver.Behaviour) func(*VPC, string) (undo, error) {
	return func(v *VPC, _ string) (undo, error) {
		pop := v.api.Behave(b)
		return func() error { pop(); return nil }, nil
	}
}

// metadata lets the metadata service misbehave.
func metadata(b imds.Behaviour) func(*VPC, string) (undo, error) {
	return func(v *VPC, _ string) (undo, error) {
		pop := v.metadata.Behave(b)
		return func() error { pop(); return nil }, nil
	}
}

// instance changes what metadata knows.
func instance(edit func(*VPC, *imds.Instance)) func(*VPC, string) (undo, error) {
	return func(v *VPC, _ string) (undo, error) {
		pop := v.metadata.Change(func(i *imds.Instance) { edit(v, i) })
		return func() error { pop(); return nil }, nil
	}
}

// userData replaces the user data.
func userData(make func(*VPC) []byte) func(*VPC, string) (undo, error) {
	return instance(func(v *VPC, i *imds.Instance) { i.UserData = make(v) })
}

// imdsRule filters connections to metadata.
func imdsRule(verdict string) func(*VPC, string) (undo, error) {
	return filter(func(*VPC) []string {
		return []string{
			"ip daddr " + MetadataAddr().String() + " tcp dport 80 " + syn + verdict,
			"ip6 daddr " + metadata6 + " tcp dport 80 " + syn + verdict,
		}
	})
}

// until lets a change end by itself after a time.
func until(d time.Duration, apply func(*VPC, string) (undo, error)) func(*VPC, string) (undo, error) {
	return func(v *VPC, name string) (undo, error) {
		u, err := apply(v, name)
		if err != nil {
			return nil, err
		}
		once := sync.OnceValue(u)
		timer := time.AfterFunc(d, func() {
			v.mu.Lock()
			defer v.mu.Unlock()
			if !v.closed {
				_ = once() // remove returns the error, too
			}
		})
		return func() error { timer.Stop(); return once() }, nil
	}
}

// routeS3 takes the gateway endpoint's route out of the route table.
func routeS3(v *VPC, _ string) (undo, error) {
	change := func(do func(*netlink.Route) error) error {
		return in(v.router, func() error {
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			r := localRoute(lo, s3Block)
			return do(&r)
		})
	}
	if err := change(netlink.RouteDel); err != nil {
		return nil, err
	}
	return func() error { return change(netlink.RouteAdd) }, nil
}

// noDefaultRoute takes the node's default routes.
func noDefaultRoute(v *VPC, _ string) (undo, error) {
	gateways := []string{"10.20.1.1"}
	if v.options.IPv6 {
		gateways = append(gateways, "fe80::1")
	}
	change := func(do func(*netlink.Route) error) error {
		return in(v.node, func() error {
			eth0, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			for _, gw := range gateways {
				if err := do(defaultRoute(eth0, gw)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := change(netlink.RouteDel); err != nil {
		return nil, err
	}
	return func() error { return change(netlink.RouteReplace) }, nil
}

// nodeRoutes adds routes of a type to the node, one per address.
func nodeRoutes(kind int, addresses func(*VPC) []netip.Addr) func(*VPC, string) (undo, error) {
	return func(v *VPC, _ string) (undo, error) {
		change := func(do func(*netlink.Route) error) error {
			return in(v.node, func() error {
				for _, a := range addresses(v) {
					r := &netlink.Route{Dst: ipNet(netip.PrefixFrom(a, a.BitLen()).String()), Type: kind, Table: unix.RT_TABLE_MAIN}
					if err := do(r); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := change(netlink.RouteAdd); err != nil {
			return nil, err
		}
		return func() error { return change(netlink.RouteDel) }, nil
	}
}
