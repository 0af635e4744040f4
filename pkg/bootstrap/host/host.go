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

// GateOpen reports whether the gate file exists, whoever made it.
func (h Host) GateOpen() (bool, error) { return h.Gate.IsOpen() }
