package bootstrap

import (
	"fmt"
	"strings"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap/kubelet"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// minGiveUp keeps a mistyped unit (giveUpAfter: 30s) from ending every boot.
const minGiveUp = time.Minute

// kubelet validates spec.kubelet as the kubelet of the given version will.
func (r *configReader) kubelet(v kubelet.Version) Kubelet {
	k := Kubelet{Config: map[string]any{}}
	config := r.merged.settings["spec.kubelet.config"]
	t, _ := config.value.(*tree)
	if t != nil {
		k.Config = t.plain()
	}
	flags := r.merged.settings["spec.kubelet.flags"]
	items, _ := flags.value.([]listItem)
	at := make(map[string]place, len(items))
	for i, item := range items {
		k.Flags = append(k.Flags, item.text)
		at[fmt.Sprintf("%s[%d]", flags.path, i)] = item.at
	}
	if t != nil {
		t.leaves(config.path, func(path string, p place) { at[path] = p })
	}
	_, refused := kubelet.Check(k.Config, k.Flags, v)
	for _, e := range refused {
		code := CFG102
		if e.Unknown {
			code = CFG109
		}
		s := setting{path: e.Path, at: config.at}
		// An element of a list has the place of its list.
		for path := e.Path; path != ""; path = path[:max(0, strings.LastIndexAny(path, ".["))] {
			if p, ok := at[path]; ok {
				s.at = p
				break
			}
		}
		r.invalid(s, code, e.Reason, e.Remedy)
	}
	return k
}

// policy validates what PrepConfig decides.
func (r *configReader) policy() Policy {
	p := Policy{Mode: ModeQuorum}
	if v, ok := r.merged.settings["spec.mode"].value.(string); ok {
		p.Mode = Mode(v)
	}
	if s := r.merged.settings["spec.giveUpAfter"]; s.value != nil && s.value != "never" {
		v, _ := s.value.(string)
		if d, err := time.ParseDuration(v); err == nil && d >= minGiveUp {
			p.GiveUpAfter = probe.Duration(d)
		} else {
			r.invalid(s, CFG102, "is "+excerpt(v)+", less than a minute", "Write never, or a duration of at least 1m.")
		}
	}
	s := r.merged.settings["spec.endpoints"]
	groups, _ := s.value.([]element)
	seen := map[string]place{}
	for i, g := range groups {
		if e, ok := r.userEndpoint(g, fmt.Sprintf("%s[%d]", s.path, i), seen); ok {
			p.Endpoints = append(p.Endpoints, e)
		}
	}
	return p
}

// isBuiltInTarget reports whether a plan has a target of this name of its own.
func isBuiltInTarget(name string) bool {
	switch name {
	case "metadata", "apiserver", "ec2", "ecr.api", "ecr.dkr", "s3":
		return true
	default:
		return false
	}
}

// userEndpoint validates one entry of spec.endpoints and reports whether it can
// be probed.
func (r *configReader) userEndpoint(given element, path string, seen map[string]place) (Endpoint, bool) {
	e := Endpoint{Port: 443, TLS: true}
	before := len(r.problems)
	at := func(name string) setting {
		s, ok := given.get(name)
		if !ok {
			s = setting{at: given.at, path: joinPath(path, name)}
		}
		return s
	}
	text := func(name string) string {
		v, _ := at(name).value.(string)
		return v
	}
	missing := func(name string) bool {
		if text(name) != "" || r.attempted[joinPath(path, name)] {
			return false
		}
		r.invalid(at(name), CFG102, "is missing", "Give every endpoint a name, a host and a role.")
		return true
	}
	if e.Name = text("name"); !missing("name") && e.Name != "" {
		r.endpointIdentity(at("name"), e.Name, seen)
	}
	if e.Host = text("host"); !missing("host") && e.Host != "" && !isHost(e.Host) {
		r.invalid(at("host"), CFG102, "is "+excerpt(e.Host)+", which is no host name or address", "Write the host alone; its port goes into port.")
	}
	e.Role = Role(text("role"))
	missing("role")
	e.Why = text("why")
	if port, ok := at("port").value.(int64); ok {
		if port < 1 || port > 65535 {
			r.invalid(at("port"), CFG102, fmt.Sprintf("is %d, not a port", port), "Write a port from 1 to 65535.")
		} else {
			e.Port = uint16(port)
		}
	}
	if v, ok := at("tls").value.(bool); ok {
		e.TLS = v
	}
	if ca := at("ca"); text("ca") != "" {
		r.unsupported(ca)
	}
	return e, len(r.problems) == before && e.Name != "" && e.Host != "" && e.Role != ""
}

// endpointIdentity validates the name of an endpoint.
func (r *configReader) endpointIdentity(s setting, name string, seen map[string]place) {
	first, twice := seen[name]
	switch {
	case !isEndpointName(name):
		r.invalid(s, CFG102, "is "+excerpt(name)+", which is no endpoint name", "Use lower-case letters, digits, hyphens and dots, at most 63.")
	case isBuiltInTarget(name):
		r.invalid(s, CFG102, "is "+excerpt(name)+", the name of a target that nodeprep has itself", "Choose another name.")
	case twice:
		r.invalid(s, CFG102, "is "+excerpt(name)+", already the name of the endpoint at "+first.String(), "Give every endpoint a name of its own.")
	default:
		seen[name] = s.at
	}
}
