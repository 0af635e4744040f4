package bootstrap_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// readBack writes an outcome as its report and reads that.
func readBack(t *testing.T, o bootstrap.Outcome) (text string, got bootstrap.Outcome) {
	t.Helper()
	text = pretty(t, o.ForReport())
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	return text, got
}

// withoutPassword compares proxies as reports show them.
var withoutPassword = cmp.Comparer(func(a, b probe.Proxy) bool { return a.String() == b.String() })

// sameOutcome compares what reports keep.
func sameOutcome(t *testing.T, want, got bootstrap.Outcome) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{}), withoutPassword); diff != "" {
		t.Errorf("the report keeps something else (-want +got):\n%s", diff)
	}
}

// A saved report is all that a test of a join that failed in the field needs:
// whatever the judge looks at is in it.
func TestReportIsJudgedAlike(t *testing.T) {
	t.Parallel()
	type incident struct {
		name  string
		spoil func(*lab)
	}
	incidents := []incident{{"an issuer known by the key of the cluster's CA", func(l *lab) {
		l.plan.Cluster.Authorities = []bootstrap.Authority{{Subject: "CN=cluster-ca,O=lab", KeyID: "7c18"}}
		l.fails("apiserver", handshake(probe.TLSUnknownAuthority, probe.TLSInfo{Chain: []probe.Certificate{{Issuer: "CN=x", AuthorityKeyID: "7c18"}}}))
	}}}
	for _, s := range scenarios() {
		incidents = append(incidents, incident{s.name, s.spoil})
	}
	for _, i := range incidents {
		t.Run(i.name, func(t *testing.T) {
			t.Parallel()
			l := healthy()
			i.spoil(l)
			verdict := l.judge()
			o := bootstrap.Outcome{
				Schema: bootstrap.Schema, Started: l.report.Started, Updated: l.now, Plan: l.plan, Network: l.state,
				Report: l.report, Verdict: verdict, History: l.history,
			}
			_, got := readBack(t, o)
			sameOutcome(t, o, got)
			again := bootstrap.Judge(got.Plan, got.Report, got.Network, got.History, got.Updated)
			if diff := cmp.Diff(pretty(t, verdict), pretty(t, again)); diff != "" {
				t.Errorf("judged otherwise from the report (-run +report):\n%s", diff)
			}
		})
	}
}

// TestIncidents judges the reports of joins that failed, one file each: what
// `nodeprep report -o json` printed on the node, found again from the report. A
// verdict that was wrong is corrected in the file.
func TestIncidents(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/incidents/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no incidents: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var o bootstrap.Outcome
			if err := json.Unmarshal(b, &o); err != nil {
				t.Fatal(err)
			}
			if len(o.Plan.Files) == 0 || o.Plan.Files[0].Mode != 0o644 {
				t.Errorf("planned files %+v", o.Plan.Files)
			}
			got := bootstrap.Judge(o.Plan, o.Report, o.Network, o.History, o.Updated)
			if diff := cmp.Diff(codesOf(o.Verdict), codesOf(got)); diff != "" || o.Verdict.Pass != got.Pass {
				t.Errorf("passes: %v (-report +judge)\n%s", got.Pass, diff)
			}
		})
	}
}

// What Run produces survives, too: everything but the bundle and the files'
// content, which the report leaves out.
func TestReportOfARun(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.broken["ecr.api"] = probe.TCPTimeout
	o := bootstrap.Run(t.Context(), m.deps(), bootstrap.Options{Version: "1", RunID: "r", Once: true})
	text, got := readBack(t, o)
	for _, absent := range []string{"BEGIN CERTIFICATE", "LS0tLS1CRUdJTi", "null", "+0"} {
		if strings.Contains(text, absent) {
			t.Errorf("the report holds %q:\n%s", absent, text)
		}
	}
	o.Plan.Cluster.CA = nil
	for i := range o.Plan.Files {
		o.Plan.Files[i].Data = nil
	}
	for i := range o.Plan.Targets {
		o.Plan.Targets[i].Roots = nil
	}
	// JSON has no monotonic clock, and durations have microseconds.
	sameOutcome(t, roundDurations(o.ForReport()), roundDurations(got))
	if len(got.Plan.Cluster.Authorities) != 1 || got.Plan.Cluster.Authorities[0].Subject != "CN=kubernetes" {
		t.Errorf("authorities: %+v", got.Plan.Cluster.Authorities)
	}
	if again := bootstrap.Judge(got.Plan, got.Report, got.Network, got.History, got.Updated); !slices.Equal(codesOf(o.Verdict), codesOf(again)) {
		t.Errorf("judged %v, from the report %v", codesOf(o.Verdict), codesOf(again))
	}
}

// roundDurations drops what the JSON form does not keep.
func roundDurations(o bootstrap.Outcome) bootstrap.Outcome {
	cut := func(d *probe.Duration) { *d = probe.Duration(time.Duration(*d).Truncate(time.Microsecond)) }
	o.Stages = slices.Clone(o.Stages)
	for i := range o.Stages {
		cut(&o.Stages[i].Took)
	}
	cut(&o.Report.Took)
	return o
}

// A target that is asked again stays where it was.
func TestReportOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := healthyMachine(t)
		m.broken["ec2"] = probe.TCPTimeout
		time.AfterFunc(time.Second, func() { m.set(func() { delete(m.broken, "ec2") }) })
		o := bootstrap.Run(t.Context(), m.deps(), bootstrap.Options{Settle: time.Second})
		var planned, measured []string
		for _, target := range o.Plan.Targets {
			planned = append(planned, target.Name)
		}
		for _, res := range o.Report.Results {
			measured = append(measured, res.Target)
		}
		if !slices.Equal(planned, measured) || len(m.rounds) < 2 || slices.Equal(m.rounds[len(m.rounds)-1], planned) {
			t.Errorf("planned %v, measured %v in rounds %v", planned, measured, m.rounds)
		}
	})
}

func TestReportTimes(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 9, 12, 7, 0, time.FixedZone("", 2*3600))
	o := bootstrap.Outcome{
		Started: at, Updated: at, NextRound: at, Gate: bootstrap.Gate{At: at}, Report: probe.Report{Started: at},
		History: bootstrap.History{"NP-NET-105 ec2": {First: at, Last: at, Times: 1}},
	}
	text, got := readBack(t, o)
	if n := strings.Count(text, `"2026-11-23T07:12:07Z"`); n != 7 {
		t.Errorf("%d of 7 times are in UTC:\n%s", n, text)
	}
	sameOutcome(t, o, got)
	if first := o.History["NP-NET-105 ec2"].First; first.Location() != at.Location() {
		t.Error("ForReport changed the outcome's own history")
	}
	text, got = readBack(t, bootstrap.Outcome{})
	if strings.Contains(text, "null") || strings.Contains(text, "kubelet") {
		t.Errorf("an empty report:\n%s", text)
	}
	sameOutcome(t, bootstrap.Outcome{}, got)
}

// TestFieldNames: one style in everything that is printed as JSON, and a unit
// in the name of each duration.
func TestFieldNames(t *testing.T) {
	t.Parallel()
	style := regexp.MustCompile(`^[a-z][a-zA-Z0-9]*$`)
	seen := map[reflect.Type]bool{}
	var visit func(typ reflect.Type, path string)
	visit = func(typ reflect.Type, path string) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
			visit(typ.Elem(), path)
			return
		case reflect.Struct:
		default:
			return
		}
		if seen[typ] || !strings.Contains(typ.PkgPath(), "nodeprep") {
			return
		}
		seen[typ] = true
		names := map[string]bool{}
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			at := path + "." + f.Name
			switch {
			case f.Anonymous && name == "":
			case name == "-":
				continue
			case !style.MatchString(name):
				t.Errorf("%s: JSON name %q", at, name)
			case names[name]:
				t.Errorf("%s: JSON name %q twice", at, name)
			case f.Type == reflect.TypeFor[time.Duration]():
				t.Errorf("%s is written in nanoseconds: use probe.Duration", at)
			case (f.Type == reflect.TypeFor[probe.Duration]()) != strings.HasSuffix(name, "MS"):
				t.Errorf("%s: JSON name %q, and MS is for milliseconds", at, name)
			}
			names[name] = true
			visit(f.Type, at)
		}
	}
	for _, v := range []any{bootstrap.Outcome{}, bootstrap.CodeInfo{}, bootstrap.Problem{}} {
		visit(reflect.TypeOf(v), reflect.TypeOf(v).Name())
	}
}
