package bootstrap

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A Code names a cause: NP-<AREA>-<nnn>. It is never renamed or reused. All
// codes are rows of codes.yaml; codes_gen.go is generated from it.
type Code string

// A Severity says what a finding does to the gate.
type Severity string

// The severities.
const (
	Fatal     Severity = "fatal"     // holds the gate; heals only by a change
	Retryable Severity = "retryable" // holds the gate; may heal by waiting
	Warning   Severity = "warning"   // never holds the gate
)

// A Confidence says how a cause was established.
type Confidence string

// The confidences, strongest first.
const (
	Proven   Confidence = "proven"   // an explicit answer or an A/B experiment
	Likely   Confidence = "likely"   // the pattern over all targets
	Possible Confidence = "possible" // what is left
)

// A Finding is one cause with its proof and what to change.
type Finding struct {
	Code       Code       `json:"code"`
	Title      string     `json:"title"`
	Severity   Severity   `json:"severity"`
	Confidence Confidence `json:"confidence"`
	// Targets are the names of the targets that fail by this cause.
	Targets []string `json:"targets,omitempty"`
	// Hosts and Addresses are the real names and addresses concerned; DNS
	// servers count as addresses.
	Hosts       []string     `json:"hosts,omitempty"`
	Addresses   []netip.Addr `json:"addresses,omitempty"`
	Because     string       `json:"because"` // the measurement, in one sentence
	Remedy      string       `json:"remedy"`  // the one thing to change, with real names
	Consequence string       `json:"consequence,omitempty"`
	Not         []RuledOut   `json:"not,omitempty"`
	// Explains lists the symptoms that this cause accounts for.
	Explains []Symptom `json:"explains,omitempty"`
	// Blocks says that this finding holds the gate closed.
	Blocks bool `json:"blocks"`
	// WouldBlock says that it would hold the gate closed, did not the rule of the
	// policy that AllowedBy names let it pass: "mode observe", "waived until 2027-01-31:
	// the reason given", "rejoinHold 2m0s is over: …". Of a finding that does not
	// block by itself, AllowedBy is the waiver.
	WouldBlock bool   `json:"wouldBlock,omitempty"`
	AllowedBy  string `json:"allowedBy,omitempty"`
	// Problem is set for findings of the area CFG.
	Problem *Problem `json:"problem,omitempty"`
}

// A RuledOut is a cause that was considered and excluded.
type RuledOut struct {
	Code Code   `json:"code"`
	Why  string `json:"why"`
}

// A Symptom is a failure that another finding explains.
type Symptom struct {
	Code   Code   `json:"code"`
	Target string `json:"target,omitempty"`
}

// A Verdict says whether the kubelet may start and if not, why not.
type Verdict struct {
	Pass bool `json:"pass"`
	// Findings are root causes first: blocking before warnings, then by code.
	Findings []Finding `json:"findings,omitempty"`
	// Waived are findings whose code the policy waives; they stay visible.
	Waived []Finding `json:"waived,omitempty"`
	// Pending names blocking targets about which nothing is known yet; a
	// verdict with pending targets passes in observe mode only.
	Pending []string `json:"pending,omitempty"`
}

// History is what earlier rounds of this run found, by finding key, and by
// "target NAME" since when a blocking target has not passed.
type History map[string]Seen

// Seen is when a finding was observed.
type Seen struct {
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	Times int       `json:"times"`
}

// Key identifies a finding across rounds: its code and targets.
func (f Finding) Key() string {
	return strings.Join(append([]string{string(f.Code)}, f.Targets...), " ")
}

// Blocking returns the findings that hold the gate closed, causes first.
func (v Verdict) Blocking() []Finding {
	var out []Finding
	for _, f := range v.Findings {
		if f.Blocks {
			out = append(out, f)
		}
	}
	return out
}

// WouldBlock returns the findings that would hold the gate closed but for the
// policy, waived ones last.
func (v Verdict) WouldBlock() []Finding {
	var out []Finding
	for _, f := range slices.Concat(v.Findings, v.Waived) {
		if f.WouldBlock {
			out = append(out, f)
		}
	}
	return out
}

// Subject is what a finding is about: its targets, else the place in the input.
func (f Finding) Subject() []string {
	switch {
	case len(f.Targets) > 0:
		return f.Targets
	case f.Problem != nil && f.Problem.Path != "":
		return []string{f.Problem.Path}
	default:
		return nil
	}
}

// Summary is a finding in one line: NP-NET-105 ecr.api: what is wrong.
func (f Finding) Summary() string {
	s := string(f.Code)
	if about := f.Subject(); len(about) > 0 {
		s += " " + enumerateUpTo(8, about) + ":"
	}
	return s + " " + f.Title
}

// Headline is the first of several findings in one line and how many more there
// are, empty for none.
func Headline(fs []Finding) string {
	if len(fs) == 0 {
		return ""
	}
	s := fs[0].Summary()
	if n := len(fs) - 1; n > 0 {
		s += fmt.Sprintf(" (and %d more)", n)
	}
	return s
}
