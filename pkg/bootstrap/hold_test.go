package bootstrap_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// failingSince says that targets have failed for a while.
func (l *lab) failingSince(d time.Duration, targets ...string) {
	if l.history == nil {
		l.history = bootstrap.History{}
	}
	for _, name := range targets {
		l.history["target "+name] = bootstrap.Seen{First: l.now.Add(-d), Last: l.now, Times: 3}
	}
}

// assume makes targets such as only the default needs ask for.
func (l *lab) assume(targets ...string) {
	for i := range l.plan.Targets {
		l.plan.Targets[i].Assumed = slices.Contains(targets, l.plan.Targets[i].Name)
	}
}

// TestJudgePolicy: what is found is the same under every policy, and what it does to
// the gate follows from the policy, the report and the history alone.
func TestJudgePolicy(t *testing.T) {
	t.Parallel()
	const ever = time.Duration(bootstrap.Forever)
	ready := []string{"ec2", "ecr.api", "ecr.dkr", "s3"}
	hold := func(assumed, rejoin time.Duration) func(*lab) {
		return func(l *lab) {
			l.plan.Policy.AssumedHold, l.plan.Policy.RejoinHold = probe.Duration(assumed), probe.Duration(rejoin)
		}
	}
	for _, c := range []struct {
		name  string
		spoil []func(*lab)
		codes string // blocking ones first, others in parentheses, waived ones in brackets
		pass  bool
		by    string // of the first finding
	}{
		{"enforce another area", []func(*lab){func(l *lab) { l.silent("ecr.api"); l.plan.Policy.Enforce = []string{"NP-DNS"} }}, "(NET-105)", true, "enforce lists only NP-DNS"},
		{"enforce the area", []func(*lab){func(l *lab) { l.silent("ecr.api"); l.plan.Policy.Enforce = []string{"NP-NET"} }}, "NET-105", false, ""},
		{"enforce one of two codes", []func(*lab){func(l *lab) {
			l.silent("ecr.api")
			l.fails("ec2", connect(probe.TCPRefused, 1, econnrefused))
			l.plan.Policy.Enforce = []string{"NP-NET-105"}
		}}, "NET-105 (NET-104)", false, ""},
		{"waive", []func(*lab){func(l *lab) {
			l.silent("ecr.api")
			l.plan.Policy.Waive = []bootstrap.Waiver{{Code: bootstrap.NET105, Reason: "known"}}
		}}, "[NET-105]", true, "waived: known"},
		{"waive on the last day", []func(*lab){func(l *lab) {
			l.silent("ecr.api")
			l.plan.Policy.Waive = []bootstrap.Waiver{{Code: bootstrap.NET105, Reason: "known", Until: "2026-11-23"}}
		}}, "[NET-105]", true, "waived until 2026-11-23: known"},
		{"waive after it", []func(*lab){func(l *lab) {
			l.silent("ecr.api")
			l.plan.Policy.Waive = []bootstrap.Waiver{{Code: bootstrap.NET105, Reason: "known", Until: "2026-11-22"}}
		}}, "NET-105", false, ""},
		{"waive until no day", []func(*lab){func(l *lab) {
			l.silent("ecr.api")
			l.plan.Policy.Waive = []bootstrap.Waiver{{Code: bootstrap.NET105, Reason: "known", Until: "soon"}}
		}}, "NET-105", false, ""},
		{"waive what only warns", []func(*lab){func(l *lab) {
			l.fails("ec2", silentStep, "10.0.12.30")
			l.plan.Policy.Waive = []bootstrap.Waiver{{Code: bootstrap.NET107, Reason: "known"}}
		}}, "[NET-107]", true, "waived: known"},
		{"waive one of two", []func(*lab){func(l *lab) {
			l.silent("ecr.api")
			l.fails("ec2", connect(probe.TCPRefused, 1, econnrefused))
			l.plan.Policy.Waive = []bootstrap.Waiver{{Code: bootstrap.NET105, Reason: "known"}}
		}}, "NET-104 [NET-105]", false, ""},
		{"observe without metadata", []func(*lab){func(l *lab) {
			l.metadata(connect(probe.TCPRefused, 1, econnrefused))
			l.plan.Policy.Mode = bootstrap.ModeObserve
			l.plan.Policy.Enforce = []string{"NP-DNS"}
			l.plan.Policy.Waive = []bootstrap.Waiver{{Code: bootstrap.IMD101, Reason: "known"}}
		}}, "IMD-101", false, ""},
		{"held for a while", []func(*lab){hold(10*time.Minute, ever), func(l *lab) { l.silent("ecr.api"); l.assume(ready...); l.failingSince(9*time.Minute, "ecr.api") }}, "NET-105", false, ""},
		{"held long enough", []func(*lab){hold(10*time.Minute, ever), func(l *lab) { l.silent("ecr.api"); l.assume(ready...); l.failingSince(10*time.Minute, "ecr.api") }}, "(NET-105)", true, "assumedHold 10m0s is over: only the default needs ask for the target"},
		{"held long enough when first known", []func(*lab){hold(0, ever), func(l *lab) { l.silent("ecr.api"); l.assume(ready...) }}, "(NET-105)", true, "assumedHold 0s is over: only the default needs ask for the target"},
		{"held for ever", []func(*lab){hold(ever, ever), func(l *lab) { l.silent("ecr.api"); l.assume(ready...); l.failingSince(99*time.Hour, "ecr.api") }}, "NET-105", false, ""},
		{"listed", []func(*lab){hold(10*time.Minute, ever), func(l *lab) { l.silent("ecr.api"); l.failingSince(time.Hour, "ecr.api") }}, "NET-105", false, ""},
		{"API server", []func(*lab){hold(10*time.Minute, time.Minute), func(l *lab) {
			l.plan.Rejoin = true
			l.fails("apiserver", connect(probe.TCPRefused, 1, econnrefused))
			l.assume("apiserver")
			l.failingSince(time.Hour, "apiserver")
		}}, "NET-104", false, ""},
		{"not joined before", []func(*lab){hold(ever, time.Minute), func(l *lab) { l.silent("ecr.api"); l.failingSince(time.Hour, "ecr.api") }}, "NET-105", false, ""},
		{"joined before", []func(*lab){hold(ever, 2*time.Minute), func(l *lab) {
			l.plan.Rejoin = true
			l.silent("ecr.api")
			l.failingSince(2*time.Minute, "ecr.api")
		}}, "(NET-105)", true, "rejoinHold 2m0s is over: this node has joined the cluster before"},
		{"one of two held long enough", []func(*lab){hold(ever, 2*time.Minute), func(l *lab) {
			l.plan.Rejoin = true
			l.dns(vpcDNS, probe.DNSNXDomain, "ecr.api", "ecr.dkr")
			l.failingSince(2*time.Minute, "ecr.api")
			l.failingSince(time.Minute, "ecr.dkr")
		}}, "", false, ""},
		{"no DNS at all, the API server among the targets", []func(*lab){hold(ever, 2*time.Minute), func(l *lab) {
			l.plan.Rejoin = true
			l.dns(vpcDNS, probe.DNSTimeout, l.all()...)
			l.failingSince(time.Hour, l.all()...)
		}}, "", false, ""},
		{"held long enough and under way", []func(*lab){hold(ever, 2*time.Minute), func(l *lab) {
			l.plan.Rejoin = true
			l.pending("ecr.api")
			l.failingSince(2*time.Minute, "ecr.api")
		}}, "", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := healthy()
			for _, spoil := range c.spoil {
				spoil(l)
			}
			v := l.judge()
			codes := codesOf(v)
			for _, f := range v.Waived {
				codes = append(codes, "["+strings.TrimPrefix(string(f.Code), "NP-")+"]")
			}
			if got := strings.Join(codes, " "); c.codes != "" && got != c.codes || v.Pass != c.pass {
				t.Fatalf("pass %v, findings %s, want %v and %s", v.Pass, got, c.pass, c.codes)
			}
			for _, f := range slices.Concat(v.Findings, v.Waived)[:min(1, len(v.Findings)+len(v.Waived))] {
				if f.AllowedBy != c.by {
					t.Errorf("allowed by %q, want %q", f.AllowedBy, c.by)
				}
			}
			o := bootstrap.Outcome{Started: l.report.Started, Updated: l.now, Plan: l.plan, Network: l.state, Report: l.report, Verdict: v, History: l.history}
			_, got := readBack(t, o)
			again := bootstrap.Judge(got.Plan, got.Report, got.Network, got.History, got.Updated)
			if diff := cmp.Diff(pretty(t, v), pretty(t, again)); diff != "" {
				t.Errorf("judged otherwise from the report:\n%s", diff)
			}
			// The policy changes what is done, never what is found.
			l.plan.Policy, l.plan.Rejoin = bootstrap.Policy{Mode: bootstrap.ModeQuorum, AssumedHold: bootstrap.Forever, RejoinHold: bootstrap.Forever}, false
			if want := l.judge(); len(want.Findings) != len(v.Findings)+len(v.Waived) {
				t.Errorf("without the policy %v are found", codesOf(want))
			}
		})
	}
}
