package bootstrap

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// awsTargets are what the needs ask for. The names are made by the partition table,
// which is what the SDKs do, and the table is compared with what the metadata say.
func (b *planner) awsTargets() []Target {
	p, account, ok := b.partition()
	if !ok {
		return nil
	}
	n := namer{planner: b, partition: p, account: account, services: services()}
	table := needTable()
	var out []Target
	for _, need := range b.needs() {
		i := slices.IndexFunc(table, func(n needSpec) bool { return n.name == need.Name })
		if i < 0 {
			continue // reported by ReadConfig
		}
		spec := table[i]
		for i, s := range spec.services {
			at := slices.IndexFunc(out, func(t Target) bool { return t.Service == s.name })
			if at < 0 {
				t, ok := n.target(s)
				if !ok {
					continue
				}
				at, out = len(out), append(out, t)
			}
			t := &out[at]
			// A service that several needs ask for is one target with the strongest role.
			if roleRank(s.role) < roleRank(t.Role) {
				t.Role, t.Why = s.role, s.why
			}
			t.Needs = append(t.Needs, spec.name)
			notes := s.notes
			if i == 0 {
				notes = slices.Concat(notes, spec.notes)
			}
			for _, note := range notes {
				if !slices.Contains(t.Notes, note) {
					t.Notes = append(t.Notes, note)
				}
			}
		}
	}
	n.report()
	return out
}

// needs are those of the policy; a Policy that was not read from a configuration has
// the default's.
func (b *planner) needs() []Need {
	if b.cfg.Policy.Needs == nil {
		b.plan.Policy.Needs, b.plan.Policy.AssumedNeeds = []Need{{Name: needVPCCNI}, {Name: needImagePull}}, true
	}
	return b.plan.Policy.Needs
}

// partition returns the partition of the region and the account of its EKS images, and
// whether names can be made. It compares the table with what the metadata say.
func (b *planner) partition() (p Partition, account string, ok bool) {
	i := b.cfg.Instance
	p, known := PartitionOf(i.Region)
	switch {
	case !known && i.DNSSuffix == "":
		b.add(Problem{
			Code: CFG108, Path: "instance.region",
			Message: fmt.Sprintf("no rule for the region %q, and the metadata have no services/domain", i.Region),
			Remedy:  "Update nodeprep: this build cannot name the AWS services of the region.",
		})
		return Partition{}, "", false
	case !known:
		b.add(Problem{
			Code: CFG108, Path: "instance.region",
			Message: fmt.Sprintf("no rule for the region %q; names are made with the suffix %s of the metadata", i.Region, i.DNSSuffix),
			Remedy:  "Update nodeprep; until then correct single names under spec.hosts.",
			Warning: true,
		})
		p = likelyPartition(i.Region)
		p.DNSSuffix = i.DNSSuffix
	case i.DNSSuffix != "" && i.DNSSuffix != p.DNSSuffix:
		b.add(Problem{
			Code: CFG108, Path: "instance.region",
			Message: fmt.Sprintf("the services of %s end in %s by the partition %s, and in %s by the metadata", i.Region, p.DNSSuffix, p.ID, i.DNSSuffix),
			Remedy:  "Update nodeprep; until then correct single names under spec.hosts.",
			Warning: true,
		})
	}
	account, listed := p.imageAccountOf(i.Region)
	if known && !listed {
		b.add(Problem{
			Code: CFG108, Path: "instance.region",
			Message: fmt.Sprintf("the account of the EKS images in %s is not known; the registry of account %s stands in for it", i.Region, account),
			Remedy:  "Update nodeprep: this build is older than the region.",
			Warning: true,
		})
	}
	return p, account, true
}

// A namer makes targets of services and remembers what their names lack.
type namer struct {
	*planner

	partition Partition
	account   string
	services  []serviceSpec
	// lacking are the services without a listed name of the wanted variant.
	lacking []lackingName
	// dualStackECR says that a program uses ECR's dual-stack names, and which.
	dualStackECR Consumer
}

type lackingName struct {
	service  string
	variant  nameVariant
	consumer Consumer
}

// target makes the target of a service, and reports whether there is one.
func (n *namer) target(s needService) (Target, bool) {
	spec := n.services[slices.IndexFunc(n.services, func(x serviceSpec) bool { return x.name == s.name })]
	t := Target{
		Target:  probe.Target{Name: s.name, Port: httpsPort, TLS: true, Pool: s.name == "s3"},
		Service: s.name, Role: s.role, Why: s.why, Consumer: spec.consumer,
		Assumed: n.plan.Policy.AssumedNeeds, Notes: slices.Clone(serviceNotes(s.name)),
	}
	env := n.cfg.Machine.environment(spec.consumer)
	if host, ok := n.cfg.Policy.Hosts[s.name]; ok {
		t.Host = host
		return t, true
	}
	if n.fromEnvironment(&t, spec, env) {
		return t, true
	}
	wanted := nameVariant{
		fips:      wantsVariant(n.cfg.Policy.FIPS, spec.sdk != "" && env.FIPS),
		dualStack: wantsVariant(n.cfg.Policy.DualStack, spec.sdk != "" && env.DualStack),
	}
	region := n.cfg.Instance.Region
	t.Host = n.partition.serviceHost(s.name, region, n.account, wanted)
	if t.Host == "" || !n.partition.offers(spec, region, wanted) {
		n.lacking = append(n.lacking, lackingName{s.name, wanted, spec.consumer})
	} else if wanted.dualStack && strings.HasPrefix(s.name, "ecr.") {
		n.dualStackECR = spec.consumer
	}
	if t.Host == "" {
		t.Host = n.partition.serviceHost(s.name, region, n.account, nameVariant{})
	}
	return t, t.Host != ""
}

// wantsVariant decides by the policy, and by what the program uses.
func wantsVariant(v Variant, used bool) bool {
	return v == VariantAlways || v != VariantNever && used
}

// fromEnvironment takes host and port from AWS_ENDPOINT_URL_<ID> or AWS_ENDPOINT_URL of
// the program, and reports whether one is set.
func (n *namer) fromEnvironment(t *Target, spec serviceSpec, env Environment) bool {
	if spec.sdk == "" {
		return false
	}
	name := "AWS_ENDPOINT_URL_" + spec.sdk
	value, ok := env.Endpoints[spec.sdk]
	if !ok {
		name = "AWS_ENDPOINT_URL"
		if value, ok = env.Endpoints[""]; !ok {
			return false
		}
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || !isHost(u.Hostname()) {
		n.add(Problem{
			Code: CFG102, Warning: true, Origin: env.Unit, Path: name,
			Message: "is no URL of a host, such as https://HOST; " + string(spec.consumer) + " will fail to use " + spec.name,
			Remedy:  "Correct the variable in " + env.Unit + ", or remove it.",
		})
		return false
	}
	t.Host, t.TLS = u.Hostname(), u.Scheme == "https"
	if !t.TLS {
		t.Port = 80
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); err == nil && port > 0 {
		t.Port = uint16(port)
	}
	t.Notes = append(t.Notes, "The name comes from "+name+" in "+env.Unit+".")
	return true
}

// report tells what the names lack, one problem for all services of a variant that
// the same one asks for.
func (n *namer) report() {
	var problems []Problem
	var services [][]string
	for _, l := range n.lacking {
		p := Problem{
			Code: CFG112, Warning: true, Path: "spec.needs", Message: "the partition " + n.partition.ID + " does not offer ",
			Remedy: "Remove the need from spec.needs.",
		}
		if l.variant != (nameVariant{}) {
			p.Path, p.Message = "spec.names", fmt.Sprintf("AWS lists no %s name in %s for ", l.variant, n.cfg.Instance.Region)
			p.Origin, p.Remedy = n.variantOrigin(l)
		}
		i := slices.Index(problems, p)
		if i < 0 {
			i, problems, services = len(problems), append(problems, p), append(services, nil)
		}
		services[i] = append(services[i], l.service)
	}
	for i, p := range problems {
		p.Message += strings.Join(services[i], ", ")
		n.add(p)
	}
	if n.dualStackECR == "" || n.cfg.Instance.PublicIPv4 || hasIPv6(n.plan, n.state) {
		return
	}
	p := Problem{
		Code: CFG113, Warning: true, Path: "spec.names.dualStack",
		Message: "the dual-stack names of ECR are used, which its VPC endpoints do not serve: images are pulled over the internet, or not at all",
	}
	p.Origin, p.Remedy = n.variantOrigin(lackingName{variant: nameVariant{dualStack: true}, consumer: n.dualStackECR})
	n.add(p)
}

func hasIPv6(p Plan, s netcfg.State) bool {
	_, v6 := p.families(s)
	return v6
}

// variantOrigin says who asks for a variant of a name, and what to change.
func (n *namer) variantOrigin(l lackingName) (origin, remedy string) {
	env := n.cfg.Machine.environment(l.consumer)
	var variables, fields []string
	for _, x := range []struct {
		wanted          bool
		policy          Variant
		field, variable string
	}{
		{l.variant.fips, n.cfg.Policy.FIPS, "spec.names.fips", "AWS_USE_FIPS_ENDPOINT"},
		{l.variant.dualStack, n.cfg.Policy.DualStack, "spec.names.dualStack", "AWS_USE_DUALSTACK_ENDPOINT"},
	} {
		switch {
		case !x.wanted:
		case x.policy == VariantAlways:
			fields = append(fields, x.field)
			origin = n.origin(strings.TrimPrefix(x.field, "spec."))
		default:
			variables = append(variables, x.variable)
			origin = env.Unit
		}
	}
	if len(variables) > 0 {
		return origin, "Remove " + strings.Join(variables, " and ") + " from " + env.Unit + "."
	}
	return origin, "Set " + strings.Join(fields, " and ") + " to never or auto."
}
