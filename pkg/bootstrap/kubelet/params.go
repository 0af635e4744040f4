package kubelet

import (
	"io/fs"
	"net/netip"
)

// Params is exactly what rendering needs.
type Params struct {
	// Version of the installed kubelet; the zero Version means unknown and
	// renders only what every supported version (1.30 to 1.36) understands.
	Version Version
	// Cluster access.
	ClusterName string // audience of the token
	Region      string
	APIServer   string // https URL as given
	CA          []byte // PEM
	// Addresses and names.
	ClusterDNS []netip.Addr
	NodeIP     netip.Addr
	NodeName   string // --hostname-override
	ProviderID string // aws:///ZONE/INSTANCE
	// Capacity.
	MaxPods int // effective value: kubeReserved.memory follows from it
	// ReservedPods is the number of pods that kubeReserved.memory is computed
	// for when it is not MaxPods; 0 means MaxPods.
	ReservedPods int
	MilliCPU     int // online CPUs times 1000; 0 means unknown and reserves none
	UserConfig   map[string]any
	UserFlags    []string
	TokenBinary  string // absolute path of nodeprep itself, for the exec plugin
	// NVIDIA says that a PCI device of vendor 0x10de is present; from 1.35 on
	// the node is labelled with it.
	NVIDIA bool
}

// Version is a Kubernetes version; the zero Version means unknown.
type Version struct{ Major, Minor, Patch int }

// A File is one rendered file.
type File struct {
	Path string // absolute, on the node
	Mode fs.FileMode
	Data []byte
}
