package bootstrap_test

import (
	"math/rand/v2"
	"testing"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// TestJudgeExperimentsUnderWay takes experiments, other clocks and direct paths back
// as if they were under way: what is claimed without them must be among the final causes.
func TestJudgeExperimentsUnderWay(t *testing.T) {
	t.Parallel()
	tried := 0
	for _, s := range append(append(mtuScenarios(), clockScenarios()...), proxyScenarios()...) {
		final := healthy()
		s.spoil(final)
		claims := map[bootstrap.Code]bool{}
		verdict := final.judge()
		for _, f := range verdict.Findings {
			claims[f.Code] = true
			for _, e := range f.Explains {
				claims[e.Code] = true
			}
		}
		r := rand.New(rand.NewPCG(3, uint64(len(s.name))))
		for range 40 {
			l := healthy()
			s.spoil(l)
			l.early()
			changed := false
			for i := range l.report.Results {
				res := &l.report.Results[i]
				if res.Direct != nil && r.IntN(2) == 0 {
					res.Direct, res.Pending, changed = nil, true, true
				}
				for j := range res.Paths {
					p := &res.Paths[j]
					for k := range p.Experiments {
						if r.IntN(2) == 0 {
							e := p.Experiments[k]
							p.Experiments[k] = probe.Experiment{Kind: e.Kind, Name: e.Name, Pending: true}
							res.Pending, changed = true, true
						}
					}
				}
			}
			if !changed {
				continue
			}
			tried++
			v := l.judge()
			sound(t, l, v)
			for _, f := range v.Findings {
				if !claims[f.Code] {
					t.Fatalf("%s: claims %s early, the final causes are %v\n%s", s.name, f.Code, codesOf(verdict), pretty(t, l.report))
				}
			}
			if v.Pass && !verdict.Pass {
				t.Fatalf("%s: passes early, the end is %v", s.name, codesOf(verdict))
			}
		}
	}
	if tried < 500 {
		t.Errorf("only %d were tried", tried)
	}
}

// TestJudgeHealthyAllocates: what the experiments, clocks, roots and proxies are
// judged by costs nothing while nothing fails.
func TestJudgeHealthyAllocates(t *testing.T) {
	count := func(spoil func(*lab)) float64 {
		l := many(200, nil)
		spoil(l)
		return testing.AllocsPerRun(10, func() { l.judge() })
	}
	plain := count(func(*lab) {})
	full := count(func(l *lab) {
		l.plan.Clock = bootstrap.ClockState{Known: true, Synchronized: true, Service: true}
		l.report.Clock = []probe.ClockReading{{Source: metadata, Within: ms(1000)}}
		l.trusts("CN=Amazon RSA 2048 M01,O=Amazon,C=US", "CN=Amazon Root CA 1,O=Amazon,C=US", amazonRoot, l.all()[1:]...)
		l.plan.Environments = map[bootstrap.Consumer]bootstrap.Environment{bootstrap.ConsumerAgent: {}, bootstrap.ConsumerKubelet: {}, bootstrap.ConsumerContainerd: {}}
	})
	if full > plain+8 {
		t.Errorf("%.0f allocations with the evidence of a healthy node, %.0f without", full, plain)
	}
}
