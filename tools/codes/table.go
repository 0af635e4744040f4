package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// table is codes.yaml.
type table struct {
	Namespace string    `yaml:"namespace"`
	Messages  []message `yaml:"messages"`
	Codes     []row     `yaml:"codes"`
}

// message is a kind of journal entry that is about no single code.
type message struct {
	Name  string `yaml:"name"`
	About string `yaml:"about"`
}

type row struct {
	Code        string   `yaml:"code"`
	Title       string   `yaml:"title"`
	Cause       string   `yaml:"cause"`
	Signal      string   `yaml:"signal"`
	Remedy      string   `yaml:"remedy"`
	Consequence string   `yaml:"consequence"`
	Check       string   `yaml:"check"`
	Severity    string   `yaml:"severity"`
	Confidence  string   `yaml:"confidence"`
	Exit        int      `yaml:"exit"`
	Suppresses  []string `yaml:"suppresses"`
	TakesEffect string   `yaml:"takesEffect"`
	Verified    string   `yaml:"verified"`
	Since       string   `yaml:"since"`
	Retired     string   `yaml:"retired"`
}

// exits are the exit codes by area (docs/operations.md).
var exits = map[string]int{
	"CFG": 10, "LNK": 11, "IMD": 12, "CRD": 13, "CLK": 14, "DNS": 15, "NET": 16, "MTU": 16,
	"TLS": 17, "PXY": 18, "API": 19, "AUT": 19, "NOD": 20, "RUN": 21, "IMG": 21, "HST": 21, "INT": 1,
}

var (
	codeForm    = regexp.MustCompile(`^[A-Z]{3}-[0-9]{3}$`)
	versionForm = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+$`)
	uuidForm    = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	fieldForm   = regexp.MustCompile(`\{[^{}]*\}`)
	fieldName   = regexp.MustCompile(`^\{[a-zA-Z]+\}$`)
)

func (r row) full() string  { return "NP-" + r.Code }
func (r row) area() string  { return r.Code[:3] }
func (r row) ident() string { return strings.ReplaceAll(r.Code, "-", "") }

// parse reads and checks the table; the error lists every mistake.
func parse(data []byte) (table, error) {
	var t table
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&t); err != nil {
		return t, err
	}
	return t, t.check()
}

func (t table) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !uuidForm.MatchString(t.Namespace) {
		bad("namespace %q is no UUID", t.Namespace)
		return errors.Join(errs...)
	}
	ids := map[string]string{}
	unique := func(name, id string) {
		if other, ok := ids[id]; ok {
			bad("%s: same message id as %s", name, other)
		}
		ids[id] = name
	}
	for _, m := range t.Messages {
		if m.Name == "" || m.About == "" {
			bad("message %q: name and about are required", m.Name)
		}
		unique(m.Name, t.messageID("message "+m.Name))
	}
	known := map[string]bool{}
	last := map[string]string{}
	for _, r := range t.Codes {
		if !codeForm.MatchString(r.Code) {
			bad("code %q is not of the form NET-105", r.Code)
			continue
		}
		if known[r.Code] {
			bad("%s: listed twice", r.Code)
		}
		known[r.Code] = true
		if r.Code < last[r.area()] {
			bad("%s: after %s", r.Code, last[r.area()])
		}
		last[r.area()] = r.Code
		unique(r.Code, t.messageID(r.full()))
		for _, err := range r.check() {
			bad("%s: %w", r.Code, err)
		}
	}
	for _, r := range t.Codes {
		for _, s := range r.Suppresses {
			if !known[s] {
				bad("%s: suppresses unknown code %q", r.Code, s)
			}
		}
	}
	if c := t.cycle(); c != nil {
		bad("suppresses is circular: %s", strings.Join(c, " > "))
	}
	return errors.Join(errs...)
}

func (r row) check() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for name, v := range map[string]string{
		"title": r.Title, "cause": r.Cause, "signal": r.Signal, "remedy": r.Remedy,
		"consequence": r.Consequence, "check": r.Check, "takesEffect": r.TakesEffect,
	} {
		if strings.TrimSpace(v) == "" {
			bad("%s is empty", name)
		}
		if v != strings.TrimSpace(v) || strings.Contains(v, "\n") {
			bad("%s is not one trimmed line", name)
		}
		for _, f := range fieldForm.FindAllString(v, -1) {
			if !fieldName.MatchString(f) {
				bad("%s: bad field %s", name, f)
			}
		}
	}
	if n := len([]rune(r.Title)); n > 60 {
		bad("title has %d characters, 60 are allowed", n)
	}
	if strings.HasSuffix(r.Title, ".") {
		bad("title ends with a full stop")
	}
	if !slices.Contains([]string{"fatal", "retryable", "warning"}, r.Severity) {
		bad("severity %q", r.Severity)
	}
	if !slices.Contains([]string{"proven", "likely", "possible"}, r.Confidence) {
		bad("confidence %q", r.Confidence)
	}
	if !slices.Contains([]string{"aws", "lab", "guess"}, r.Verified) {
		bad("verified %q", r.Verified)
	}
	if r.Verified == "guess" && r.Confidence != "possible" {
		bad("a guess is never more than possible")
	}
	if want, ok := exits[r.area()]; !ok || r.Exit != want {
		bad("exit %d, the class of %s has %d", r.Exit, r.area(), want)
	}
	if !versionForm.MatchString(r.Since) || r.Retired != "" && !versionForm.MatchString(r.Retired) {
		bad("since %q, retired %q: versions have three numbers", r.Since, r.Retired)
	}
	return errs
}

// cycle returns a circle in the suppresses graph, nil when there is none.
func (t table) cycle() []string {
	next := map[string][]string{}
	for _, r := range t.Codes {
		next[r.Code] = r.Suppresses
	}
	const under, done = 1, 2
	state := map[string]int{}
	var path, found []string
	var visit func(string) bool
	visit = func(c string) bool {
		path = append(path, c)
		defer func() { path = path[:len(path)-1] }()
		switch state[c] {
		case under:
			found = slices.Clone(path[slices.Index(path, c):])
			return true
		case done:
			return false
		}
		state[c] = under
		if slices.ContainsFunc(next[c], visit) {
			return true
		}
		state[c] = done
		return false
	}
	for _, r := range t.Codes {
		if visit(r.Code) {
			return found
		}
	}
	return nil
}

// messageID is the UUIDv5 (RFC 9562 section 5.5) of the project's namespace
// and a name, as journald writes ids: 32 hex digits.
func (t table) messageID(name string) string {
	ns, err := hex.DecodeString(strings.ReplaceAll(t.Namespace, "-", ""))
	if err != nil {
		return ""
	}
	h := sha1.New()
	h.Write(ns)
	h.Write([]byte(name))
	id := h.Sum(nil)[:16]
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return hex.EncodeToString(id)
}
