package e2e_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// judgedAlike holds that the judge finds from a report what it found on the
// node: whoever gets the report can replay the case.
func judgedAlike(t *testing.T, o bootstrap.Outcome) {
	t.Helper()
	if slices.ContainsFunc(o.Verdict.Findings, func(f bootstrap.Finding) bool { return f.Problem != nil }) {
		return // the input explains what the judge finds, and is not in the report
	}
	again := bootstrap.Judge(o.Plan, o.Report, o.Network, o.History, o.Updated)
	if diff := cmp.Diff(keys(o.Verdict), keys(again)); diff != "" || o.Verdict.Pass != again.Pass {
		t.Errorf("judged otherwise from the report, which passes: %v (-node +report)\n%s", again.Pass, diff)
	}
}

// keys are what a verdict's findings are about, without their texts.
func keys(v bootstrap.Verdict) []string {
	var out []string
	for _, f := range v.Findings {
		out = append(out, f.Key())
	}
	return out
}
