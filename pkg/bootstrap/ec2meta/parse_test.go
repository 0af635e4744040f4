package ec2meta_test

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/ec2meta"
)

const (
	keyData = "user-data"
	keyDoc  = "dynamic/instance-identity/document"
	keyMAC  = "meta-data/mac"
	keyHost = "meta-data/local-hostname"
	keyIPv4 = "meta-data/local-ipv4"
	keyDom  = "meta-data/services/domain"
	keyRole = "meta-data/iam/security-credentials/"
	// of the fixture us-west-2
	eth = "meta-data/network/interfaces/macs/02:29:96:8f:6a:2d/"
)

func TestParse(t *testing.T) {
	t.Parallel()
	base := fixture(t, "us-west-2")
	plain, err := ec2meta.Parse(base.json())
	if err != nil {
		t.Fatal(err)
	}
	blocks := func(texts ...string) []netip.Prefix {
		var out []netip.Prefix
		for _, s := range texts {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	tests := []struct {
		name   string
		values values
		want   func(*bootstrap.Metadata) // changes to the plain one
	}{
		{"as is", base, func(*bootstrap.Metadata) {}},
		{"no user data", base.without(keyData), func(m *bootstrap.Metadata) { m.UserData = nil }},
		{"empty user data", base.with(keyData, ""), func(m *bootstrap.Metadata) { m.UserData = []byte{} }},
		{"user data is not trimmed", base.with(keyData, "\n x \n"), func(m *bootstrap.Metadata) { m.UserData = []byte("\n x \n") }},
		{"no role", base.without(keyRole), func(m *bootstrap.Metadata) { m.Instance.Role, m.Instance.RoleAbsent = "", true }},
		{"empty list of roles", base.with(keyRole, "\n"), func(m *bootstrap.Metadata) { m.Instance.Role, m.Instance.RoleAbsent = "", true }},
		{"two roles", base.with(keyRole, "first\nsecond\n"), func(m *bootstrap.Metadata) { m.Instance.Role = "first" }},
		{"newlines at the end", base.with(keyDom, "amazonaws.com\n").with(keyIPv4, "10.0.1.23\n").with(keyMAC, "02:29:96:8F:6A:2D\n"), func(*bootstrap.Metadata) {}},
		{"several domains", base.with(keyHost, "ip-10-0-1-23.a.example b.example"), func(m *bootstrap.Metadata) {
			m.Instance.LocalHostname = "ip-10-0-1-23.a.example b.example"
		}},
		{"no primary block named", base.without(eth + "vpc-ipv4-cidr-block"), func(m *bootstrap.Metadata) {
			m.Instance.VPC = blocks("100.64.0.0/16", "10.0.0.0/16")
		}},
		{"host bits", base.with(eth+"subnet-ipv4-cidr-block", "10.0.1.7/24"), func(*bootstrap.Metadata) {}},
		{"IPv6 in the VPC only", base.with(eth+"vpc-ipv6-cidr-blocks", "2600:1f13::/56\n2600:1f14::/56"), func(m *bootstrap.Metadata) {
			m.Instance.VPC = append(m.Instance.VPC, blocks("2600:1f13::/56", "2600:1f14::/56")...)
		}},
		{"IPv6 address before its blocks", base.with(eth+"ipv6s", "2600:1f13::1"), func(m *bootstrap.Metadata) {
			m.Instance.IPv6 = []netip.Addr{netip.MustParseAddr("2600:1f13::1")}
		}},
		{"other paths", base.with("meta-data/ami-id", "ami-1").with("no/such/path", ""), func(*bootstrap.Metadata) {}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			want := plain
			want.Instance.VPC = append([]netip.Prefix(nil), plain.Instance.VPC...)
			tt.want(&want)
			if want.Instance.Role != plain.Instance.Role {
				want.Instance.Credentials = bootstrap.Credentials{} // the file has those of one role
			}
			got, err := ec2meta.Parse(tt.values.json())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpNetip); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestParseFailures(t *testing.T) {
	t.Parallel()
	base := fixture(t, "us-west-2")
	doc := func(from, to string) values { return base.with(keyDoc, strings.Replace(base[keyDoc], from, to, 1)) }
	long := strings.Repeat("x", 10_000)
	tests := []struct {
		name   string
		values values
		path   string
		status int
	}{
		{"no document", base.without(keyDoc), keyDoc, 404},
		{"no MAC", base.without(keyMAC), keyMAC, 404},
		{"no host name", base.without(keyHost), keyHost, 404},
		{"no domain", base.without(keyDom), keyDom, 404},
		{"no VPC blocks", base.without(eth + "vpc-ipv4-cidr-blocks"), eth + "vpc-ipv4-cidr-blocks", 404},
		{"no subnet block", base.without(eth + "subnet-ipv4-cidr-block"), eth + "subnet-ipv4-cidr-block", 404},
		{"empty document", base.with(keyDoc, ""), keyDoc, 200},
		{"null document", base.with(keyDoc, "null"), keyDoc, 200},
		{"document cut short", base.with(keyDoc, base[keyDoc][:100]), keyDoc, 200},
		{"document with more behind it", base.with(keyDoc, base[keyDoc]+"{}"), keyDoc, 200},
		{"document of another shape", base.with(keyDoc, "[]"), keyDoc, 200},
		{"account as a number", doc(`"111122223333"`, `111122223333`), keyDoc, 200},
		{"no region", doc(`"us-west-2"`, `""`), keyDoc, 200},
		{"no zone", doc(`"us-west-2a"`, `null`), keyDoc, 200},
		{"no instance id", doc(`"instanceId"`, `"x"`), keyDoc, 200},
		{"no type", doc(`"m6i.large"`, `""`), keyDoc, 200},
		{"region that breaks a host name", doc(`"us-west-2"`, `"us-west-2.evil.example/"`), keyDoc, 200},
		{"instance id that breaks a path", doc(`"i-0123456789abcdef0"`, `"../i-0"`), keyDoc, 200},
		{"MAC that breaks a path", base.with(keyMAC, "../.."), keyMAC, 200},
		{"EUI-64", base.with(keyMAC, "02:00:5e:10:00:00:00:01"), keyMAC, 200},
		{"page for a host name", base.with(keyHost, "<html>\n"+long), keyHost, 200},
		{"page for a domain", base.with(keyDom, "<html>"), keyDom, 200},
		{"empty domain", base.with(keyDom, " "), keyDom, 200},
		{"page for a role", base.with(keyRole, "<html>"), keyRole, 200},
		{"role that breaks a path", base.with(keyRole, "a/../b"), keyRole, 200},
		{"IPv6 for IPv4", base.with(keyIPv4, "::1"), keyIPv4, 200},
		{"no address", base.with(keyIPv4, long), keyIPv4, 200},
		{"no block", base.with(eth+"vpc-ipv4-cidr-blocks", "10.0.0.0/16\n"+long), eth + "vpc-ipv4-cidr-blocks", 200},
		{"empty blocks", base.with(eth+"vpc-ipv4-cidr-blocks", "\n"), eth + "vpc-ipv4-cidr-blocks", 200},
		{"IPv6 block for IPv4", base.with(eth+"vpc-ipv4-cidr-block", "::/0"), eth + "vpc-ipv4-cidr-block", 200},
		{"IPv4 block for IPv6", base.with(eth+"subnet-ipv6-cidr-blocks", "10.0.0.0/8"), eth + "subnet-ipv6-cidr-blocks", 200},
		{"IPv4 in ipv6s", base.with(eth+"ipv6s", "10.0.0.1"), eth + "ipv6s", 200},
		{"zone in ipv6s", base.with(eth+"ipv6s", "fe80::1%eth0"), eth + "ipv6s", 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := ec2meta.Parse(tt.values.json())
			var m *bootstrap.MetadataError
			if !errors.As(err, &m) {
				t.Fatalf("error %v, want a MetadataError", err)
			}
			if m.Path != "/latest/"+tt.path || m.Status != tt.status || m.Method != "GET" {
				t.Errorf("%s %s status %d, want GET %s status %d", m.Method, m.Path, m.Status, tt.path, tt.status)
			}
			if (m.Err == nil) != (tt.status == 404) {
				t.Errorf("underlying error %v", m.Err)
			}
			if m.Err != nil && len(m.Err.Error()) > 300 {
				t.Errorf("an error of %d bytes", len(m.Err.Error()))
			}
		})
	}
}

// All that is wrong is reported at once.
func TestParseFailuresTogether(t *testing.T) {
	t.Parallel()
	_, err := ec2meta.Parse(fixture(t, "us-west-2").without(keyDoc, keyDom).with(keyIPv4, "x").json())
	var list interface{ Unwrap() []error }
	if !errors.As(err, &list) || len(list.Unwrap()) != 3 {
		t.Errorf("error %v, want three", err)
	}
}

func TestReadFile(t *testing.T) {
	t.Parallel()
	if _, err := ec2meta.ReadFile(filepath.Join(t.TempDir(), "none.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	for _, text := range []string{"", "[]", `{"user-data": 1}`, `{"user-data": ""} x`, "meta-data/mac: x"} {
		file := filepath.Join(t.TempDir(), "metadata.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ec2meta.ReadFile(file)
		if err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%q: error %v, want one that names the file", text, err)
		}
	}
	file := filepath.Join(t.TempDir(), "metadata.json")
	if err := os.WriteFile(file, fixture(t, "us-west-2").without(keyDom, keyMAC).with(keyDoc, "{}").json(), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := ec2meta.ReadFile(file)
	want := "metadata file " + file + ": dynamic/instance-identity/document: identity document without instanceId; missing: meta-data/mac, meta-data/services/domain"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if _, ok := errors.AsType[*bootstrap.MetadataError](err); !ok {
		t.Errorf("%v is no MetadataError", err)
	}
}

// The file that the operations page shows is complete.
func TestDocumentedFile(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "\n```json\n")
	example, _, _ = strings.Cut(example, "\n```\n")
	m, err := ec2meta.Parse([]byte(example))
	if err != nil || m.Instance.Type == "" || m.Instance.AccountID == "" {
		t.Errorf("%v, instance %+v of:\n%s", err, m.Instance, example)
	}
}

// Whatever the service says, a reading is an error or has the form that the
// rest of the program relies on, and the same texts give the same reading.
func FuzzParse(f *testing.F) {
	base := fixture(f, "us-east-1")
	eth := "meta-data/network/interfaces/macs/" + base[keyMAC] + "/"
	f.Add(base[keyDoc], base[keyMAC], base[keyRole], base[eth+"vpc-ipv4-cidr-blocks"], base[eth+"ipv6s"])
	f.Add(`{"instanceId":"i-1"}`, "0E:49:61:0F:C3:11", "a\nb", "10.0.0.0/8 10.0.0.0/8\r\n", "::ffff:1.2.3.4")
	f.Add("null", "0000.0000.0000", "", "0.0.0.0/0\x00", "")
	f.Fuzz(func(t *testing.T, doc, mac, role, blocks, ipv6 string) {
		v := base.with(keyDoc, doc).with(keyMAC, mac).with(keyRole, role)
		eth := "meta-data/network/interfaces/macs/" + strings.ToLower(strings.TrimSpace(mac)) + "/"
		v = v.with(eth+"vpc-ipv4-cidr-blocks", blocks).with(eth+"ipv6s", ipv6).with(eth+"subnet-ipv4-cidr-block", "10.0.0.0/24")
		m, err := ec2meta.Parse(v.json())
		if err != nil {
			if _, ok := errors.AsType[*bootstrap.MetadataError](err); !ok {
				t.Fatalf("error %v, want a MetadataError", err)
			}
			return
		}
		i := m.Instance
		for _, s := range []string{i.ID, i.Region, i.Zone, i.Type, i.MAC} {
			if s == "" || strings.ContainsAny(s, "/ \n<>\"") {
				t.Errorf("bad value %q in %+v", s, i)
			}
		}
		if strings.ContainsAny(i.Role, "/ \n<>\"") || i.RoleAbsent != (i.Role == "") {
			t.Errorf("bad role %q", i.Role)
		}
		for _, b := range i.VPC {
			if !b.IsValid() || b != b.Masked() {
				t.Errorf("bad block %v", b)
			}
		}
		for _, a := range i.IPv6 {
			if !a.Is6() {
				t.Errorf("bad IPv6 address %v", a)
			}
		}
		again, err := ec2meta.Parse(v.json())
		if diff := cmp.Diff(m, again, cmpNetip); err != nil || diff != "" {
			t.Errorf("again: %v\n%s", err, diff)
		}
	})
}
