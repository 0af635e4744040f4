package bootstrap

import (
	"net/netip"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap/kubelet"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// Config is all input of one run: what the metadata service, the user data,
// the configuration directories and the machine itself said.
type Config struct {
	Instance Instance
	Cluster  Cluster
	Kubelet  Kubelet
	Machine  Machine
	Policy   Policy
	// Origin says for each field path ("cluster.apiServerEndpoint") where its
	// value came from: "user data part 2, line 7", "metadata", "default".
	Origin map[string]string
}

// Instance is what the instance metadata service says.
type Instance struct {
	ID           string `json:"id"`
	Type         string `json:"type"`
	Architecture string `json:"architecture,omitempty"` // x86_64 or arm64
	AccountID    string `json:"accountID,omitempty"`
	Region       string `json:"region"`
	Zone         string `json:"zone"` // availability zone name, us-west-2a
	// DNSSuffix is services/domain: amazonaws.com, amazonaws.com.cn, …
	DNSSuffix     string         `json:"dnsSuffix"`
	MAC           string         `json:"mac"` // of the primary interface
	LocalHostname string         `json:"localHostname"`
	LocalIPv4     netip.Addr     `json:"localIPv4,omitzero"`
	IPv6          []netip.Addr   `json:"ipv6,omitempty"`       // of the primary interface
	VPC           []netip.Prefix `json:"vpc,omitempty"`        // all IPv4 and IPv6 blocks, the primary IPv4 block first
	Subnet        []netip.Prefix `json:"subnet,omitempty"`     // IPv4 and IPv6 blocks of the primary interface's subnet
	Role          string         `json:"role,omitempty"`       // name below iam/security-credentials/, empty for none
	RoleAbsent    bool           `json:"roleAbsent,omitempty"` // the service answered that there is none
}

// Cluster is what the node was told about its cluster.
type Cluster struct {
	Name string `json:"name"`
	// APIServer is the endpoint as describe-cluster prints it: https://HOST.
	APIServer string `json:"apiServer"`
	CA        []byte `json:"-"` // PEM
	// Authorities are the certificates of CA, by which a report is judged: the
	// bundle itself is not in it. NewPlan fills them in.
	Authorities []Authority `json:"authorities,omitempty"`
	// ServiceCIDR is masked: its address is the network's base.
	ServiceCIDR netip.Prefix `json:"serviceCIDR,omitzero"`
}

// An Authority is one certificate of the cluster's CA.
type Authority struct {
	Subject string `json:"subject"`         // RFC 2253
	KeyID   string `json:"keyID,omitempty"` // subject key identifier, lower-case hex
}

// Kubelet is what the configuration adds to the rendered kubelet files.
type Kubelet struct {
	Config map[string]any // spec.kubelet.config, deeply merged over all sources
	Flags  []string       // spec.kubelet.flags, appended over all sources
}

// Machine is what the instance itself is and has, apart from its network.
type Machine struct {
	CPUs           int             `json:"cpus"`           // online logical CPUs, 0 for unknown
	MemoryMiB      int             `json:"memoryMiB"`      // 0 for unknown
	KubeletVersion kubelet.Version `json:"kubeletVersion"` // zero for unknown
	// Binary is the path of the running nodeprep, the kubelet's exec plugin.
	Binary string `json:"binary"`
	BootID string `json:"bootID"`
	// Now is the wall clock when the machine was read, zero for unknown.
	Now time.Time `json:"now,omitzero"`
	// NVIDIA says that a PCI device of vendor 0x10de is present.
	NVIDIA bool `json:"nvidia,omitempty"`
}

// A Mode says how much of a target must be reachable.
type Mode string

// The modes; the default is ModeQuorum.
const (
	ModeQuorum  Mode = "quorum"  // one address of every blocking target
	ModeStrict  Mode = "strict"  // every address of every blocking target
	ModeObserve Mode = "observe" // never blocks; findings say what would have
)

// Policy is what the owner of the node decided about the gate.
type Policy struct {
	Mode      Mode       `json:"mode"`
	Endpoints []Endpoint `json:"endpoints,omitempty"`
	// GiveUpAfter ends the run with exit 75; 0 means never.
	GiveUpAfter probe.Duration `json:"giveUpAfterMS,omitempty"`
}

// An Endpoint is a target of the user's own (PrepConfig spec.endpoints).
type Endpoint struct {
	Name string `json:"name"`
	Host string `json:"host"`
	Port uint16 `json:"port"`
	Role Role   `json:"role"`
	Why  string `json:"why,omitempty"`
	TLS  bool   `json:"tls"`
}

// A Role says what depends on a target.
type Role string

// The roles. Gate and ready block by default.
const (
	RoleGate     Role = "gate"     // the kubelet cannot register without it
	RoleReady    Role = "ready"    // the node joins but never becomes Ready without it
	RoleWorkload Role = "workload" // some pods fail without it
	RoleOptional Role = "optional"
)

// Blocks reports whether a failed target of this role holds the gate closed.
func (r Role) Blocks() bool { return r == RoleGate || r == RoleReady }

// A Source is one piece of configuration as it was found, before decoding.
type Source struct {
	// Name is shown to people: "user data", "/etc/nodeprep/conf.d/10-site.yaml".
	Name string
	// UserData says that gzip, base64 and MIME multipart are undone first.
	UserData bool
	Data     []byte
}

// A Problem is one mistake in the input. Problems are findings of the area CFG
// before there is a plan to judge.
type Problem struct {
	Code Code `json:"code"`
	// Origin is the place: "user data part 2, line 7".
	Origin string `json:"origin,omitempty"`
	// Path is the field: "spec.cluster.certificateAuthority".
	Path string `json:"path,omitempty"`
	// Message says what is wrong, without secrets; people see it behind Path
	// and a colon.
	Message string `json:"message"`
	Remedy  string `json:"remedy"`
	Warning bool   `json:"warning,omitempty"`
	// Missing says that something absent is the problem, which a user script
	// that is still running may yet provide.
	Missing bool `json:"missing,omitempty"`
}
