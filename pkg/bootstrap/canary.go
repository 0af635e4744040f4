package bootstrap

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// Thousands of nodes that are blocked by one mistake must not be a flood. Once
// the boot is over, or the same causes block for the third round, a round asks
// for each cause one target, the canary, as far as the budget goes. The others
// keep their evidence. When the canary's failure changes, everything is asked
// again in the same round.
//
// The canary is the target that was asked longest ago, so that they take turns:
// of n blocking targets each is asked every nth round, every 2nth at the worst, and
// a repair that heals one of them only is noticed that late (a round is 3 to 6 s,
// the pause before it at most 30 s, 120 s after half an hour). A repair of the
// cause is noticed in the next round, whichever target is the canary. What only
// warns is asked with what is left of the budget.
const (
	// politeBudget is what a round in the steady state may ask: DNS questions
	// and connections, without retransmissions. One target is always asked.
	politeBudget = 10
	// sameRounds is after how many rounds with the same causes they are taken
	// to last.
	sameRounds = 3
	// experimentsLast is how long what was tried beside a failed path counts while it
	// fails in the same way. It is repeated of one target in a round, and that one is
	// asked alone, since experiments are questions and connections too.
	experimentsLast = 10 * time.Minute
	// renewalPause is the least time between two rounds that repeat experiments.
	renewalPause = time.Minute
	// fullPause is the least time between two rounds that ask everything because a
	// failure became another one.
	fullPause = time.Minute
	// systemCost is that of the machine's own lookup and connection: A, AAAA, connect.
	systemCost = 3
)

// steady reports whether only canaries are to be asked.
func (r *run) steady(now time.Time) bool {
	return now.Sub(r.out.Started) > boot || r.same >= sameRounds
}

// A canary is a target that may stand for others.
type canary struct {
	probe.Target
	cause  string // of the finding that names it
	blocks bool
	cost   int
	asked  time.Time
}

// canaries chooses among the targets that do not pass.
func (r *run) canaries(failing []probe.Target) []probe.Target {
	var all []canary
	for _, t := range failing {
		res, _ := r.out.Report.Result(t.Name)
		c := canary{Target: t, cause: "target " + t.Name, cost: costOf(t, res), asked: r.measured[t.Name]}
		for i, f := range r.out.Verdict.Findings { // blocking ones come first
			if slices.Contains(f.concerned(), t.Name) {
				c.cause, c.blocks = fmt.Sprint(i), f.Blocks
				break
			}
		}
		all = append(all, c)
	}
	slices.SortStableFunc(all, func(a, b canary) int { return cmp.Or(a.asked.Compare(b.asked), cmp.Compare(a.cost, b.cost)) })
	// Whatever only warns must not keep what blocks from its turn.
	if i := slices.IndexFunc(all, func(c canary) bool { return c.blocks }); i > 0 {
		first := all[i]
		all = slices.Insert(slices.Delete(all, i, i+1), 0, first)
	}
	var out []probe.Target
	taken, sum := map[string]bool{}, 0
	for _, c := range all {
		if taken[c.cause] || len(out) > 0 && sum+c.cost > politeBudget {
			continue
		}
		taken[c.cause], sum = true, sum+c.cost
		out = append(out, c.Target)
	}
	return out
}

// allExperiments are those that the policy allows, with what is known of the time.
func (r *run) allExperiments() probe.Experiments {
	e := r.experiments()
	e.Clock = r.readings(time.Now())
	return e
}

// bareExperiments are none; the clock is no experiment.
func (r *run) bareExperiments() probe.Experiments {
	return probe.Experiments{Clock: r.readings(time.Now())}
}

// renewal is the canary that is asked alone and with experiments this time, because
// it was tried too long ago, and whether there is one.
func (r *run) renewal(canaries []probe.Target) ([]probe.Target, bool) {
	now := time.Now()
	if now.Sub(r.renewed) < renewalPause || bare(r.experiments()) {
		return nil, false
	}
	i := slices.IndexFunc(canaries, func(t probe.Target) bool { return now.Sub(r.tried[t.Name]) >= experimentsLast })
	if i < 0 {
		return nil, false
	}
	r.renewed = now
	return canaries[i : i+1], true
}

// noteExperiments remembers of which targets the experiments were made.
func (r *run) noteExperiments(report probe.Report, now time.Time) {
	if r.tried == nil {
		r.tried = map[string]time.Time{}
	}
	for _, res := range report.Results {
		r.tried[res.Target] = now
	}
}

// bare reports whether no experiment is allowed.
func bare(e probe.Experiments) bool {
	return len(e.References) == 0 && !e.MSSClamp && !e.SmallHello && !e.SecondSNI && !e.UDPTest && e.Direct == nil
}

// costOf is what a target's questions and connections were when last asked.
func costOf(t probe.Target, res probe.Result) int {
	cost := len(res.Lookups) + len(ownPaths(res))
	if t.System {
		cost += systemCost
	}
	return cost
}

// changed reports whether a canary passes, or fails otherwise than before, so
// that everything is worth asking again.
func (r *run) changed(before probe.Report, asked []probe.Target) bool {
	other := false
	for _, t := range asked {
		was, _ := before.Result(t.Name)
		is, _ := r.out.Report.Result(t.Name)
		if failure(was) == failure(is) && sameAddresses(was, is) {
			continue
		}
		if clean(is) || passes(is) && !passes(was) {
			return true
		}
		other = true
	}
	return other && time.Since(r.full) >= fullPause
}

// passes reports whether an address of the target answered as it should, as far as
// that shows without judging the answer.
func passes(res probe.Result) bool { return slices.ContainsFunc(res.Paths, probe.Path.OK) }

// failure is the way in which a target fails, without its addresses.
func failure(res probe.Result) string {
	var parts []string
	for _, l := range res.Lookups {
		parts = append(parts, fmt.Sprint(l.Server, l.Type, l.Cause))
	}
	for _, p := range ownPaths(res) {
		parts = append(parts, pathFailure(p))
	}
	if s := res.System; s != nil {
		parts = append(parts, "system "+string(s.Cause))
		if s.Path != nil {
			parts = append(parts, "system "+pathFailure(*s.Path))
		}
	}
	slices.Sort(parts)
	return strings.Join(slices.Compact(parts), "\n")
}

// pathFailure is the last step of a path and what it showed.
func pathFailure(p probe.Path) string {
	if len(p.Steps) == 0 {
		return ""
	}
	last := p.Steps[len(p.Steps)-1]
	s := string(last.Phase) + " " + string(p.Cause())
	if last.HTTP != nil {
		s += fmt.Sprint(" ", last.HTTP.Status)
	}
	if last.TLS != nil && len(last.TLS.Chain) > 0 {
		s += " " + last.TLS.Chain[0].SHA256
	}
	return s
}

// sameAddresses reports whether two answers lead to the same private addresses.
// Public ones rotate.
func sameAddresses(a, b probe.Result) bool {
	known := func(paths, others []probe.Path) bool {
		return !slices.ContainsFunc(paths, func(p probe.Path) bool {
			addr := p.Address.Addr().Unmap()
			return (addr.IsPrivate() || sharedSpace.Contains(addr)) && pathTo(others, p.Address) < 0
		})
	}
	return known(ownPaths(a), ownPaths(b)) && known(ownPaths(b), ownPaths(a))
}
