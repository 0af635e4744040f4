package e2e_test

import (
	"testing"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// TestCases compares the codes with the faults: each code has a case that TestFaults
// runs, or a reason in writing why it has none.
func TestCases(t *testing.T) {
	t.Parallel()
	table := map[string]bool{}
	for _, info := range bootstrap.Codes() {
		table[string(info.Code)] = true
	}
	cases := map[string]string{}
	for _, f := range vpc.Faults() {
		if f.Code == "" {
			continue
		}
		cases[f.Code] = f.Name
		// The identity's codes come with the calls that need one.
		if !table[f.Code] && bootstrap.Code(f.Code).Area() != "AUT" {
			t.Errorf("fault %s: there is no code %s", f.Name, f.Code)
		}
	}
	reasons := vpc.NoCase()
	for code, why := range reasons {
		switch {
		case !table[code]:
			t.Errorf("a reason for %s, which is no code", code)
		case why == "":
			t.Errorf("%s: no case, and no reason", code)
		case cases[code] != "":
			t.Errorf("%s has the case %s and a reason for none: %s", code, cases[code], why)
		}
	}
	for code := range table {
		if cases[code] == "" && reasons[code] == "" {
			t.Errorf("%s has no case, and nobody says why", code)
		}
	}
}
