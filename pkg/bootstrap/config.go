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
	// Credentials is the state of the role's credentials; the credentials are not kept.
	Credentials Credentials `json:"credentials,omitzero"`
	// PublicIPv4 says that the primary interface has a public address.
	PublicIPv4 bool `json:"publicIPv4,omitempty"`
	// Mode is the value of the instance tag nodeprep:mode, empty for none. It is read
	// only when the configuration asks for it.
	Mode string `json:"mode,omitempty"`
}

// Credentials say in what state the metadata service's credentials are.
type Credentials struct {
	// Code is Success, or why there are none: AssumeRoleUnauthorizedAccess, …
	Code string `json:"code,omitempty"`
	// Expiration is when they end.
	Expiration time.Time `json:"expiration,omitzero"`
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
	// Clock is what systemd-timedated says.
	Clock ClockState `json:"clock,omitzero"`
	// Environments are what programs on this machine get from their units, those of a
	// Consumer by its name. The environment of nodeprep itself is ConsumerAgent's. One
	// whose unit could not be read is absent and has the agent's.
	Environments map[Consumer]Environment `json:"environments,omitempty"`
}

// ClockState is org.freedesktop.timedate1.
type ClockState struct {
	// Known says that timedated answered; otherwise the rest means nothing.
	Known bool `json:"known"`
	// Synchronized says that the kernel's clock is synchronised (NTPSynchronized).
	Synchronized bool `json:"synchronized"`
	// Service says that a time service is enabled (NTP).
	Service bool `json:"service"`
}

// A Consumer is a program for which targets are needed.
type Consumer string

// The consumers.
const (
	ConsumerAgent      Consumer = "nodeprep"
	ConsumerKubelet    Consumer = "kubelet"    // and the credential provider that it runs
	ConsumerContainerd Consumer = "containerd" // pulls layers
	ConsumerPods       Consumer = "pods"       // their environment is not known here
)

// An Environment is the part of a program's environment that decides how it
// reaches targets.
type Environment struct {
	HTTPSProxy probe.Proxy `json:"httpsProxy,omitempty"`
	HTTPProxy  probe.Proxy `json:"httpProxy,omitempty"`
	NoProxy    string      `json:"noProxy,omitempty"`
	// Lower are the variables in lower case, which programs prefer over the others
	// or do not know: nil when they are absent or equal.
	Lower *Environment `json:"lower,omitempty"`
	// FIPS and DualStack are AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT.
	FIPS      bool `json:"fips,omitempty"`
	DualStack bool `json:"dualStack,omitempty"`
	// Endpoints are AWS_ENDPOINT_URL_<SERVICE> by the SDK's service id in upper case ("EC2",
	// "ECR", "STS"); the key of AWS_ENDPOINT_URL is empty.
	Endpoints map[string]string `json:"endpoints,omitempty"`
	// Unit is where it was read: kubelet.service.
	Unit string `json:"unit,omitempty"`
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
	Mode Mode `json:"mode"`
	// Needs are what this node uses. AssumedNeeds says that nobody listed them.
	Needs        []Need `json:"needs,omitempty"`
	AssumedNeeds bool   `json:"assumedNeeds,omitempty"`
	// OtherCNI says that the VPC CNI is not used (cni: other).
	OtherCNI  bool       `json:"otherCNI,omitempty"`
	Endpoints []Endpoint `json:"endpoints,omitempty"`
	// Hosts replace the host names of services, by the service's short name.
	Hosts map[string]string `json:"hosts,omitempty"`
	// FIPS and DualStack are auto, always or never: which variant of a name is probed.
	FIPS      Variant `json:"fips,omitempty"`
	DualStack Variant `json:"dualStack,omitempty"`
	// PrivateOnly makes every required name with a public address a finding, S3 by
	// gateway endpoint excepted.
	PrivateOnly bool `json:"privateOnly,omitempty"`
	// Enforce lists the areas (NP-DNS) and codes that may block; empty means all.
	Enforce []string `json:"enforce,omitempty"`
	Waive   []Waiver `json:"waive,omitempty"`
	// AssumedHold is how long a target that only the default needs ask for may hold
	// the node, RejoinHold the same for ready targets of a node that has
	// joined before; negative (Forever) means for ever.
	AssumedHold probe.Duration `json:"assumedHoldMS,omitempty"`
	RejoinHold  probe.Duration `json:"rejoinHoldMS,omitempty"`
	// Experiments are those that may be made.
	Experiments ExperimentPolicy `json:"experiments,omitzero"`
	// Anchors are the roots to which AWS's own endpoints of this partition lead, as
	// SHA-256 of the SubjectPublicKeyInfo in lower-case hex; empty means not known.
	Anchors []string `json:"anchors,omitempty"`
	// GiveUpAfter ends the run with exit 75; 0 means never.
	GiveUpAfter probe.Duration `json:"giveUpAfterMS,omitempty"`
}

// Forever is a duration without end in a Policy.
const Forever = probe.Duration(-time.Millisecond)

// A Need is something that this node does, for which it must reach services.
type Need struct {
	Name string `json:"name"`
	// Verify asks for the signed calls too.
	Verify bool `json:"verify,omitempty"`
}

// A Variant says when a variant of a service's name is used.
type Variant string

// The variants: as the consumers on this node will use the names, or forced.
const (
	VariantAuto   Variant = "auto"
	VariantAlways Variant = "always"
	VariantNever  Variant = "never"
)

// A Waiver lets a code not block, with a reason and until a day.
type Waiver struct {
	Code   Code   `json:"code"`
	Reason string `json:"reason"`
	// Until is the last day, 2027-01-31; the waiver ends with it, in UTC.
	Until string `json:"until,omitempty"`
}

// An ExperimentPolicy says which experiments may be made. The zero value of a
// Policy that was not read from a configuration allows none.
type ExperimentPolicy struct {
	// CompareDNS is aws-names, all or off: the names that AmazonProvidedDNS may be asked for.
	CompareDNS string `json:"compareDNS"`
	// DirectPath is private or off: the addresses that may be dialled around a proxy.
	DirectPath string `json:"directPath"`
	SecondSNI  bool   `json:"secondSNI"`
	SmallHello bool   `json:"smallHello"`
	MSSClamp   bool   `json:"mssClamp"`
	UDPTest    bool   `json:"udpTest"`
	NTP        bool   `json:"ntp"`
}

// An Endpoint is a target of the user's own (PrepConfig spec.endpoints).
type Endpoint struct {
	Name string `json:"name"`
	Host string `json:"host"`
	Port uint16 `json:"port"`
	Role Role   `json:"role"`
	Why  string `json:"why,omitempty"`
	TLS  bool   `json:"tls"`
	// CAFile is the PEM file of the authorities that its certificate must lead to, empty
	// for the system's; CA is what that file holds.
	CAFile string `json:"ca,omitempty"`
	CA     []byte `json:"-"`
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
	// Referenced says that this is no configuration but a file that configuration
	// names (ReferencedFiles); Name is its path. Err says why Data could not be read.
	Referenced bool
	Data       []byte
	Err        error
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
