package ec2meta

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// A parser turns answers into Metadata and collects everything wrong with them.
type parser struct {
	got      answers
	failures []*bootstrap.MetadataError
}

// fail records that the answer for path is not usable. err is nil for a path
// that must exist and does not. The text of an answer is quoted in part only.
func (p *parser) fail(path string, err error) {
	a := p.got[path]
	m := &bootstrap.MetadataError{
		Method: http.MethodGet,
		Path:   "/latest/" + path,
		Status: a.status,
		Server: a.server,
		Phase:  phaseHTTP,
		Took:   a.took,
		Err:    err,

		Address: a.address,
	}
	p.failures = append(p.failures, m)
}

// optional returns the text of path without surrounding space and whether there
// is one. A failed request is recorded and counts as none.
func (p *parser) optional(path string) (string, bool) {
	a := p.got[path]
	if a.err != nil {
		var m *bootstrap.MetadataError
		if !errors.As(a.err, &m) {
			m = a.failure(a.err)
		}
		p.failures = append(p.failures, m)
		return "", false
	}
	if a.absent() {
		return "", false
	}
	return strings.TrimSpace(string(a.body)), true
}

// text returns the text of a path that must have a value, as ok says.
func (p *parser) text(path string) (string, bool) {
	before := len(p.failures)
	s, ok := p.optional(path)
	switch {
	case ok && s == "":
		p.fail(path, errors.New("empty answer"))
	case !ok && len(p.failures) == before:
		p.fail(path, nil)
	}
	return s, ok && s != ""
}

// instance reads what is not about a network interface.
func (p *parser) instance() bootstrap.Metadata {
	var m bootstrap.Metadata
	i := &m.Instance
	if _, ok := p.optional(pathUserData); ok {
		// As it came: it may be compressed.
		m.UserData = append([]byte{}, p.got[pathUserData].body...)
	}
	if s, ok := p.text(pathDocument); ok {
		if err := document(s, i); err != nil {
			p.fail(pathDocument, err)
		}
	}
	if s, ok := p.text(pathMAC); ok {
		if hw, err := net.ParseMAC(s); err != nil || len(hw) != 6 {
			p.fail(pathMAC, fmt.Errorf("no MAC address: %.40q", s))
		} else {
			i.MAC = hw.String()
		}
	}
	if s, ok := p.text(pathHostname); ok {
		// Spaces are legal: a DHCP option with several domains comes like that.
		if !only(s, isPrintable) {
			p.fail(pathHostname, fmt.Errorf("no host name: %.40q", s))
		}
		i.LocalHostname = s
	}
	if s, ok := p.text(pathDomain); ok {
		if !only(s, isNamePart) {
			p.fail(pathDomain, fmt.Errorf("no domain name: %.40q", s))
		}
		i.DNSSuffix = s
	}
	if s, ok := p.optional(pathIPv4); ok && s != "" { // absent in an IPv6-only subnet
		a, err := netip.ParseAddr(s)
		if err != nil || !a.Is4() {
			p.fail(pathIPv4, fmt.Errorf("no IPv4 address: %.40q", s))
		}
		i.LocalIPv4 = a
	}
	if s, ok := p.optional(pathPublic); ok && s != "" {
		if a, err := netip.ParseAddr(s); err != nil || !a.Is4() {
			p.fail(pathPublic, fmt.Errorf("no IPv4 address: %.40q", s))
		}
		i.PublicIPv4 = true
	}
	p.role(i)
	return m
}

// role reads the list of role names, which has one line.
func (p *parser) role(i *bootstrap.Instance) {
	before := len(p.failures)
	s, _ := p.optional(pathRole)
	if len(p.failures) > before {
		return
	}
	name, _, _ := strings.Cut(s, "\n")
	name = strings.TrimSpace(name)
	// IAM: word characters and +=,.@- (API reference, CreateRole).
	if !only(name, func(r rune) bool { return isNamePart(r) || isUpper(r) || strings.ContainsRune("_+=,@", r) }) {
		p.fail(pathRole, fmt.Errorf("no role name: %.40q", name))
		return
	}
	i.Role, i.RoleAbsent = name, name == ""
}

// credentialsGood is what the service says when there are credentials.
const credentialsGood = "Success"

// credentials reads the state of the role's credentials, and forgets the answer, which
// is a secret. A role whose credentials have not reached the service has none.
func (p *parser) credentials(i *bootstrap.Instance) {
	i.Credentials = bootstrap.Credentials{}
	if i.Role == "" {
		return
	}
	path := pathRole + i.Role
	text, ok := p.optional(path)
	if !ok {
		return
	}
	var said struct {
		Code       string    `json:"Code"`
		Expiration time.Time `json:"Expiration"`
	}
	err := json.Unmarshal([]byte(text), &said)
	isCode := func(r rune) bool { return 'a' <= r && r <= 'z' || isUpper(r) || '0' <= r && r <= '9' }
	if err != nil || said.Code == "" || len(said.Code) > 100 || !only(said.Code, isCode) ||
		said.Code == credentialsGood && said.Expiration.IsZero() {
		p.fail(path, ErrMalformedCredentials) // err might quote the answer
		return
	}
	i.Credentials = bootstrap.Credentials{Code: said.Code, Expiration: said.Expiration.UTC()}
}

// network reads the primary interface.
func (p *parser) network(i *bootstrap.Instance) {
	path := func(key string) string { return interfacePath(i.MAC, key) }
	hasIPv4 := i.LocalIPv4.IsValid()

	primary := p.prefixes(path(keyVPC4Primary), false, false)
	i.VPC = append(i.VPC, primary...)
	for _, block := range p.prefixes(path(keyVPC4), false, hasIPv4) {
		if !slices.Contains(i.VPC, block) {
			i.VPC = append(i.VPC, block)
		}
	}
	i.VPC = append(i.VPC, p.prefixes(path(keyVPC6), true, false)...)
	i.Subnet = append(p.prefixes(path(keySubnet4), false, hasIPv4), p.prefixes(path(keySubnet6), true, false)...)

	list, _ := p.optional(path(keyIPv6))
	for s := range strings.FieldsSeq(list) {
		a, err := netip.ParseAddr(s)
		if err != nil || !a.Is6() || a.Zone() != "" {
			p.fail(path(keyIPv6), fmt.Errorf("no IPv6 address: %.60q", s))
			return
		}
		i.IPv6 = append(i.IPv6, a)
	}
}

// prefixes reads a list of CIDR blocks of one family.
func (p *parser) prefixes(path string, v6, required bool) []netip.Prefix {
	var list string
	if required {
		list, _ = p.text(path)
	} else {
		list, _ = p.optional(path)
	}
	var out []netip.Prefix
	for s := range strings.FieldsSeq(list) {
		block, err := netip.ParsePrefix(s)
		if err != nil || block.Addr().Is6() != v6 {
			p.fail(path, fmt.Errorf("no CIDR block of this family: %.60q", s))
			return nil
		}
		out = append(out, block.Masked())
	}
	return out
}

// An identityDocument is the part of the instance identity document that
// matters here (EC2 User Guide, "Instance identity documents").
type identityDocument struct {
	AccountID        string `json:"accountId"`
	Architecture     string `json:"architecture"`
	AvailabilityZone string `json:"availabilityZone"`
	InstanceID       string `json:"instanceId"`
	InstanceType     string `json:"instanceType"`
	Region           string `json:"region"`
}

// document reads the instance identity document. Host names and file content
// are made from its values, so they are checked for what they may consist of.
func document(text string, i *bootstrap.Instance) error {
	var d identityDocument
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return fmt.Errorf("no identity document: %w", err)
	}
	for _, f := range []struct {
		name, value string
		required    bool
	}{
		{"instanceId", d.InstanceID, true},
		{"region", d.Region, true},
		{"availabilityZone", d.AvailabilityZone, true},
		{"instanceType", d.InstanceType, true},
		{"accountId", d.AccountID, false},
		{"architecture", strings.ReplaceAll(d.Architecture, "_", ""), false},
	} {
		if f.value == "" && f.required {
			return fmt.Errorf("identity document without %s", f.name)
		}
		if !only(f.value, isNamePart) {
			return fmt.Errorf("identity document with a bad %s: %.40q", f.name, f.value)
		}
	}
	i.ID, i.Type, i.Architecture = d.InstanceID, d.InstanceType, d.Architecture
	i.AccountID, i.Region, i.Zone = d.AccountID, d.Region, d.AvailabilityZone
	return nil
}

// only reports whether every character of s is allowed.
func only(s string, allowed func(rune) bool) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !allowed(r) })
}

func isNamePart(r rune) bool {
	return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '.'
}

func isUpper(r rune) bool { return 'A' <= r && r <= 'Z' }

// isPrintable leaves out what only markup has.
func isPrintable(r rune) bool { return ' ' <= r && r <= '~' && r != '<' && r != '>' }
