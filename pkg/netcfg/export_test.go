package netcfg

// For the tests: the counters of cards that the machine does not have.
type Cards = cards

var LinkLocalDropped = linkLocalDropped
