package bootstrap

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// fill replaces the {named} fields of a template by what value says; a field
// without a value stays.
func fill(template string, value func(name string) (string, bool)) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(template, "{")
		b.WriteString(before)
		name, after, closed := strings.Cut(rest, "}")
		if !found || !closed {
			b.WriteString(template[len(before):])
			return b.String()
		}
		if v, ok := value(name); ok {
			b.WriteString(v)
		} else {
			b.WriteString("{" + name + "}")
		}
		template = after
	}
}

// pairs is a source of field values: name, value, name, value, …
func pairs(fields ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i+1 < len(fields); i += 2 {
			if fields[i] == name {
				return fields[i+1], true
			}
		}
		return "", false
	}
}

// enumerate joins for people: "a", "a and b", "a, b and c"; more than four are cut.
func enumerate(items []string) string { return enumerateUpTo(4, items) }

// enumerateUpTo is enumerate with another limit.
func enumerateUpTo(most int, items []string) string {
	if n := len(items); n > most {
		items = append(slices.Clone(items[:most-1]), strconv.Itoa(n-most+1)+" more")
	}
	switch n := len(items); n {
	case 0:
		return ""
	case 1:
		return items[0]
	default:
		return strings.Join(items[:n-1], ", ") + " and " + items[n-1]
	}
}

func nonEmpty(items ...string) []string {
	return slices.DeleteFunc(items, func(s string) bool { return s == "" })
}

func stringsOf[T fmt.Stringer](items []T) []string {
	out := make([]string, len(items))
	for i, it := range items {
		out[i] = it.String()
	}
	return out
}

func targetNames(ts []*targetView) []string {
	out := make([]string, len(ts))
	for i, t := range ts {
		out[i] = t.Name
	}
	return out
}

func addressTexts(ps []*pathView) []string {
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = p.addr.String()
	}
	return out
}

// countOf is "1 address", "3 addresses".
func countOf(n int, one string) string {
	switch {
	case n == 1:
		return "1 " + one
	case strings.HasSuffix(one, "s"):
		return strconv.Itoa(n) + " " + one + "es"
	default:
		return strconv.Itoa(n) + " " + one + "s"
	}
}

// agree chooses the verb's form: it agrees with the number of names.
func agree(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// field is the value of a template field: the rule's own, or one that every
// finding has.
func (v *view) field(c *candidate, f Finding, name string) (string, bool) {
	if s, ok := pairs(c.fields...)(name); ok {
		return s, true
	}
	i := v.plan.Instance
	switch name {
	case "hosts", "host":
		return enumerate(f.Hosts), true
	case "addresses":
		return cmp.Or(enumerate(stringsOf(f.Addresses)), "no address"), true
	case "address":
		return firstOr(stringsOf(f.Addresses), "ADDRESS"), true
	case "servers":
		return enumerate(stringsOf(f.Addresses)), true
	case "service", "services":
		services := make([]string, len(c.targets))
		for i, t := range c.targets {
			services[i] = t.serviceName()
		}
		return enumerateUpTo(manyEndpoints, services), true
	case "endpoint", "endpoints":
		return enumerateUpTo(manyEndpoints, v.endpointNames(c.targets)), true
	case "port":
		if len(c.targets) > 0 {
			return strconv.Itoa(int(c.targets[0].Port)), true
		}
		return "443", true
	case "cidr":
		return v.source(c.addresses), true
	case "vpc":
		return enumerate(stringsOf(i.VPC)), true
	case "cluster":
		return cmp.Or(v.plan.Cluster.Name, "the cluster"), true
	case "node":
		return cmp.Or(i.ID, "this node"), true
	case "instance":
		return cmp.Or(i.ID, "this instance"), true
	case "resolver":
		return v.resolver(), true
	case "upstream":
		return v.upstream(c.addresses), true
	case "file":
		return cmp.Or(v.state.DNS.File, "/etc/resolv.conf"), true
	case "links":
		return v.linkNames(), true
	case "effect":
		return c.effect(), true
	case "detail":
		return "", true
	}
	return "", false
}

func firstOr(items []string, other string) string {
	if len(items) == 0 {
		return other
	}
	return items[0]
}

// source is the network from which this node's packets to the addresses come:
// its subnet of their family.
func (v *view) source(to []netip.Addr) string {
	v6 := len(to) > 0 && to[0].Is6()
	for _, p := range v.plan.Instance.Subnet {
		if p.Addr().Is6() == v6 {
			return p.String()
		}
	}
	if a := v.plan.Instance.LocalIPv4; a.IsValid() && !v6 {
		return a.String() + "/32"
	}
	return "this node's subnet"
}

// resolver is the VPC resolver's address as people know it.
func (v *view) resolver() string {
	if ps := v.plan.Instance.VPC; len(ps) > 0 && ps[0].Addr().Is4() {
		return ps[0].Masked().Addr().Next().Next().String()
	}
	return resolverAddresses[0].String()
}

func (v *view) linkNames() string {
	var out []string
	for _, l := range v.state.Links {
		if !l.Loopback {
			out = append(out, l.Name)
		}
	}
	if len(out) == 0 {
		return "the network interface"
	}
	return enumerate(out)
}

// serviceName is how the target's service is called in a remedy.
func (t *targetView) serviceName() string { return cmp.Or(t.Service, t.Name) }

// manyEndpoints is how many endpoints a remedy lists: what is to be created
// must be named in full.
const manyEndpoints = 12

// endpointNames are the targets' names as the VPC console knows them:
// com.amazonaws.us-west-2.ecr.api.
func (v *view) endpointNames(ts []*targetView) []string {
	region := cmp.Or(v.plan.Instance.Region, "REGION")
	var out []string
	for _, t := range ts {
		if t.isAPIServer() {
			continue
		}
		if t.Service == "" || !t.aws {
			out = append(out, t.Host)
			continue
		}
		out = append(out, likelyPartition(region).EndpointService(region, t.Service))
	}
	return out
}

// effect says what the cause means for the node. The worst counts: what does
// not join need not be told that it would not be Ready.
func (c *candidate) effect() string {
	var notReady, workload []string
	failing := 0
	for _, t := range c.targets {
		if !c.force && (t.works() || c.warn) {
			continue
		}
		failing++
		var why string
		switch {
		case t.Service == MetadataTarget:
			return "Without metadata there is no identity and no credential; the node does not join."
		case t.Role == RoleGate:
			return "The kubelet cannot register; the node does not join."
		case t.Role == RoleReady && (t.isS3() || strings.HasPrefix(t.Service, "ecr")):
			why = "images cannot be pulled"
		case t.Role == RoleReady && t.Service == "ec2":
			why = "the VPC CNI cannot manage addresses"
		case t.Role == RoleReady:
			why = t.Name + " is missing"
		default:
			workload = append(workload, t.Name)
			continue
		}
		if !slices.Contains(notReady, why) {
			notReady = append(notReady, why)
		}
	}
	switch {
	case len(notReady) > 0:
		return "The node would join and stay NotReady: " + enumerate(notReady) + "."
	case len(workload) > 0:
		return "The node joins; pods that use " + enumerate(workload) + " fail."
	case failing == 0 && c.code.Area() == "DNS":
		return "Names resolve as long as another server answers."
	default:
		return "The node is served by other addresses; a connection that tries these fails or waits."
	}
}

// tookText is how long something took until it failed.
func tookText(d probe.Duration) string {
	if time.Duration(d) < 100*time.Microsecond {
		return "at once"
	}
	return "after " + d.String()
}

// answerText is what an HTTP answer said: "503 no leader", cut short.
func answerText(h *probe.HTTPInfo) string {
	if h == nil {
		return "nothing"
	}
	s := "HTTP " + strconv.Itoa(h.Status)
	if ct := h.Header["Content-Type"]; ct != "" {
		s += " " + ct
	}
	if server := h.Header["Server"]; server != "" {
		s += " from " + server
	}
	return s
}
