package main

import (
	"bytes"
	"encoding/xml"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// half is a check that is half done.
func half() (bootstrap.Outcome, probe.Report) {
	ms := func(n float64) probe.Duration { return probe.Duration(n * float64(time.Millisecond)) }
	address := func(s string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(s), 443) }
	lookup := []probe.Lookup{{Type: "A", Took: ms(0.8)}}
	passed := func(a string) probe.Path {
		return probe.Path{Address: address(a), Steps: []probe.Step{{Phase: probe.PhaseConnect, Took: ms(0.4)}, {Phase: probe.PhaseTLS, Took: ms(5.2)}}}
	}
	o := bootstrap.Outcome{Round: 2, Stage: bootstrap.StageProbe}
	o.Plan.Cluster.Name, o.Plan.Instance.Region, o.Plan.Instance.ID, o.Plan.Instance.Role = "demo", "us-west-2", "i-0abc", "node-role"
	for _, t := range []struct {
		name string
		role bootstrap.Role
	}{{"apiserver", bootstrap.RoleGate}, {"ec2", bootstrap.RoleReady}, {"ecr.api", bootstrap.RoleReady}} {
		o.Plan.Targets = append(o.Plan.Targets, bootstrap.Target{Target: probe.Target{Name: t.name}, Role: t.role})
	}
	o.Network.Links = []netcfg.Link{{Name: "eth0", MTU: 9001, Running: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.12.5/24")}}}
	o.Network.DNS.Servers = []netip.AddrPort{netip.MustParseAddrPort("10.0.0.2:53")}
	r := probe.Report{Results: []probe.Result{
		{Target: "apiserver", Lookups: lookup, Paths: []probe.Path{passed("10.0.12.77"), passed("10.0.13.21")}},
		{Target: "ec2", Lookups: lookup, Paths: []probe.Path{
			passed("10.0.12.30"), {Address: address("10.0.13.30"), Steps: []probe.Step{{Phase: probe.PhaseConnect, Took: ms(3200), Cause: probe.TCPTimeout}}},
		}},
		{Target: "ecr.api", Lookups: lookup, Pending: true, Paths: []probe.Path{
			{Address: address("10.0.12.34"), Pending: true},
			{Address: address("10.0.13.40"), Pending: true, Steps: []probe.Step{{Phase: probe.PhaseConnect, Took: ms(0.5)}}},
		}},
	}}
	return o, r
}

func TestLiveLines(t *testing.T) {
	t.Parallel()
	o, r := half()
	var texts, failed []string
	for _, l := range liveLines(o, r, 4100*time.Millisecond, 100, 40) {
		texts = append(texts, l.text)
		if l.color == red {
			failed = append(failed, strings.Fields(l.text)[0])
		}
	}
	got := strings.Join(texts, "\n")
	want := `nodeprep  demo  us-west-2  i-0abc                                  4.1s / try 2

  link eth0 10.0.12.5 mtu 9001   role node-role   dns 10.0.0.2

  target     role   dns       addresses   tcp           tls  http
  apiserver  gate   ok 0.8ms  2/2 ok
  ec2        ready  ok 0.8ms  1/2 ok
                              10.0.13.30  timeout 3.2s  -    -
  ecr.api    ready  ok 0.8ms  10.0.12.34  ...
                              10.0.13.40  0.5ms         ...

  2 of 3 targets measured, waiting for ecr.api   [1 ok] [1 failed] [1 waiting]`
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if len(failed) != 1 || failed[0] != "10.0.13.30" {
		t.Errorf("red: %v, want the address that failed", failed)
	}
	for _, size := range [][2]int{{40, 6}, {20, 5}, {100, 9}, {300, 12}} {
		lines := liveLines(o, r, time.Second, size[0], size[1])
		if len(lines) >= size[1] {
			t.Errorf("%d lines on a screen of %d", len(lines), size[1])
		}
		for _, l := range lines {
			if n := utf8.RuneCountInString(l.text); n >= size[0] {
				t.Errorf("%d columns on a screen of %d: %q", n, size[0], l.text)
			}
		}
		if last := lines[len(lines)-1].text; !strings.HasPrefix(last, "  2 of 3 tar") {
			t.Errorf("the last line of %v is %q", size, last)
		}
	}
	first := liveLines(bootstrap.Outcome{Stage: bootstrap.StageInput}, probe.Report{}, 0, 79, 24)
	if foot := first[len(first)-1].text; foot != "  reading metadata and user data" {
		t.Errorf("before anything is known: %q", foot)
	}
}

// TestPlainScreen prints a line when it takes long, and none for what is over at once.
func TestPlainScreen(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := newScreen(stdio{err: &out}, checkOptions{format: "text"})
	o, r := half()
	s.publish(o)
	s.progress()(r)
	s.draw()
	s.draw()
	s.close()
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "waiting for ecr.api") || strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
	out.Reset()
	s = newScreen(stdio{err: &out}, checkOptions{format: "json"})
	s.close()
	if s.progress() != nil || out.Len() != 0 {
		t.Errorf("a program reads this: %q", out.String())
	}
}

func TestLiveScreen(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &screen{out: &out, live: true, check: checkOptions{format: "text"}, size: func() (int, int) { return 80, 24 }, stop: make(chan struct{})}
	o, r := half()
	s.publish(o)
	s.progress()(r)
	s.draw()
	first := strings.Count(out.String(), "\n")
	out.Reset()
	s.draw()
	if want := "\x1b[" + itoa(first) + "A\r\x1b[J"; !strings.HasPrefix(out.String(), want) {
		t.Errorf("the second picture does not replace the first: %q", out.String()[:20])
	}
	out.Reset()
	s.close()
	if !strings.HasSuffix(out.String(), "\x1b[J") || strings.Contains(out.String(), "\n") {
		t.Errorf("close leaves %q", out.String())
	}
}

func itoa(n int) string { return strings.TrimSpace(strings.Split(count(n, "x"), " ")[0]) }

func TestWatchPrintsChanges(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &screen{out: &out, check: checkOptions{format: "text", watch: true, areas: []string{"NET"}}, stop: make(chan struct{})}
	o, _ := half()
	o.NextRound = time.Now()
	o.Verdict.Pass = true
	s.publish(o)
	if !strings.Contains(out.String(), "ok ") {
		t.Errorf("the first verdict is not shown\n%s", out.String())
	}
	out.Reset()
	o.Verdict = bootstrap.Verdict{Findings: []bootstrap.Finding{
		{Code: bootstrap.NET105, Blocks: true, Title: "drops"}, {Code: bootstrap.DNS114, Title: "another area's"},
	}}
	s.publish(o)
	s.publish(o)
	if n := strings.Count(out.String(), "NP-NET-105"); n != 1 || strings.Contains(out.String(), "NP-DNS-114") {
		t.Errorf("printed %d times\n%s", n, out.String())
	}
	o.Verdict = bootstrap.Verdict{Pass: true}
	s.publish(o)
	if !strings.Contains(out.String(), "\nok ") {
		t.Errorf("the repair is not shown\n%s", out.String())
	}
}

func TestJUnit(t *testing.T) {
	t.Parallel()
	o, _ := half()
	o.Verdict.Findings = []bootstrap.Finding{
		{Code: bootstrap.NET105, Blocks: true, Title: "endpoint <drops>", Targets: []string{"ecr.api"}, Remedy: "Allow it."},
		{Code: bootstrap.NET107, Title: "one is bad", Targets: []string{"ec2"}, Remedy: "Look."},
		{Code: bootstrap.LNK110, Title: "dropped", Remedy: "Ask less."},
	}
	o.Verdict.Pending = []string{"apiserver"}
	for _, tt := range []struct {
		strict                  bool
		tests, failures, errors int
	}{{false, 4, 1, 1}, {true, 4, 3, 1}} {
		var out bytes.Buffer
		if err := writeJUnit(&out, o, tt.strict, o.Verdict.Findings); err != nil {
			t.Fatal(err)
		}
		var got junitSuites
		if err := xml.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		s := got.Suites[0]
		if s.Tests != tt.tests || s.Failures != tt.failures || s.Errors != tt.errors || len(s.Cases) != s.Tests {
			t.Errorf("strict %v: %d tests, %d failures, %d errors\n%s", tt.strict, s.Tests, s.Failures, s.Errors, out.String())
		}
		if f := s.Cases[2].Failure; f == nil || f.Type != "NP-NET-105" || f.Message != "endpoint <drops>" || !strings.Contains(f.Text, "Allow it.") {
			t.Errorf("ecr.api: %+v", f)
		}
		if !tt.strict && !strings.Contains(s.Cases[1].Out, "NP-NET-107") {
			t.Errorf("a warning is lost: %+v", s.Cases[1])
		}
	}
}

// A target that fails by what --only leaves out is no success.
func TestJUnitSkips(t *testing.T) {
	t.Parallel()
	o, _ := half()
	o.Verdict.Findings = []bootstrap.Finding{{Code: bootstrap.NET105, Blocks: true, Targets: []string{"ecr.api"}}}
	var out bytes.Buffer
	if err := writeJUnit(&out, checkOptions{areas: []string{"DNS"}}.narrow(o), false, o.Verdict.Findings); err != nil {
		t.Fatal(err)
	}
	var got junitSuites
	if err := xml.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if s := got.Suites[0]; s.Skipped != 1 || s.Failures != 0 || s.Cases[2].Skipped == nil {
		t.Errorf("%s", out.String())
	}
}

func TestNarrow(t *testing.T) {
	t.Parallel()
	o := bootstrap.Outcome{Exit: 30}
	o.Verdict.Findings = []bootstrap.Finding{{Code: bootstrap.NET105, Blocks: true}, {Code: bootstrap.TLS101, Blocks: true}, {Code: bootstrap.DNS114}}
	for _, tt := range []struct {
		areas []string
		exit  int
		left  int
	}{{nil, 30, 3}, {[]string{"net"}, 16, 1}, {[]string{"NP-TLS", "dns"}, 17, 2}, {[]string{"DNS"}, 0, 1}} {
		c := checkOptions{areas: tt.areas}
		if err := c.normalize(); err != nil {
			t.Fatal(err)
		}
		got := c.narrow(o)
		if got.Exit != tt.exit || len(got.Verdict.Findings) != tt.left || got.Verdict.Pass != (tt.exit == 0) {
			t.Errorf("%v: exit %d, %d findings, pass %v", tt.areas, got.Exit, len(got.Verdict.Findings), got.Verdict.Pass)
		}
	}
	c := checkOptions{areas: []string{"WIFI"}}
	if c.normalize() == nil {
		t.Error("an area that no code has is accepted")
	}
}
