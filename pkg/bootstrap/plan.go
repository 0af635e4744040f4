package bootstrap

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// Plan is everything about to happen. Building one does no I/O.
type Plan struct {
	Instance Instance `json:"instance"`
	Cluster  Cluster  `json:"cluster"`
	Policy   Policy   `json:"policy"`
	Node     Node     `json:"node"`
	Targets  []Target `json:"targets"`
	Files    []File   `json:"files"`
	Units    []string `json:"units"` // started in this order once the gate is open
	// Environments are those of the consumers, for what they get wrong.
	Environments map[Consumer]Environment `json:"environments,omitempty"`
	// Clock is what the machine says about its clock's synchronisation.
	Clock ClockState `json:"clock,omitzero"`
	// Rejoin says that this instance joined this cluster before.
	Rejoin bool `json:"rejoin,omitempty"`
}

// Node is what this machine will be in the cluster, as derived.
type Node struct {
	Name       string       `json:"name"`
	IP         netip.Addr   `json:"ip,omitzero"`
	ProviderID string       `json:"providerID"`
	MaxPods    int          `json:"maxPods"`
	MaxPodsWhy string       `json:"maxPodsWhy"` // the arithmetic, for people
	ClusterDNS []netip.Addr `json:"clusterDNS,omitempty"`
}

// A Target is one name this node must reach, and why.
type Target struct {
	probe.Target
	// Service is the endpoint service's short name: ec2, ecr.api, s3, apiserver.
	Service string `json:"service"`
	Role    Role   `json:"role"`
	Why     string `json:"why"`
	// Assumed says that only the built-in default needs ask for it.
	Assumed bool `json:"assumed,omitempty"`
	// Needs are those that ask for it, "vpc-cni"; empty for the API server and for the user's own.
	Needs []string `json:"needs,omitempty"`
	// Consumer is whose environment (proxy, name variants) counts for it.
	Consumer Consumer `json:"consumer,omitempty"`
	// Notes are what an operator must know about it.
	Notes []string `json:"notes,omitempty"`
}

// Target returns the named target and whether the plan has it.
func (p Plan) Target(name string) (Target, bool) {
	for _, t := range p.Targets {
		if t.Name == name {
			return t, true
		}
	}
	return Target{}, false
}

// A File is one file to write.
type File struct {
	Path string      `json:"path"`
	Mode fs.FileMode `json:"mode"`
	Data []byte      `json:"-"`
}

// fileJSON is a File in JSON: a mode is read in octal, "0644".
type fileJSON struct {
	Path string `json:"path"`
	Mode string `json:"mode"`
}

// MarshalJSON leaves out the data.
func (f File) MarshalJSON() ([]byte, error) {
	return json.Marshal(fileJSON{f.Path, fmt.Sprintf("%04o", f.Mode)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (f *File) UnmarshalJSON(b []byte) error {
	var in fileJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	mode, err := strconv.ParseUint(in.Mode, 8, 32)
	if err != nil {
		return fmt.Errorf("mode of %s: %w", in.Path, err)
	}
	f.Path, f.Mode = in.Path, fs.FileMode(mode)
	return nil
}
