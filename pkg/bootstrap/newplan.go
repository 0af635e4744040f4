package bootstrap

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/nodeprep/nodeprep/pkg/bootstrap/kubelet"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
)

// defaultBinary is where nodeprep's package installs it: the kubelet's exec
// plugin when Machine.Binary does not say otherwise.
const defaultBinary = "/usr/bin/nodeprep"

// kubeletUnit pulls in containerd itself.
const kubeletUnit = "kubelet.service"

// NewPlan decides what this node must reach, which files it gets and what it
// will be in the cluster. It is pure: equal input gives an equal plan.
//
// While the cluster's name, endpoint, CA or service CIDR is missing, or the
// kubelet would refuse a setting, which ReadConfig reports, the plan has no
// files; without endpoint or CA it has the targets in AWS only. The
// problems are what only planning can find; the plan has no files when one of
// them is more than a warning.
func NewPlan(cfg Config, s netcfg.State) (Plan, []Problem) {
	b := planner{cfg: cfg, state: s}
	b.plan = Plan{
		Instance: cfg.Instance,
		Cluster:  cfg.Cluster,
		Policy:   cfg.Policy,
		Targets:  []Target{},
		Files:    []File{},
		Units:    []string{kubeletUnit},
	}
	b.plan.Cluster.Authorities = authorities(cfg.Cluster.CA)
	b.plan.Environments, b.plan.Clock = cfg.Machine.Environments, cfg.Machine.Clock
	if p, known := PartitionOf(cfg.Instance.Region); known && len(cfg.Policy.Anchors) == 0 {
		b.plan.Policy.Anchors = p.anchors()
	}
	b.targets()
	b.node()
	if b.cluster() && !b.refused && !b.fatal() {
		b.files()
	}
	return b.plan, b.problems
}

// A planner holds one plan while it is made.
type planner struct {
	cfg      Config
	state    netcfg.State
	plan     Plan
	problems []Problem
	settings kubelet.Settings
	// refused says that the kubelet would not start with the user's settings.
	refused  bool
	capacity capacity
}

// add notes a problem, with the origin of its field or of what surrounds it.
func (b *planner) add(p Problem) {
	if p.Origin == "" {
		p.Origin = b.origin(strings.TrimPrefix(p.Path, "spec."))
	}
	b.problems = append(b.problems, p)
}

func (b *planner) origin(path string) string {
	for path != "" {
		if o, ok := b.cfg.Origin[path]; ok {
			return o
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return ""
}

func (b *planner) fatal() bool {
	return slices.ContainsFunc(b.problems, func(p Problem) bool { return !p.Warning })
}

// cluster reports whether everything about the cluster is known.
func (b *planner) cluster() bool {
	c := b.cfg.Cluster
	return c.Name != "" && c.APIServer != "" && len(c.CA) > 0 && c.ServiceCIDR.IsValid()
}

func (b *planner) targets() {
	c := b.cfg.Cluster
	// Without the CA the answer could not be verified: no target rather than
	// one that fails for that reason.
	if c.APIServer != "" && len(c.CA) > 0 {
		t, err := apiServerTarget(c)
		if err != nil {
			b.add(Problem{
				Code: CFG104, Path: "spec.cluster.apiServerEndpoint",
				Message: fmt.Sprintf("the API server's endpoint cannot be used: %v", err),
				Remedy:  "Use the endpoint exactly as aws eks describe-cluster prints it.",
			})
		} else {
			b.plan.Targets = append(b.plan.Targets, t)
		}
	}
	b.plan.Targets = append(b.plan.Targets, b.awsTargets()...)
	for i, e := range b.cfg.Policy.Endpoints {
		if _, taken := b.plan.Target(e.Name); taken {
			b.add(Problem{
				Code: CFG102, Path: fmt.Sprintf("spec.endpoints[%d].name", i),
				Message: fmt.Sprintf("the name %q is taken by another endpoint", e.Name),
				Remedy:  "Give each endpoint a name of its own; apiserver, metadata and the names of services are nodeprep's.",
			})
			continue
		}
		b.plan.Targets = append(b.plan.Targets, userTarget(e))
	}
	for i := range b.plan.Targets {
		b.reach(&b.plan.Targets[i])
	}
	sortTargets(b.plan.Targets)
}

// node derives what this machine will be in the cluster. The user's own
// settings win, as they do in the kubelet.
func (b *planner) node() {
	cfg := b.cfg
	settings, refused := kubelet.Check(cfg.Kubelet.Config, cfg.Kubelet.Flags, cfg.Machine.KubeletVersion)
	b.settings, b.refused = settings, len(refused) > 0

	var problems []Problem
	b.capacity, problems = planCapacity(cfg, settings)
	for _, p := range problems {
		b.add(p)
	}
	n := &b.plan.Node
	n.MaxPods, n.MaxPodsWhy = b.capacity.pods, b.capacity.why

	n.ProviderID = providerID(cfg.Instance)
	if settings.ProviderID != "" {
		n.ProviderID = settings.ProviderID
	}
	b.nodeName()
	b.nodeAddresses()
}

func (b *planner) nodeName() {
	if b.plan.Node.Name = b.settings.NodeName; b.settings.NodeName != "" {
		return
	}
	name, err := nodeName(b.cfg.Instance)
	if err != nil {
		b.add(Problem{
			Code: NOD104, Path: "instance.localHostname",
			Message: fmt.Sprintf("the node's name cannot be derived: %v", err),
			Remedy:  "Launch the instance in a subnet with IPv4 addresses or with resource-based names.",
		})
		return
	}
	b.plan.Node.Name = name
}

// nodeAddresses derives the node's IP address and the cluster's DNS address,
// both in the family of the service CIDR; without one IPv4 is assumed.
func (b *planner) nodeAddresses() {
	cfg, n := b.cfg, &b.plan.Node
	service := cfg.Cluster.ServiceCIDR
	v6 := service.Addr().Is6()
	switch ip, err := nodeIP(cfg.Instance, b.state, v6); {
	case b.settings.NodeIP.IsValid() && !b.settings.NodeIP.IsUnspecified():
		n.IP = b.settings.NodeIP
	case err == nil:
		n.IP = ip
	case v6:
		b.add(Problem{
			Code: LNK109, Path: "instance.ipv6",
			Message: err.Error(),
			Remedy:  "Launch the instance in a subnet that has an IPv6 block and assigns IPv6 addresses.",
		})
	case service.IsValid():
		b.add(Problem{
			Code: NOD104, Path: "instance.localIPv4",
			Message: err.Error(),
			Remedy:  "Launch the instance in a subnet with IPv4 addresses.",
		})
	}

	if n.ClusterDNS = b.settings.ClusterDNS; len(n.ClusterDNS) > 0 || !service.IsValid() {
		return
	}
	dns, err := netcfg.ClusterDNS(service)
	if err != nil {
		b.add(Problem{
			Code: CFG106, Path: "spec.cluster.cidr",
			Message: fmt.Sprintf("%s has no address for the cluster's DNS service, its base plus 10", service),
			Remedy:  "Use serviceIpv4Cidr or serviceIpv6Cidr as aws eks describe-cluster prints it.",
		})
		return
	}
	n.ClusterDNS = []netip.Addr{dns}
}

func (b *planner) files() {
	cfg, n := b.cfg, b.plan.Node
	binary := cfg.Machine.Binary
	if binary == "" {
		binary = defaultBinary
	}
	files, err := kubelet.Render(kubelet.Params{
		Version:      cfg.Machine.KubeletVersion,
		ClusterName:  cfg.Cluster.Name,
		Region:       cfg.Instance.Region,
		APIServer:    cfg.Cluster.APIServer,
		CA:           cfg.Cluster.CA,
		ClusterDNS:   n.ClusterDNS,
		NodeIP:       n.IP,
		NodeName:     n.Name,
		ProviderID:   n.ProviderID,
		MaxPods:      n.MaxPods,
		ReservedPods: b.capacity.reservedPods,
		MilliCPU:     1000 * cfg.Machine.CPUs,
		UserConfig:   cfg.Kubelet.Config,
		UserFlags:    cfg.Kubelet.Flags,
		TokenBinary:  binary,
		NVIDIA:       cfg.Machine.NVIDIA,
	})
	if err != nil {
		b.add(Problem{
			Code: CFG102, Path: "spec.kubelet",
			Message: err.Error(),
			Remedy:  "Correct the field that the message names.",
		})
		return
	}
	b.plan.Files = make([]File, 0, len(files))
	for _, f := range files {
		b.plan.Files = append(b.plan.Files, File{Path: f.Path, Mode: f.Mode, Data: f.Data})
	}
}
