package bootstrap_test

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// recorded is every scenario and every saved report, as something to judge.
func recorded(t *testing.T) map[string]func() *lab {
	t.Helper()
	all := map[string]func() *lab{}
	for _, s := range scenarios() {
		all[s.name] = func() *lab {
			l := healthy()
			s.spoil(l)
			return l
		}
	}
	files, err := filepath.Glob("testdata/incidents/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no incidents: %v", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(file)] = func() *lab {
			var o bootstrap.Outcome
			if err := json.Unmarshal(b, &o); err != nil {
				t.Error(err)
			}
			return &lab{plan: o.Plan, report: o.Report, state: o.Network, history: o.History, now: o.Updated}
		}
	}
	return all
}

// TestJudgeIgnoresOrder: whatever comes in whatever order, the verdict is the
// same to the last letter.
func TestJudgeIgnoresOrder(t *testing.T) {
	t.Parallel()
	for name, read := range recorded(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := read()
			want := pretty(t, l.judge())
			r := rand.New(rand.NewPCG(7, 7))
			for range 10 {
				l.shuffle(r)
				if diff := cmp.Diff(want, pretty(t, l.judge())); diff != "" {
					t.Fatalf("the order of the measurements changes the verdict:\n%s", diff)
				}
			}
		})
	}
}

// shuffle changes every order that means nothing. That of the DNS servers does.
func (l *lab) shuffle(r *rand.Rand) {
	shuffle(r, l.plan.Targets)
	shuffle(r, l.report.Results)
	shuffle(r, l.report.Clock)
	for i := range l.report.Results {
		res := &l.report.Results[i]
		shuffle(r, res.Paths)
		shuffle(r, res.Lookups)
		for j := range res.Paths {
			shuffle(r, res.Paths[j].Servers)
			shuffle(r, res.Paths[j].Experiments)
		}
	}
	for i := range l.plan.Targets {
		shuffle(r, l.plan.Targets[i].Hosts)
	}
	shuffle(r, l.state.Routes)
	shuffle(r, l.state.Hosts)
	shuffle(r, l.state.Destinations)
}

func shuffle[T any](r *rand.Rand, s []T) {
	r.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
}

// contradicted are the codes that claim something of everything, and so of a
// target that passes, too: for them it is not an unrelated one.
var contradicted = map[bootstrap.Code]string{
	bootstrap.LNK101: "nothing passes without a link",
	bootstrap.LNK102: "nothing passes without an address",
	bootstrap.LNK107: "a machine that refuses everything refuses this, too",
	bootstrap.NET101: "one finding for all becomes one each",
	bootstrap.NET108: "something answers",
	bootstrap.NET118: "a machine out of sockets makes no connection",
}

// TestJudgeIgnoresUnrelated adds a target that passes and has nothing to do with
// the others: it is known by its address, another program listens there.
func TestJudgeIgnoresUnrelated(t *testing.T) {
	t.Parallel()
	tried := 0
	for name, read := range recorded(t) {
		l := read()
		want := l.judge()
		if len(l.plan.Targets) == 0 || slices.ContainsFunc(want.Findings, func(f bootstrap.Finding) bool { return contradicted[f.Code] != "" }) {
			continue
		}
		tried++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, address := range []string{"10.0.14.90", "52.20.30.40"} {
				l := read()
				if address[0] == '5' && (l.plan.Policy.PrivateOnly || slices.Contains(codesOf(want), "NET-109")) {
					continue // a public address is what is forbidden there, or what does not work
				}
				l.literal("vault", address, bootstrap.RoleReady)
				if got := l.judge(); want.Pass != got.Pass || !slices.Equal(causesOf(want), causesOf(got)) {
					t.Errorf("%s passes beside the others: %v instead of %v", address, codesOf(got), codesOf(want))
				}
			}
		})
	}
	if all := len(recorded(t)); tried < all*3/4 {
		t.Errorf("only %d of %d were tried", tried, all)
	}
}

// causesOf are the codes, each once: one finding for all targets may become one for
// each where something passes.
func causesOf(v bootstrap.Verdict) []string { return slices.Compact(codesOf(v)) }

// literal adds a target with an address for a name, healthy.
func (l *lab) literal(name, address string, role bootstrap.Role) {
	t := bootstrap.Target{Target: probe.Target{Name: name, Host: address, Port: 8200, TLS: true}, Role: role, Why: "it is needed"}
	l.plan.Targets = append(l.plan.Targets, t)
	ap := netip.AddrPortFrom(netip.MustParseAddr(address), t.Port)
	l.report.Results = append(l.report.Results, probe.Result{
		Target: name, Host: address, Port: t.Port, Paths: []probe.Path{{Address: ap, Steps: healthySteps(name)}},
	})
}

// TestJudgeIgnoresAnotherEndpoint adds an interface endpoint that passes. Causes
// that say something about all targets are left out: for them it is no
// unrelated one. Where no endpoint is in the node's subnet, one that is there
// tells that the others lack something.
func TestJudgeIgnoresAnotherEndpoint(t *testing.T) {
	t.Parallel()
	n := 0
	for _, s := range scenarios() {
		l := healthy()
		s.spoil(l)
		if len(l.plan.Targets) == 0 || len(l.state.DNS.Servers) == 0 || s.name == "endpoints in subnets of their own" ||
			s.name == "own lookup waits for a dead server" || // which would be dead no more
			slices.ContainsFunc(l.judge().Findings, func(f bootstrap.Finding) bool { return len(f.Targets) > 3 || len(f.Targets) == 0 }) {
			continue
		}
		n++
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			want := l.judge()
			l.add("logs", "logs", "logs.us-west-2.amazonaws.com", bootstrap.RoleWorkload, "10.0.12.90", "10.0.14.90")
			got := l.judge()
			if diff := cmp.Diff(codesOf(want), codesOf(got)); diff != "" || want.Pass != got.Pass {
				t.Errorf("a passing target changes the verdict:\n%s", diff)
			}
		})
	}
	if n < 100 {
		t.Errorf("only %d scenarios were tried", n)
	}
}
