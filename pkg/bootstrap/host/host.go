package host

import "github.com/nodeprep/nodeprep/pkg/bootstrap"

// Host is the gate and the units of this machine as package bootstrap asks for them.
type Host struct {
	Gate Gate
	*Units
}

var _ bootstrap.Host = Host{}

// OpenGate creates the gate file.
func (h Host) OpenGate() error { return h.Gate.Open() }

// GateState says whether the gate file exists and who made it.
func (h Host) GateState() (bootstrap.Gate, error) {
	open, err := h.Gate.IsOpen()
	if err != nil || !open {
		return bootstrap.Gate{}, err
	}
	g := bootstrap.Gate{Open: true, By: bootstrap.GateOverride}
	// A gate that cannot be read was not made by nodeprep, which makes it readable.
	if own, err := h.Gate.Own(); err == nil && own {
		g.By = bootstrap.GateNodeprep
	}
	return g, nil
}
