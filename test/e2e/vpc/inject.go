package vpc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

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
	// Needs are options the VPC must have been built with.
	Needs Options
	// Local says that what is changed is the environment or a file of the node's
	// programs: Command and Prepare apply it to those that start afterwards.
	Local bool

	apply func(v *VPC, name string) (undo, error)
}

// An undo takes a change back.
type undo = func() error

// Options returns o with what the fault needs added.
func (f Fault) Options(o Options) Options {
	o.CustomDNS = o.CustomDNS || f.Needs.CustomDNS
	o.IPv6 = o.IPv6 || f.Needs.IPv6
	o.NAT = o.NAT || f.Needs.NAT
	o.SharedEndpoints = o.SharedEndpoints || f.Needs.SharedEndpoints
	o.S3Interface = o.S3Interface || f.Needs.S3Interface
	if f.Needs.DNSServers != nil {
		o.DNSServers = f.Needs.DNSServers
	}
	return o
}

// missing names an option that the fault needs and the VPC was built without.
func (f Fault) missing(o Options) string {
	for name, missing := range map[string]bool{
		"custom DNS server":        f.Needs.CustomDNS && !o.CustomDNS,
		"IPv6":                     f.Needs.IPv6 && !o.IPv6,
		"NAT":                      f.Needs.NAT && !o.NAT,
		"shared endpoints":         f.Needs.SharedEndpoints && !o.SharedEndpoints,
		"S3 interface endpoint":    f.Needs.S3Interface && !o.S3Interface,
		"server of names it takes": f.Needs.DNSServers != nil && !slices.Equal(f.Needs.DNSServers, o.DNSServers),
	} {
		if missing {
			return name
		}
	}
	return ""
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
	if !ok {
		return nil, fmt.Errorf("inject %q: no such fault", name)
	}
	if option := f.missing(v.options); option != "" {
		return nil, fmt.Errorf("inject %s: the VPC has no %s", name, option)
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

// environment sets variables of the node's programs.
func environment(variables func(*VPC) map[string]string) func(*VPC, string) (undo, error) {
	return func(v *VPC, _ string) (undo, error) {
		pop := v.environment.Push(variables(v))
		return func() error { pop(); return nil }, nil
	}
}

// files lets Prepare write files: path below the root to content. Units are on the
// node, too.
func files(make func(*VPC) map[string]string) func(*VPC, string) (undo, error) {
	return func(v *VPC, _ string) (undo, error) {
		files := make(v)
		var units []string
		for path, content := range files {
			rel, ok := strings.CutPrefix(path, unitDir+"/")
			if !ok {
				continue
			}
			unit := filepath.Join(v.units(), rel)
			units = append(units, unit)
			if err := os.MkdirAll(filepath.Dir(unit), 0o755); err != nil {
				return nil, err
			}
			if err := os.WriteFile(unit, []byte(content), 0o644); err != nil {
				return nil, err
			}
		}
		pop := v.files.Push(files)
		return func() error {
			pop()
			var errs []error
			for _, u := range units {
				errs = append(errs, os.Remove(u))
			}
			return errors.Join(errs...)
		}, nil
	}
}

// edit changes one of the files that are mounted on the node. It is written in
// place, since it is the file and not its name that is mounted.
func edit(path func(*VPC) string, change func(*VPC, string) string) func(*VPC, string) (undo, error) {
	return func(v *VPC, _ string) (undo, error) {
		before, err := os.ReadFile(path(v))
		if err != nil {
			return nil, err
		}
		write := func(content string) error { return os.WriteFile(path(v), []byte(content), 0o644) }
		if err := write(change(v, string(before))); err != nil {
			return nil, err
		}
		return func() error { return write(string(before)) }, nil
	}
}

// world sets how far the world is ahead of the node's clock. Every certificate is
// replaced: it is an hour old and lives for a day, so that the wrong time shows.
func world(ahead time.Duration) func(*VPC, string) (undo, error) {
	return func(v *VPC, name string) (undo, error) {
		before := v.ahead.Swap(int64(ahead))
		var parts []func(*VPC, string) (undo, error)
		for _, e := range v.endpoints {
			if e.extra {
				continue
			}
			parts = append(parts, answers(e.service, func(_ *VPC, e *endpoint) (mode, error) {
				l := e.leaf()
				l.fresh = true
				c, err := serverConfig(e.authority, l)
				return mode{config: c}, err
			}))
		}
		back, err := all(parts...)(v, name)
		return func() error { v.ahead.Store(before); return back() }, err
	}
}
