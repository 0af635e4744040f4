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
	MaxPods     int // effective value: kubeReserved.memory follows from it
	MilliCPU    int // online CPUs times 1000; 0 means unknown and reserves none
	UserConfig  map[string]any
	UserFlags   []string
	TokenBinary string // path of nodeprep itself, for the exec plugin
	// ClientCADir etc. are fixed paths, see paths.go.
}

// Version is a Kubernetes minor version.
type Version struct{ Major, Minor, Patch int }

// A File is one rendered file.
type File struct {
	Path string // absolute, on the node
	Mode fs.FileMode
	Data []byte
}
