package probe_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

// systemCase is what TestSystem's child works with.
type systemCase struct {
	Files  map[string]string // to be seen under these paths
	Host   string
	Port   uint16
	Proxy  string
	Round  time.Duration
	Report string // file for the Result
}

const systemEnv = "PROBE_TEST_SYSTEM"

// The machine's own resolver reads its files, and once per process: each case is a
// process of its own, in a mount namespace of its own.
func TestSystem(t *testing.T) {
	t.Parallel()
	if arg := os.Getenv(systemEnv); arg != "" {
		systemChild(t, arg)
		return
	}
	f, err := kernelFaults()
	if err != nil {
		t.Fatal(err)
	}
	addAddress(t, "2001:db8:77::1/128")
	if err := dropInput6(netip.MustParseAddr("2001:db8:77::1")); err != nil {
		t.Fatal(err)
	}
	port := probetest.Serve(t, probetest.Listen(t, netip.MustParseAddrPort("127.0.0.1:0")), waitForEnd).Port()
	var mu sync.Mutex
	asked := map[string][]string{}
	serve := func(at string, zone probetest.Zone) {
		probetest.ServeDNS(t, netip.MustParseAddrPort(at+":53"), func(query []byte, tcp bool) [][]byte {
			var q dns.Msg
			if q.Unpack(query) == nil && q.Question[0].Qtype == dns.TypeA {
				mu.Lock()
				asked[at] = append(asked[at], strings.TrimSuffix(q.Question[0].Name, "."))
				mu.Unlock()
			}
			if len(q.Question) == 1 && q.Question[0].Name == "lone.test." && q.Question[0].Qtype == dns.TypeAAAA {
				return nil // as what drops the questions it does not know
			}
			return zone.Answer(query, tcp)
		})
	}
	zone := probetest.Zone{
		"a.test": {"A 127.0.0.1"}, "refuses.test": {"REFUSED"}, "fails.test": {"SERVFAIL"}, "empty.test": {"TXT x"},
		"not.test": {"NOTIMP"}, "silent.test": {"silent"}, "second.test": {"A 127.0.0.2", "A 127.0.0.1"}, "closed.test": {"A 127.0.0.2", "A 127.0.0.3"},
		"dropped.test": {"A " + f.dropped}, "neither.test": {"AAAA 2001:db8:77::1", "A 127.0.0.3"}, "both.test": {"AAAA 2001:db8:77::1", "A 127.0.0.1"}, "lone.test": {"A 127.0.0.1"},
		"x.svc.lab.test": {"A 127.0.0.1"}, "x.svc": {"A 127.0.0.9"},
	}
	for i := range 23 {
		serve(fmt.Sprintf("127.0.53.%d", i+1), zone)
	}
	nothingThere := "nameserver 127.0.54.1\n"
	tests := []struct {
		name      string
		host      string
		resolv    string // %s is a server of the case
		hosts     string
		proxy     string
		round     time.Duration
		cause     probe.Cause
		addresses []string
		path      string // address and cause
		pending   bool
		asked     []string
		check     func(*testing.T, probe.Result)
	}{
		{name: "dns", host: "a.test", addresses: []string{"127.0.0.1"}, path: "127.0.0.1 ", asked: []string{"a.test"}},
		{name: "hosts file", host: "a.test", hosts: "127.0.0.8 other a.test\n", addresses: []string{"127.0.0.8"}, path: "127.0.0.8 tcp-refused"},
		{name: "no search", host: "x.svc", resolv: "nameserver %s\nsearch lab.test\n", addresses: []string{"127.0.0.9"}, path: "127.0.0.9 tcp-refused", asked: []string{"x.svc"}},
		{name: "search", host: "x.svc", resolv: "nameserver %s\nsearch lab.test\noptions ndots:5\n", addresses: []string{"127.0.0.1"}, path: "127.0.0.1 ", asked: []string{"x.svc.lab.test"}},
		{name: "literal", host: "127.0.0.1", addresses: []string{"127.0.0.1"}, path: "127.0.0.1 "},
		{name: "NXDOMAIN", host: "gone.test", cause: probe.DNSNXDomain, asked: []string{"gone.test"}},
		{name: "NODATA", host: "empty.test", cause: probe.DNSNoData, asked: []string{"empty.test"}},
		{name: "NODATA, and NXDOMAIN in the search domain", host: "empty.test", resolv: "nameserver %s\nsearch lab.test\n", cause: probe.DNSNoData, asked: []string{"empty.test", "empty.test.lab.test"}},
		{name: "REFUSED", host: "refuses.test", resolv: "nameserver %s\noptions attempts:1\n", cause: probe.DNSRefused, asked: []string{"refuses.test"}},
		{name: "SERVFAIL", host: "fails.test", resolv: "nameserver %s\noptions attempts:1\n", cause: probe.DNSServFail, asked: []string{"fails.test"}},
		{name: "NOTIMP", host: "not.test", resolv: "nameserver %s\noptions attempts:1\n", cause: probe.DNSOtherRCode, asked: []string{"not.test"}},
		{name: "closed port", host: "a.test", resolv: nothingThere, cause: probe.DNSPortClosed},
		{name: "no way", host: "a.test", resolv: "nameserver " + f.prohibit + "\n", cause: probe.DNSUnreachable},
		{
			name: "silent", host: "silent.test", resolv: "nameserver %s\noptions timeout:1 attempts:1\n", cause: probe.DNSTimeout, asked: []string{"silent.test"},
		},
		{name: "silent longer than the round", host: "silent.test", round: time.Second, cause: probe.DNSTimeout, pending: true, asked: []string{"silent.test"}},
		{
			name: "no AAAA", host: "lone.test", round: time.Second, cause: probe.DNSTimeout, pending: true, asked: []string{"lone.test"},
			check: func(t *testing.T, res probe.Result) {
				t.Helper()
				if got := res.System.Unanswered; !slices.Equal(got, []string{"AAAA"}) {
					t.Errorf("unanswered %v", got)
				}
			},
		},
		{name: "no AAAA, and time for all tries", host: "lone.test", resolv: "nameserver %s\noptions timeout:1 attempts:1\n", addresses: []string{"127.0.0.1"}, path: "127.0.0.1 ", asked: []string{"lone.test"}},
		{name: "second address", host: "second.test", addresses: []string{"127.0.0.2", "127.0.0.1"}, path: "127.0.0.1 ", asked: []string{"second.test"}},
		{name: "no address answers", host: "closed.test", addresses: []string{"127.0.0.2", "127.0.0.3"}, path: "127.0.0.3 tcp-refused", asked: []string{"closed.test"}},
		{
			name: "dropped", host: "dropped.test", round: time.Second, addresses: []string{f.dropped}, path: f.dropped + " tcp-timeout",
			pending: true, asked: []string{"dropped.test"},
		},
		{
			name: "the other family", host: "both.test", addresses: []string{"2001:db8:77::1", "127.0.0.1"}, path: "127.0.0.1 ", asked: []string{"both.test"},
			check: func(t *testing.T, res probe.Result) {
				t.Helper()
				if s := res.System.Path.Steps[0]; time.Duration(s.At) < 290*time.Millisecond || time.Duration(s.At) > 1500*time.Millisecond {
					t.Errorf("dialled at %v", s.At)
				}
			},
		},
		{
			name: "neither family", host: "neither.test", round: time.Second, addresses: []string{"2001:db8:77::1", "127.0.0.3"}, path: "2001:db8:77::1 tcp-timeout",
			pending: true, asked: []string{"neither.test"},
		},
		{name: "proxy", host: "a.test", proxy: "http://127.0.0.2:1", addresses: []string{"127.0.0.1"}, asked: []string{"a.test"}},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			at := fmt.Sprintf("127.0.53.%d", i+1)
			if tt.resolv == "" {
				tt.resolv = "nameserver %s\n"
			}
			c := systemCase{
				Files: map[string]string{
					"/etc/resolv.conf":   strings.ReplaceAll(tt.resolv, "%s", at),
					"/etc/hosts":         tt.hosts,
					"/etc/nsswitch.conf": "hosts: files dns\n",
				},
				Host: tt.host, Port: port, Proxy: tt.proxy, Round: tt.round,
			}
			res := runSystem(t, c)
			s := res.System
			if s == nil || s.Cause != tt.cause || (s.Err == "") != (tt.cause == "") || res.Pending != tt.pending || s.Took <= 0 {
				t.Fatalf("pending %v: %+v, want cause %q", res.Pending, s, tt.cause)
			}
			var addresses []string
			for _, a := range s.Addresses {
				addresses = append(addresses, a.String())
			}
			if !slices.Equal(addresses, tt.addresses) {
				t.Errorf("addresses %v, want %v", addresses, tt.addresses)
			}
			path := ""
			if s.Path != nil {
				path = s.Path.Address.Addr().String() + " " + string(s.Path.Cause())
				wantEqual(t, "port", s.Path.Address.Port(), port)
				wantEqual(t, "steps", len(s.Path.Steps), 1)
			}
			wantEqual(t, "path", path, tt.path)
			mu.Lock()
			wantEqual(t, "asked", slices.Compact(asked[at]), tt.asked)
			mu.Unlock()
			if tt.check != nil {
				tt.check(t, res)
			}
		})
	}
}

// runSystem probes in a child that sees the case's files.
func runSystem(t *testing.T, c systemCase) probe.Result {
	t.Helper()
	c.Report = filepath.Join(t.TempDir(), "report")
	arg, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestSystem$")
	cmd.Env = append(os.Environ(), systemEnv+"="+string(arg))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(c.Report)
	if err != nil {
		t.Fatal(err)
	}
	var res probe.Result
	if err := json.Unmarshal(b, &res); err != nil {
		t.Fatal(err)
	}
	return res
}

func systemChild(t *testing.T, arg string) {
	t.Helper()
	var c systemCase
	if err := json.Unmarshal([]byte(arg), &c); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for path, content := range c.Files {
		file := filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		err := unix.Mount(file, path, "", unix.MS_BIND, "")
		if errors.Is(err, unix.ENOENT) && strings.HasSuffix(path, "nsswitch.conf") {
			continue // Go then does what the case's says
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	}
	p := &probe.Prober{Timing: probe.Timing{Round: c.Round}}
	target := probe.Target{Host: c.Host, Port: c.Port, Proxy: probe.Proxy(c.Proxy), System: true}
	if c.Host == "silent.test" {
		target.Hosts = []netip.Addr{netip.MustParseAddr("127.0.0.1")} // something to show meanwhile
	}
	before := runtime.NumGoroutine()
	begin := time.Now()
	report := p.Run(context.Background(), []probe.Target{target}, func(r probe.Report) {
		if res := r.Results[0]; res.System == nil && !res.Pending {
			t.Errorf("settled without its own lookup: %+v", res)
		}
	})
	if took := time.Since(begin); c.Round > 0 && took > c.Round+400*time.Millisecond {
		t.Errorf("took %v", took)
	}
	// The resolver of net would wait for its answer for five seconds.
	for range 50 {
		if runtime.NumGoroutine() <= before {
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	if left := runtime.NumGoroutine(); left > before {
		t.Errorf("%d goroutines before the round, %d after it", before, left)
	}
	b, err := json.Marshal(report.Results[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.Report, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// dropInput6 drops every packet to an IPv6 address.
func dropInput6(addr netip.Addr) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Name: "faults6", Family: nftables.TableFamilyIPv6})
	policy := nftables.ChainPolicyAccept
	chain := conn.AddChain(&nftables.Chain{
		Name: "input", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Policy: &policy,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: 16},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: net.IP(addr.AsSlice())},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	return conn.Flush()
}

// The system's lookup is shared by targets that ask the same, and only those that want it show it.
func TestSystemOfSome(t *testing.T) {
	t.Parallel()
	server := probetest.Serve(t, probetest.Listen(t, loopback), waitForEnd)
	target := probe.Target{Name: "without", Host: "127.0.0.1", Port: server.Port()}
	with := target
	with.Name, with.System = "with", true
	report := new(probe.Prober).Run(t.Context(), []probe.Target{target, with}, nil)
	if report.Results[0].System != nil || report.Results[1].System == nil || !report.Results[1].System.Path.OK() {
		t.Errorf("results: %+v", report.Results)
	}
}
