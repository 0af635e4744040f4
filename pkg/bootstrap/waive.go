package bootstrap

import (
	"fmt"
	"strings"
	"time"
)

// enforce returns the areas and codes of spec.enforce in their full form, NP-DNS and
// NP-DNS-102.
func (r *configReader) enforce() []string {
	items, _ := r.merged.settings["spec.enforce"].value.([]listItem)
	var out []string
	for i, item := range items {
		full, ok := areaOrCode(item.text)
		if !ok {
			r.invalid(setting{path: fmt.Sprintf("spec.enforce[%d]", i), at: item.at}, CFG102, "is "+excerpt(item.text)+", neither an area nor a code",
				"Write an area such as NP-DNS or a code such as NP-DNS-102; nodeprep explain lists them.")
			continue
		}
		out = append(out, full)
	}
	return out
}

// areaOrCode returns the full form of NP-DNS, DNS, NP-DNS-102, DNS-102.
func areaOrCode(s string) (string, bool) {
	if info, ok := Explain(s); ok && info.Retired == "" {
		return string(info.Code), true
	}
	area := strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(s)), "NP-")
	for _, info := range Codes() {
		if info.Code.Area() == area {
			return "NP-" + area, true
		}
	}
	return "", false
}

// waivers validates spec.waive and returns those in force at now.
func (r *configReader) waivers(now time.Time) []Waiver {
	s := r.merged.settings["spec.waive"]
	groups, _ := s.value.([]element)
	var out []Waiver
	for i, g := range groups {
		before := len(r.problems)
		path := fmt.Sprintf("%s[%d]", s.path, i)
		field := func(name string) (setting, string) {
			f, ok := g.get(name)
			if !ok {
				f = setting{path: joinPath(path, name), at: g.at}
			}
			v, _ := f.value.(string)
			return f, strings.TrimSpace(v)
		}
		code, name := field("code")
		reason, why := field("reason")
		until, day := field("until")
		w := Waiver{Reason: why, Until: day}
		info, known := Explain(name)
		switch {
		case name == "" && !r.attempted[code.path]:
			r.invalid(code, CFG102, "is missing", "Name the code to waive, such as NP-DNS-114.")
		case name != "" && (!known || info.Retired != ""):
			r.invalid(code, CFG102, "is "+excerpt(name)+", a code that this version does not give", "Write a code that nodeprep explain lists, such as NP-DNS-114.")
		}
		w.Code = info.Code
		if why == "" && !r.attempted[reason.path] {
			r.invalid(reason, CFG102, "is missing", "Say why the code is waived; the reason is shown wherever the code is found.")
		}
		if _, err := time.Parse(time.DateOnly, day); day != "" && err != nil {
			r.invalid(until, CFG102, "is "+excerpt(day)+", not a day such as 2027-01-31", "Write the last day of the waiver as YEAR-MONTH-DAY.")
		}
		switch {
		case len(r.problems) > before || w.Code == "" || why == "":
		case !now.IsZero() && w.expired(now):
			r.doubtful(until, CFG111, "was the last day of the waiver of "+string(w.Code)+"; it has no effect any more",
				"Remove the waiver, or renew it with a new last day.")
		default:
			out = append(out, w)
		}
	}
	return out
}
