package bootstrap

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// imageConfigDir holds the configuration that is made with the image. Its files alone
// may lock settings.
const imageConfigDir = "/usr/lib/nodeprep/conf.d"

// endless is the duration "forever".
const endless time.Duration = 1<<63 - 1

// A lockRule says what a later source may still do to a locked setting.
type lockRule struct {
	path string
	// holds reports whether later is as tight as fixed or tighter.
	holds func(fixed, later setting) bool
	says  string // what is allowed, in words
}

// lockRules are the settings of which one value is tighter than another: what blocks
// more, for longer, or sends fewer packets. A setting without a rule may not be changed.
func lockRules() []lockRule {
	off := func(path string) lockRule {
		return lockRule{path, func(fixed, later setting) bool { return later.flag() == fixed.flag() || !later.flag() }, "may be switched off"}
	}
	longer := func(fixed, later setting) bool { return later.duration() >= fixed.duration() }
	return []lockRule{
		{"spec.mode", rising(string(ModeObserve), string(ModeQuorum), string(ModeStrict)), "strict is tighter than quorum, and quorum than observe"},
		{"spec.needs", keepsNeeds, "needs may be added"},
		{"spec.cni", rising("other", "vpc-cni"), "vpc-cni is tighter than other"},
		{"spec.endpoints", keepsEndpoints, "endpoints may be added and their roles raised; those of the image are repeated"},
		{"spec.names.fips", rising(string(VariantNever), string(VariantAuto), string(VariantAlways)), "always is tighter than auto, and auto than never"},
		{"spec.privateOnly", func(fixed, later setting) bool { return later.flag() || !fixed.flag() }, "true is tighter than false"},
		{"spec.enforce", keepsEnforced, "areas and codes may be added; an empty list, which is all, is the tightest"},
		{"spec.waive", addsNoWaiver, "waivers may be left out or end earlier"},
		{"spec.assumedHold", longer, "longer is tighter"},
		{"spec.rejoinHold", longer, "longer is tighter"},
		{"spec.experiments.compareDNS", rising(compareAll, compareAWSNames, experimentOff), "off is tighter than aws-names, and aws-names than all"},
		{"spec.experiments.directPath", rising(directPrivate, experimentOff), "may be switched off"},
		off("spec.experiments.secondSNI"),
		off("spec.experiments.smallHello"),
		off("spec.experiments.mssClamp"),
		off("spec.experiments.udpTest"),
		off("spec.experiments.ntp"),
	}
}

// allowed reports whether a setting may be merged: the image's files may set all,
// later sources may neither lock nor loosen what is locked.
func (r *configReader) allowed(s setting) bool {
	if r.fromImage {
		r.image.add(s)
		return true
	}
	switch {
	case s.isEmpty():
		return true // which overrides nothing
	case s.path == "spec.locked" || s.path == "spec.anchors":
		r.invalid(s, CFG110, "may be set by the image only, in "+imageConfigDir, "Remove it from "+s.at.String()+".")
		return false
	}
	lock, locked := r.lockOf(s.path)
	if !locked {
		return true
	}
	fixed, set := r.image.settings[s.path]
	rule, relation := lockRule{holds: same, says: "it may not be changed"}, "not "
	if i := slices.IndexFunc(lockRules(), func(l lockRule) bool { return l.path == s.path }); i >= 0 {
		rule, relation = lockRules()[i], "looser than "
	}
	if !set {
		fixed = setting{field: s.field, path: s.path}
	}
	if rule.holds(fixed, s) {
		return true
	}
	given := ""
	if s.isPlain() {
		given = s.excerpt() + ", "
	}
	r.invalid(s, CFG110, "is "+given+relation+lockedValue(fixed, set, lock.at)+": "+rule.says,
		"Remove it from "+s.at.String()+", or have "+lock.text+" taken from spec.locked of the image.")
	return false
}

// lockOf returns the entry of spec.locked that covers a field. That of needs covers cni,
// which takes a need away.
func (r *configReader) lockOf(path string) (listItem, bool) {
	items, _ := r.image.settings["spec.locked"].value.([]listItem)
	i := slices.IndexFunc(items, func(item listItem) bool {
		name := "spec." + item.text
		return path == name || strings.HasPrefix(path, name+".") || path == "spec.cni" && item.text == "needs"
	})
	if i < 0 {
		return listItem{}, false
	}
	return items[i], true
}

// checkLocks reports entries of spec.locked that are no fields.
func (r *configReader) checkLocks() {
	items, _ := r.merged.settings["spec.locked"].value.([]listItem)
	for i, item := range items {
		if fieldOf(r.prep, "spec."+item.text) == nil || item.text == "locked" {
			r.invalid(setting{path: fmt.Sprintf("spec.locked[%d]", i), at: item.at}, CFG102, "is "+excerpt(item.text)+", no field of PrepConfig",
				"Name a field without spec, such as mode or experiments.ntp.")
		}
	}
}

// lockedValue says what is locked, and where that was said.
func lockedValue(fixed setting, set bool, lock place) string {
	switch {
	case !set && fixed.field.def != "":
		return "its default " + excerpt(fixed.field.def) + ", which " + lock.String() + " locks"
	case !set:
		return "its default, which " + lock.String() + " locks"
	}
	what, locks := "what ", lock.String()+" locks"
	if fixed.isPlain() {
		what = fixed.excerpt() + ", which "
	}
	switch {
	case lock == fixed.at:
		locks = "locks"
	case lock.source == fixed.at.source:
		locks = fmt.Sprintf("line %d locks", lock.line)
	}
	return what + fixed.at.String() + " sets and " + locks
}

// isPlain reports whether a value is no list or mapping.
func (s setting) isPlain() bool {
	switch s.value.(type) {
	case string, bool, int64:
		return true
	default:
		return false
	}
}

// excerpt is a plain value for a message.
func (s setting) excerpt() string { return excerpt(fmt.Sprint(s.value)) }

// text, flag and duration are a setting's value or the field's default.
func (s setting) text() string {
	if v, ok := s.value.(string); ok {
		return v
	}
	return s.field.def
}

func (s setting) flag() bool {
	if v, ok := s.value.(bool); ok {
		return v
	}
	return s.field.def == "true"
}

func (s setting) duration() time.Duration {
	d, err := time.ParseDuration(s.text())
	if err != nil {
		return endless // forever, the only word beside durations
	}
	return d
}

// rising compares words by their order, loosest first.
func rising(words ...string) func(fixed, later setting) bool {
	return func(fixed, later setting) bool {
		return slices.Index(words, later.text()) >= slices.Index(words, fixed.text())
	}
}

// same allows no change.
func same(fixed, later setting) bool {
	if fixed.value == nil {
		return later.atDefault()
	}
	return reflect.DeepEqual(plainValue(fixed), plainValue(later))
}

// plainValue is a value without its places.
func plainValue(s setting) any {
	switch v := s.value.(type) {
	case *tree:
		return v.plain()
	case []listItem:
		return texts(v)
	case []element:
		var out []map[string]any
		for _, e := range v {
			out = append(out, e.plain())
		}
		return out
	default:
		return v
	}
}

// plain is an element without its places, its fields at their default left out.
func (e element) plain() map[string]any {
	out := map[string]any{}
	for _, s := range e.settings {
		if !s.atDefault() {
			out[s.field.name] = plainValue(s)
		}
	}
	return out
}

func texts(items []listItem) []string {
	var out []string
	for _, item := range items {
		out = append(out, item.text)
	}
	return out
}

// elements are the plain objects of a list.
func (s setting) elements() []map[string]any {
	out, _ := plainValue(s).([]map[string]any)
	return out
}

// keepsNeeds holds that all fixed needs are listed. Without a list they are the default's.
func keepsNeeds(fixed, later setting) bool {
	wanted := []any{needVPCCNI, needImagePull}
	if fixed.value != nil {
		wanted = nil
		for _, e := range fixed.elements() {
			wanted = append(wanted, e["name"])
		}
	}
	return !slices.ContainsFunc(wanted, func(name any) bool {
		return !slices.ContainsFunc(later.elements(), func(e map[string]any) bool { return e["name"] == name })
	})
}

// keepsEndpoints holds that the fixed endpoints are listed as they are, with the
// same role or a stronger one.
func keepsEndpoints(fixed, later setting) bool {
	role := func(e map[string]any) int {
		v, _ := e["role"].(string)
		return slices.Index([]Role{RoleOptional, RoleWorkload, RoleReady, RoleGate}, Role(v))
	}
	rest := func(e map[string]any) map[string]any {
		out := map[string]any{}
		for k, v := range e {
			if k != "role" && k != "why" {
				out[k] = v
			}
		}
		return out
	}
	return !slices.ContainsFunc(fixed.elements(), func(f map[string]any) bool {
		return !slices.ContainsFunc(later.elements(), func(l map[string]any) bool {
			return reflect.DeepEqual(rest(f), rest(l)) && role(l) >= role(f)
		})
	})
}

// keepsEnforced holds that what may block by the fixed list may still block.
func keepsEnforced(fixed, later setting) bool {
	before, _ := fixed.value.([]listItem)
	if len(before) == 0 {
		return false // all, and later is not empty
	}
	after, _ := later.value.([]listItem)
	return !slices.ContainsFunc(before, func(f listItem) bool {
		want, _ := areaOrCode(f.text)
		return !slices.ContainsFunc(after, func(l listItem) bool {
			got, _ := areaOrCode(l.text)
			return got == want || strings.HasPrefix(want, got+"-")
		})
	})
}

// addsNoWaiver holds that every waiver is one of the fixed, and ends no later.
func addsNoWaiver(fixed, later setting) bool {
	get := func(e map[string]any, name string) string { v, _ := e[name].(string); return v }
	return !slices.ContainsFunc(later.elements(), func(l map[string]any) bool {
		code, _ := Explain(get(l, "code"))
		return !slices.ContainsFunc(fixed.elements(), func(f map[string]any) bool {
			same, _ := Explain(get(f, "code"))
			until := get(f, "until")
			return same.Code == code.Code && (until == "" || get(l, "until") != "" && get(l, "until") <= until)
		})
	})
}
