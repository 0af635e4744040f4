package netcfg

import (
	"github.com/safchain/ethtool"
)

const (
	// enaDriver is the name that Amazon's Elastic Network Adapter driver gives itself.
	enaDriver = "ena"
	// linkLocalCounter is what that driver calls the packets it dropped because more
	// than 1024 a second went to link-local services (EC2 User Guide, "Monitor network
	// performance for ENA settings on your EC2 instance").
	linkLocalCounter = "linklocal_allowance_exceeded"
)

// cards are the ethtool questions about network cards, by the name of the link.
type cards interface {
	DriverName(link string) (string, error)
	Stats(link string) (map[string]uint64, error)
	Close()
}

func openCards() (cards, error) {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return nil, err // not a nil *ethtool.Ethtool in an interface
	}
	return e, nil
}

// linkLocalDropped adds up the counters of those links that the ENA driver serves. A
// driver without it, and any failure, counts as nothing dropped: it is evidence
// beside others.
func linkLocalDropped(links []string, open func() (cards, error)) uint64 {
	if len(links) == 0 {
		return 0
	}
	c, err := open()
	if err != nil {
		return 0
	}
	defer c.Close()
	var sum uint64
	for _, link := range links {
		if driver, err := c.DriverName(link); err != nil || driver != enaDriver {
			continue
		}
		if counters, err := c.Stats(link); err == nil {
			sum += counters[linkLocalCounter]
		}
	}
	return sum
}
