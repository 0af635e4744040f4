package vpc

import (
	"fmt"
	"net/netip"
)

// Silence lets connections to port 443 of the addresses get no answer, however many
// there are. The returned function mends that.
func (v *VPC) Silence(addresses []netip.Addr) (mend func() error, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil, errClosed
	}
	rules := func(*VPC) []string { return to(addresses, drop) }
	if mend, err = (chain{rules: rules}).apply(v, "silence"); err != nil {
		return nil, fmt.Errorf("silence %d addresses: %w", len(addresses), err)
	}
	return mend, nil
}

// Stall lets a service accept connections and answer no ClientHello. The returned
// function mends that.
func (v *VPC) Stall(service string) (mend func(), err error) {
	e := v.endpoint(service)
	if e == nil {
		return nil, fmt.Errorf("stall %q: no such service", service)
	}
	return e.modes.Push(mode{stall: true}), nil
}
