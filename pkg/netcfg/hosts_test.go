package netcfg_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/netcfg"
)

func TestParseHosts(t *testing.T) {
	t.Parallel()
	const hostname = "IP-10-0-1-23.us-west-2.compute.internal"
	entry := func(line int, name string, addresses ...string) netcfg.HostsEntry {
		return netcfg.HostsEntry{Name: name, Line: line, Addresses: addrs(addresses...)}
	}
	tests := []struct {
		name, text string
		want       []netcfg.HostsEntry
	}{
		{"empty", "", nil},
		{
			"Amazon Linux",
			"127.0.0.1   localhost localhost.localdomain localhost4 localhost4.localdomain4\n::1         localhost6 localhost6.localdomain6\n",
			nil,
		},
		{
			"Ubuntu",
			"127.0.1.1 ip-10-0-1-23.us-west-2.compute.internal ip-10-0-1-23\n\n::1 ip6-localhost ip6-loopback\nfe00::0 ip6-localnet\nff00::0 ip6-mcastprefix\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\nff02::3 ip6-allhosts\n",
			nil,
		},
		{"an endpoint", "# by hand\n10.0.9.9\tSTS.us-west-2.amazonaws.com. sts # until Friday\n", []netcfg.HostsEntry{
			entry(2, "sts.us-west-2.amazonaws.com", "10.0.9.9"), entry(2, "sts", "10.0.9.9"),
		}},
		{"several lines of a name", "10.0.9.9 a.example\n2001:db8::9 b.example A.example\n10.0.9.9 a.example\n10.0.9.8 a.example\n", []netcfg.HostsEntry{
			entry(1, "a.example", "10.0.9.9", "2001:db8::9", "10.0.9.8"), entry(2, "b.example", "2001:db8::9"),
		}},
		{"comments", "#10.0.9.9 a.example\n10.0.9.9 #a.example\n10.0.9.9 b.example#c.example\n ; d.example\n", []netcfg.HostsEntry{
			entry(3, "b.example", "10.0.9.9"),
		}},
		{"not addresses", "10.0.9.300 a.example\na.example 10.0.9.9\n10.0.9.9\n10.0.9 a.example\n", nil},
		{"not names", "10.0.9.9 a/b <html> a\x00b é . " + strings.Repeat("a", 254) + " good.example\n", []netcfg.HostsEntry{
			entry(1, "good.example", "10.0.9.9"),
		}},
		{"own name only whole", "10.0.9.9 ip-10-0-1-23.example ip-10-0-1-234 localhost.example\n", []netcfg.HostsEntry{
			entry(1, "ip-10-0-1-23.example", "10.0.9.9"), entry(1, "ip-10-0-1-234", "10.0.9.9"), entry(1, "localhost.example", "10.0.9.9"),
		}},
		{"other line ends", "::ffff:10.0.9.9 a.example\r\n\t10.0.9.8  b.example", []netcfg.HostsEntry{
			entry(1, "a.example", "10.0.9.9"), entry(2, "b.example", "10.0.9.8"),
		}},
		{"1000 lines", strings.Repeat("\n", 999) + "10.0.9.9 a.example\n10.0.9.9 b.example\n", []netcfg.HostsEntry{entry(1000, "a.example", "10.0.9.9")}},
		{
			"64 KiB", "10.0.9.9 a.example\n10.0.9.9 b.example" + strings.Repeat(" ", 64<<10-19-len("10.0.9.9 b.example")-2) + "cut.example\n10.0.9.9 c.example\n",
			[]netcfg.HostsEntry{entry(1, "a.example", "10.0.9.9")},
		},
		{"one line of more than 64 KiB", "10.0.9.9 " + strings.Repeat("a.example ", 7000), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := netcfg.ParseHosts(strings.NewReader(tt.text), hostname)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpNetip); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	broken := errors.New("disk on fire")
	if _, err := netcfg.ParseHosts(iotest.ErrReader(broken), ""); !errors.Is(err, broken) {
		t.Errorf("broken reader: %v", err)
	}
}

func TestReadHosts(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if got, err := netcfg.ReadHosts(root, ""); got != nil || err != nil {
		t.Errorf("missing file: %v, %v", got, err)
	}
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/hosts.real"), []byte("10.0.9.9 a.example\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hosts.real", filepath.Join(root, "etc/hosts")); err != nil {
		t.Fatal(err)
	}
	want := []netcfg.HostsEntry{{Name: "a.example", Addresses: addrs("10.0.9.9"), Line: 1}}
	got, err := netcfg.ReadHosts(root, "")
	if diff := cmp.Diff(want, got, cmpNetip); diff != "" || err != nil {
		t.Errorf("%v -want +got:\n%s", err, diff)
	}
	s, err := netcfg.Read(t.Context(), root)
	if diff := cmp.Diff(want, s.Hosts, cmpNetip); diff != "" || err != nil {
		t.Errorf("Read: %v -want +got:\n%s", err, diff)
	}

	// A directory in its place is told here, and is no reason to know nothing else.
	root = t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc/hosts"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := netcfg.ReadHosts(root, ""); err == nil {
		t.Error("a directory: no error")
	}
	if s, err := netcfg.Read(t.Context(), root); err != nil || len(s.Links) == 0 {
		t.Errorf("Read: %+v, %v", s, err)
	}
}

// What was read, printed and read again is the same but for the line numbers.
func FuzzParseHosts(f *testing.F) {
	f.Add("127.0.0.1 localhost\n10.0.9.9 sts.us-west-2.amazonaws.com. sts # x\n", "node.example")
	f.Add("fe80::1%ens5 a\r\n::ffff:1.2.3.4%x b\n1.2.3.4\ta A a.", "")
	f.Add("10.0.0.1 node node.example\n", "NODE.")
	f.Fuzz(func(t *testing.T, text, hostname string) {
		first, err := netcfg.ParseHosts(strings.NewReader(text), hostname)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for i, e := range first {
			if e.Name == "" || e.Name != strings.ToLower(e.Name) || len(e.Addresses) == 0 || e.Line < 1 {
				t.Fatalf("bad entry %+v", e)
			}
			for _, a := range e.Addresses {
				if !a.IsValid() || strings.ContainsAny(a.Zone(), " #\t\n\r") {
					t.Fatalf("bad address in %+v", e)
				}
				fmt.Fprintf(&b, "%s %s\n", a, e.Name)
			}
			first[i].Line = 0
		}
		if b.Len() > 60<<10 || strings.Count(b.String(), "\n") > 1000 {
			return
		}
		second, err := netcfg.ParseHosts(strings.NewReader(b.String()), hostname)
		if err != nil {
			t.Fatal(err)
		}
		for i := range second {
			second[i].Line = 0
		}
		if diff := cmp.Diff(first, second, cmpNetip); diff != "" {
			t.Errorf("printed as %q: -first +second:\n%s", b.String(), diff)
		}
	})
}
