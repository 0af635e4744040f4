package bootstrap

import (
	"fmt"
	"slices"
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

// The values of spec.experiments that are words.
const (
	compareAWSNames = "aws-names"
	compareAll      = "all"
	directPrivate   = "private"
	experimentOff   = "off"
)

// setting returns a field of PrepConfig as it is set; otherwise one without a value,
// whose text, flag and duration are the default's.
func (r *configReader) setting(path string) setting {
	if s, ok := r.merged.settings[path]; ok {
		return s
	}
	return setting{field: fieldOf(r.prep, path), path: path}
}

// hold returns a duration of PrepConfig.
func (r *configReader) hold(path string) probe.Duration {
	if d := r.setting(path).duration(); d != endless {
		return probe.Duration(d)
	}
	return Forever
}

// policy validates what PrepConfig decides. The expiry of waivers is judged by now,
// and not at all when that is zero.
func (r *configReader) policy(now time.Time) Policy {
	p := Policy{
		Mode:        Mode(r.setting("spec.mode").text()),
		OtherCNI:    r.setting("spec.cni").text() == "other",
		FIPS:        Variant(r.setting("spec.names.fips").text()),
		DualStack:   Variant(r.setting("spec.names.dualStack").text()),
		PrivateOnly: r.setting("spec.privateOnly").flag(),
		AssumedHold: r.hold("spec.assumedHold"),
		RejoinHold:  r.hold("spec.rejoinHold"),
		Experiments: ExperimentPolicy{
			CompareDNS: r.setting("spec.experiments.compareDNS").text(),
			DirectPath: r.setting("spec.experiments.directPath").text(),
			SecondSNI:  r.setting("spec.experiments.secondSNI").flag(),
			SmallHello: r.setting("spec.experiments.smallHello").flag(),
			MSSClamp:   r.setting("spec.experiments.mssClamp").flag(),
			UDPTest:    r.setting("spec.experiments.udpTest").flag(),
			NTP:        r.setting("spec.experiments.ntp").flag(),
		},
	}
	p.Needs, p.AssumedNeeds = r.needs(p.OtherCNI)
	p.Endpoints = r.endpoints()
	p.Hosts = r.hosts()
	p.Enforce = r.enforce()
	p.Waive = r.waivers(now)
	p.Anchors = r.anchors()
	p.GiveUpAfter = r.giveUpAfter()
	return p
}

func (r *configReader) giveUpAfter() probe.Duration {
	s := r.merged.settings["spec.giveUpAfter"]
	if s.value == nil || s.value == "never" {
		return 0
	}
	v, _ := s.value.(string)
	d, err := time.ParseDuration(v)
	if err != nil || d < minGiveUp {
		r.invalid(s, CFG102, "is "+excerpt(v)+", less than a minute", "Write never, or a duration of at least 1m.")
		return 0
	}
	return probe.Duration(d)
}

// needs are those listed, or those that every node is taken to have.
func (r *configReader) needs(otherCNI bool) (needs []Need, assumed bool) {
	s, listed := r.merged.settings["spec.needs"]
	groups, _ := s.value.([]element)
	if listed {
		needs = []Need{} // none, unless some follow
	} else {
		needs, assumed = []Need{{Name: needVPCCNI}, {Name: needImagePull}}, true
	}
	for i, g := range groups {
		name, ok := g.get("name")
		if !ok {
			// A need that is a plain string has the path of the element.
			path := fmt.Sprintf("%s[%d]", s.path, i)
			if !r.attempted[path] && !r.attempted[path+".name"] {
				r.invalid(setting{path: path + ".name", at: g.at}, CFG102, "is missing", "Name a need: one of "+strings.Join(needNames(), ", ")+".")
			}
			continue
		}
		if verify, ok := g.get("verify"); ok && verify.value == true {
			r.unsupported(verify)
		}
		n := Need{}
		n.Name, _ = name.value.(string)
		if n.Name != "" && !slices.Contains(needs, n) {
			needs = append(needs, n)
		}
	}
	if otherCNI {
		needs = slices.DeleteFunc(needs, func(n Need) bool { return n.Name == needVPCCNI })
	}
	return needs, assumed
}

// hosts are the names that stand for those of services.
func (r *configReader) hosts() map[string]string {
	s := r.merged.settings["spec.hosts"]
	t, _ := s.value.(*tree)
	if t == nil {
		return nil
	}
	out := map[string]string{}
	for _, service := range t.names {
		l, ok := t.nodes[service].(leaf)
		host, isText := l.value.(string)
		if !ok || !isText {
			continue // reported by the decoder
		}
		at := setting{path: joinPath(s.path, service), at: l.at}
		switch {
		case !isService(service):
			r.invalid(at, CFG102, "is no service that a need asks for", "Use one of "+strings.Join(serviceNames(), ", ")+".")
		case host == "":
		case !isHost(host):
			r.invalid(at, CFG102, "is "+excerpt(host)+", which is no host name or address", "Write the host alone, without scheme and port.")
		default:
			out[service] = host
		}
	}
	return out
}

// anchors are the roots that the image gives in place of those of the partition.
func (r *configReader) anchors() []string {
	items, _ := r.merged.settings["spec.anchors"].value.([]listItem)
	var out []string
	for i, item := range items {
		v := strings.ToLower(item.text)
		if len(v) != 64 || strings.Trim(v, "0123456789abcdef") != "" {
			r.invalid(setting{path: fmt.Sprintf("spec.anchors[%d]", i), at: item.at}, CFG102, "is "+excerpt(item.text)+", not a SHA-256 in hex",
				"Write the 64 hex digits that this prints: openssl x509 -in ROOT.pem -noout -pubkey | openssl pkey -pubin -outform der | sha256sum")
			continue
		}
		out = append(out, v)
	}
	return out
}
