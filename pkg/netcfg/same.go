package netcfg

import "reflect"

// Same reports whether s and t are the same network. What was asked about single
// destinations and the counters of dropped packets make no difference.
func (s State) Same(t State) bool {
	s.Destinations, t.Destinations = nil, nil
	s.LinkLocalDropped, t.LinkLocalDropped = 0, 0
	return reflect.DeepEqual(s, t)
}
