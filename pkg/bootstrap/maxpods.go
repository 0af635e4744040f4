package bootstrap

import (
	_ "embed" // instances.txt
	"fmt"
	"strings"

	"github.com/nodeprep/nodeprep/pkg/bootstrap/kubelet"
)

// instanceTable has one line for each EC2 instance type, sorted: TYPE ENIS IPS
// KIND. tools/instances generates it and explains the columns.
//
//go:generate env AWS_VPC_K8S_CNI_LOG_FILE=stdout go run -C ../../tools ./instances -o ../pkg/bootstrap/instances.txt
//go:embed instances.txt
var instanceTable string

// An InstanceType is what an EC2 instance type allows the VPC CNI.
type InstanceType struct {
	Name string
	// ENIs counts the network interfaces of the default network card.
	ENIs int
	// IPv4PerENI counts the IPv4 addresses of each interface, the primary one included.
	IPv4PerENI int
	// Kind is nitro, xen, metal, or unknown where EC2 reports no hypervisor.
	Kind string
}

// LookUpInstanceType finds a type in the embedded table and reports whether it
// is there. It parses one line only.
func LookUpInstanceType(name string) (InstanceType, bool) {
	if name == "" || strings.ContainsAny(name, " \n#") {
		return InstanceType{}, false
	}
	// Every line but the comment at the top has a line break before it.
	i := strings.Index(instanceTable, "\n"+name+" ")
	if i < 0 {
		return InstanceType{}, false
	}
	line, _, _ := strings.Cut(instanceTable[i+1:], "\n")
	var t InstanceType
	if _, err := fmt.Sscan(line, &t.Name, &t.ENIs, &t.IPv4PerENI, &t.Kind); err != nil {
		return InstanceType{}, false
	}
	return t, true
}

// MaxPods is the number of pods that the VPC CNI can give addresses to by
// secondary addresses: each interface of the default card keeps its first
// address for itself, and two pods (the CNI and kube-proxy) use the host's.
func (t InstanceType) MaxPods() int { return t.ENIs*(t.IPv4PerENI-1) + 2 }

// maxPodsUnknownType is what the EKS images and the kubelet itself take for a
// type that nobody knows.
const maxPodsUnknownType = 110

// A capacity is how many pods the node takes and what it reserves for them.
type capacity struct {
	pods int
	why  string
	// reservedPods is the number that kubeReserved.memory is computed for.
	reservedPods int
}

// planCapacity decides max pods: the user's setting, else the table, else 110.
//
// kubeReserved.memory follows the effective number, unless that would take
// more than half of the machine's memory: prefix delegation allows 110 pods on
// an instance with 2 GiB, and a kubelet whose reservation exceeds the memory
// exits. Then the number by interfaces counts, as it does on the EKS images.
func planCapacity(cfg Config, s kubelet.Settings) (capacity, []Problem) {
	var problems []Problem
	name := cfg.Instance.Type
	t, known := LookUpInstanceType(name)

	c := capacity{pods: maxPodsUnknownType}
	switch {
	case known:
		c.pods = t.MaxPods()
		c.why = fmt.Sprintf("%s: %d interfaces × (%d addresses − 1) + 2 = %d", name, t.ENIs, t.IPv4PerENI, c.pods)
	case s.MaxPods == 0:
		c.why = fmt.Sprintf("%d, because %q is not in the table of instance types", c.pods, name)
		problems = append(problems, Problem{
			Code:    NOD107,
			Path:    "instance.type",
			Message: fmt.Sprintf("instance type %q is not in the table of instance types; max pods is the kubelet's default of %d", name, c.pods),
			Remedy:  fmt.Sprintf("Set spec.kubelet.config.maxPods to what the VPC CNI can serve on %s, or update nodeprep.", name),
			Warning: true,
		})
	}
	byInterfaces := c.pods
	if s.MaxPods > 0 {
		why := fmt.Sprintf("%d, %s", s.MaxPods, s.MaxPodsFrom)
		if known {
			why += fmt.Sprintf(" (by interfaces %d)", byInterfaces)
		}
		c.pods, c.why = s.MaxPods, why
	}

	c.reservedPods = c.pods
	half := cfg.Machine.MemoryMiB / 2
	if s.ReservedMemory || half == 0 || kubelet.ReservedMemoryMiB(c.pods) <= half {
		return c, problems
	}
	// The largest number of pods whose reservation fits, at least one.
	fits := max(1, (half-kubelet.ReservedMemoryMiB(0))/(kubelet.ReservedMemoryMiB(1)-kubelet.ReservedMemoryMiB(0)))
	c.reservedPods = min(byInterfaces, fits)
	problems = append(problems, Problem{
		Code: NOD108,
		Path: "spec.kubelet.config.maxPods",
		Message: fmt.Sprintf("%d pods would reserve %d MiB of %d MiB for the system; %d MiB, enough for %d pods, are reserved",
			c.pods, kubelet.ReservedMemoryMiB(c.pods), cfg.Machine.MemoryMiB, kubelet.ReservedMemoryMiB(c.reservedPods), c.reservedPods),
		Remedy:  "Lower maxPods, or set spec.kubelet.config.kubeReserved.memory.",
		Warning: true,
	})
	return c, problems
}
