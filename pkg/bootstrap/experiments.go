package bootstrap

import "github.com/nodeprep/nodeprep/pkg/probe"

// experiments are those that a round may make.
func (r *run) experiments() probe.Experiments { return probe.Experiments{} }
