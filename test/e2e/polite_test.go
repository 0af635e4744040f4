package e2e_test

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// politeBudget is how many connections and DNS questions a node that stays blocked may
// begin in a round.
const politeBudget = 10

// TestBlockedIsPolite counts what leaves a node that stays blocked, round by round: of
// thousands of such nodes each must ask a little only, and still notice the repair.
func TestBlockedIsPolite(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for _, fault := range []string{"endpoints-drop", "apiserver-drop", "dns-silent"} {
		wg.Go(func() { t.Run(fault, func(t *testing.T) { testPolite(t, fault) }) })
	}
	wg.Wait()
}

func testPolite(t *testing.T, fault string) {
	t.Helper()
	// In the first rounds everything is asked, because a service may simply be late. Then
	// one round may notice that the same cause has held for three.
	const first, last = 5, 7
	v := lab(t, vpc.Options{})
	repair := inject(t, v, fault)
	capture, err := v.Capture()
	if err != nil {
		t.Fatal(err)
	}
	root := prepared(t, v)
	b := bootstrapIn(t, v, root)
	report := filepath.Join(root, "run/nodeprep/report.json")

	// What is seen before the next round begins belongs to this one.
	next := map[int]time.Time{}
	var o bootstrap.Outcome
	if !wait(b.ctx, t, func() bool {
		if o = readReport(report); !o.NextRound.IsZero() {
			next[o.Round] = o.NextRound
		}
		return o.Round >= last && !o.NextRound.IsZero()
	}) {
		t.Fatalf("round %d, want %d", o.Round, last)
	}
	flows, err := capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	repair()
	repaired := time.Now()
	b.passes()
	if took := time.Since(repaired); took > 12*time.Second { // a pause of 5 s, a round of 6 s
		t.Errorf("passed %s after the repair", took)
	}

	begun, rounds := 0, 0
	from := time.Time{}
	for round := 1; round <= last; round++ {
		rounds++
		until, seen := next[round]
		if !seen { // a pause was too short to be seen on this machine
			continue
		}
		for _, f := range flows {
			for _, at := range f.Begun {
				if !at.Before(from) && at.Before(until) {
					begun++
				}
			}
		}
		t.Logf("%d rounds up to round %d began %d", rounds, round, begun)
		switch {
		case round == 1 && begun <= politeBudget:
			t.Errorf("in the first round everything is asked, and %d were counted", begun)
		case round < first:
		case begun == 0 || begun > politeBudget*rounds:
			t.Errorf("%d rounds up to round %d began %d connections and questions", rounds, round, begun)
		}
		begun, rounds, from = 0, 0, until
	}
}
