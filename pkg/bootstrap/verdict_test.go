package bootstrap_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

func TestComingUp(t *testing.T) {
	t.Parallel()
	block := func(codes ...bootstrap.Code) bootstrap.Verdict {
		var v bootstrap.Verdict
		for _, c := range codes {
			v.Findings = append(v.Findings, bootstrap.Finding{Code: c, Blocks: true})
		}
		return v
	}
	for _, c := range []struct {
		name  string
		v     bootstrap.Verdict
		stage bootstrap.Stage
		after time.Duration
		want  bool
	}{
		{"no route yet", block(bootstrap.LNK104), bootstrap.StageProbe, time.Second, true},
		{"no metadata yet", block(bootstrap.IMD101), bootstrap.StageInput, 3 * time.Second, true},
		{"no route still", block(bootstrap.LNK104), bootstrap.StageProbe, 4 * time.Second, false},
		{"something else too", block(bootstrap.LNK104, bootstrap.CRD101), bootstrap.StageProbe, time.Second, false},
		{"something else", block(bootstrap.NET105), bootstrap.StageProbe, time.Second, false},
		{"nothing", bootstrap.Verdict{Pass: true}, bootstrap.StageProbe, time.Second, false},
		{"the end", block(bootstrap.LNK104), bootstrap.StageFailed, time.Second, false},
	} {
		started := time.Now()
		o := bootstrap.Outcome{Started: started, Stage: c.stage, Verdict: c.v}
		if got := o.ComingUp(started.Add(c.after)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestExplainByInput: a mistake in the input takes the findings that follow from
// it, and blocks when one of them does.
func TestExplainByInput(t *testing.T) {
	t.Parallel()
	region := bootstrap.Finding{Code: bootstrap.CFG107, Severity: bootstrap.Warning, Problem: &bootstrap.Problem{Code: bootstrap.CFG107, Warning: true}}
	name := bootstrap.Finding{Code: bootstrap.DNS108, Targets: []string{"apiserver", "ec2"}, Severity: bootstrap.Fatal, Blocks: true}
	warning := bootstrap.Finding{Code: bootstrap.DNS108, Targets: []string{"sts"}, Severity: bootstrap.Warning}
	other := bootstrap.Finding{Code: bootstrap.NET105, Targets: []string{"ec2"}, Blocks: true}
	// A cause that the judge found, beside what it does not explain for these targets.
	route := bootstrap.Finding{Code: bootstrap.LNK104, Targets: []string{"ec2"}, Blocks: true}
	beyond := bootstrap.Finding{Code: bootstrap.NET101, Targets: []string{"s3"}, Blocks: true}
	for _, tt := range []struct {
		name string
		in   []bootstrap.Finding
		want string // code, block or warn, what is explained
	}{
		{"what follows is gone", []bootstrap.Finding{region, name}, "CFG-107 block apiserver ec2"},
		{"a warning makes no cause block", []bootstrap.Finding{region, warning}, "CFG-107 warn sts"},
		{"a warning behind one that blocks", []bootstrap.Finding{region, name, warning}, "CFG-107 block apiserver ec2 sts"},
		{"the rest stays", []bootstrap.Finding{other, region}, "NET-105 block, CFG-107 warn"},
		{"the judge has explained its own", []bootstrap.Finding{route, beyond}, "LNK-104 block, NET-101 block"},
	} {
		var got []string
		for _, f := range bootstrap.ExplainByInput(bootstrap.Verdict{Findings: tt.in}).Findings {
			s := strings.TrimPrefix(string(f.Code), "NP-") + " warn"
			if f.Blocks {
				s = strings.TrimPrefix(string(f.Code), "NP-") + " block"
			}
			for _, e := range f.Explains {
				s += " " + e.Target
			}
			if f.Blocks == (f.Severity == bootstrap.Warning) {
				t.Errorf("%s: %s has the severity %s", tt.name, s, f.Severity)
			}
			got = append(got, s)
		}
		if s := strings.Join(got, ", "); s != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, s, tt.want)
		}
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]bootstrap.Finding{
		"NP-NET-105 ec2 and sts: silent": {Code: bootstrap.NET105, Title: "silent", Targets: []string{"ec2", "sts"}, Problem: &bootstrap.Problem{Path: "spec"}},
		"NP-CFG-103 spec.a: missing":     {Code: bootstrap.CFG103, Title: "missing", Problem: &bootstrap.Problem{Path: "spec.a"}},
		"NP-CFG-101 no user data":        {Code: bootstrap.CFG101, Title: "no user data", Problem: &bootstrap.Problem{}},
		"NP-CRD-101 no role":             {Code: bootstrap.CRD101, Title: "no role"},
	} {
		if got := f.Summary(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	two := []bootstrap.Finding{{Code: bootstrap.CRD101, Title: "no role"}, {Code: bootstrap.CFG101, Title: "x"}}
	for n, want := range []string{"", "NP-CRD-101 no role", "NP-CRD-101 no role (and 1 more)"} {
		if got := bootstrap.Headline(two[:n]); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestRunRemembers: the history says since when something is found, and how often.
func TestRunRemembers(t *testing.T) {
	t.Parallel()
	m := healthyMachine(t)
	m.broken["ecr.api"] = probe.TCPTimeout
	m.extra = prep("{waive: [{code: NP-DNS-114, reason: it was being moved, until: 1999-01-01}]}")
	synctest.Test(t, func(t *testing.T) {
		m.after(3*time.Minute, func() { delete(m.broken, "ecr.api") })
		out := bootstrap.Run(t.Context(), m.deps(), quick)
		seen := out.History["NP-NET-105 ecr.api"]
		if first := seen.First.Sub(out.Started); first < 0 || first > 10*time.Second || seen.Times < 3 || seen.Last.Sub(out.Started) < 2*time.Minute {
			t.Errorf("first after %s, last after %s, %d times", first, seen.Last.Sub(out.Started), seen.Times)
		}
	})
	both := 0
	for _, o := range m.published {
		if fs := o.Verdict.Findings; len(fs) == 2 {
			both++
			if !fs[0].Blocks {
				t.Fatalf("a warning comes before what blocks: %s, %s", fs[0].Summary(), fs[1].Summary())
			}
		}
	}
	if both == 0 {
		t.Error("the two findings were never together")
	}
}
