package e2e_test

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// TestPairs breaks two things that have nothing to do with each other: both causes are
// named, and nothing else is.
func TestPairs(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	turns := make(chan bool, 6)
	for _, pair := range []string{
		"ecr-api-drop s3-route",
		"ecr-api-drop wrong-ca",
		"ecr-api-drop mtu-outbound",
		"ecr-api-drop no-role",
		"ecr-api-drop hosts-apiserver",
		"ecr-api-drop subnet-filtered",
		"clock-behind ecr-api-drop",
		"custom-dns-public s3-route",
		"endpoints-drop apiserver-drop",
		"expired intercepted",
		"mtu-outbound one-dns-dead",
		"mtu-outbound wrong-name",
		"proxy-silent apiserver-drop",
		"dns-sinkhole ecr-dkr-drop",
		"clock-off-10m expired",
	} {
		wg.Go(func() {
			turns <- true
			t.Run(pair, func(t *testing.T) { testPair(t, pair) })
			<-turns
		})
	}
	wg.Wait()
}

func testPair(t *testing.T, pair string) {
	t.Helper()
	var o vpc.Options
	var want []string
	for name := range strings.FieldsSeq(pair) {
		f, ok := vpc.FaultNamed(name)
		if !ok {
			t.Fatalf("the lab has no fault %s", name)
		}
		o = f.Options(o)
		code := f.Code
		if f.Warning {
			code = "(" + code + ")"
		}
		want = append(want, code)
	}
	v := lab(t, o)
	for name := range strings.FieldsSeq(pair) {
		inject(t, v, name)
	}
	out, _ := check(t, v)
	got := codes(out)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("found %v, want %v: %+v", got, want, out.Verdict.Findings)
	}
}

// codes are those of the findings; in parentheses those that hold nothing.
func codes(o bootstrap.Outcome) []string {
	var out []string
	for _, f := range o.Verdict.Findings {
		code := string(f.Code)
		if !f.Blocks {
			code = "(" + code + ")"
		}
		out = append(out, code)
	}
	return out
}

// TestVerdictStays watches a node that stays blocked: later rounds ask less than the
// first one, and say the same.
func TestVerdictStays(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"sni-reset", "sni-silent", "mtu-inbound", "tls-reset", "host-firewall-reject"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, _ := vpc.FaultNamed(name)
			v := lab(t, f.Options(vpc.Options{}))
			inject(t, v, name)
			b := bootstrapIn(t, v, prepared(t, v))
			seen := map[string]bool{}
			if !wait(b.ctx, t, func() bool {
				o := readReport(filepath.Join(b.root, "run/nodeprep/report.json"))
				if len(o.Verdict.Blocking()) > 0 {
					var keys []string
					for _, f := range o.Verdict.Findings {
						keys = append(keys, f.Key())
					}
					seen[strings.Join(keys, ", ")] = true
				}
				return o.Round >= 5
			}) {
				t.Fatal("no fifth round")
			}
			if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			_ = b.cmd.Wait()
			if len(seen) != 1 {
				t.Errorf("it said in turn: %v", seen)
			}
			for key := range seen {
				if !strings.HasPrefix(key, f.Code) {
					t.Errorf("it said %s, want %s", key, f.Code)
				}
			}
		})
	}
}
