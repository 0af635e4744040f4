package bootstrap_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

var updateReports = flag.Bool("update-reports", false, "write the goldens of testdata/reports anew")

// scenario is one broken VPC. codes are the findings expected, warnings in
// parentheses; nothing else may be found.
type scenario struct {
	name  string
	codes string
	exit  int
	spoil func(l *lab)
	// remedy must hold these words: the real names and addresses.
	remedy []string
}

func rejected(cause probe.Cause, n int) probe.Step { return connect(cause, 0.6, n) }

const (
	econnrefused = 111
	ehostunreach = 113
	enetunreach  = 101
	eacces       = 13
	einval       = 22
	emfile       = 24
)

func scenarios() []scenario {
	return slices.Concat(linkScenarios(), metadataScenarios(), dnsScenarios(), netScenarios(), tlsScenarios(), apiScenarios(), modeScenarios(),
		referenceScenarios(), nameScenarios(), matrixScenarios(), nodeScenarios(),
		mtuScenarios(), clockScenarios(), proxyScenarios(), certificateScenarios())
}

// dualStack gives the node and two targets IPv6.
func (l *lab) dualStack() {
	l.plan.Instance.IPv6 = addrs("2600:1f14:1::5")
	l.plan.Instance.Subnet = append(l.plan.Instance.Subnet, prefixes("2600:1f14:1::/64")...)
	l.lookup(vpcDNS, "apiserver", probe.Lookup{Type: "AAAA", Addresses: addrs("2600:1f14::a")})
	l.lookup(vpcDNS, "ec2", probe.Lookup{Type: "AAAA", Addresses: addrs("2600:1f14::e")})
	l.plan.Instance.VPC = append(l.plan.Instance.VPC, prefixes("2600:1f14::/56", "2600:1f14:1::/56")...)
	l.state.Routes = append(l.state.Routes, netcfg.Route{Destination: prefixes("::/0")[0], Gateway: addrs("fe80::1")[0], Link: 2, Table: netcfg.TableMain, Type: "unicast"})
}

func TestJudge(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range scenarios() {
		if seen[s.name] {
			t.Fatalf("two scenarios %q", s.name)
		}
		seen[s.name] = true
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			l := healthy()
			s.spoil(l)
			v := l.judge()
			sound(t, l, v)
			if got := strings.Join(codesOf(v), " "); got != s.codes {
				t.Errorf("findings %q, want %q\n%s", got, s.codes, pretty(t, v))
			}
			if v.ExitCode() != s.exit {
				t.Errorf("exit %d, want %d", v.ExitCode(), s.exit)
			}
			if len(v.Pending) > 0 {
				t.Errorf("pending: %v", v.Pending)
			}
			for _, w := range s.remedy {
				if !strings.Contains(v.Findings[0].Remedy, w) {
					t.Errorf("remedy lacks %q: %s", w, v.Findings[0].Remedy)
				}
			}
			golden(t, s.name, v)
		})
	}
	files, err := filepath.Glob("testdata/reports/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".json"); !slices.ContainsFunc(scenarios(), func(s scenario) bool { return fileName(s.name) == name }) {
			t.Errorf("%s belongs to no scenario", f)
		}
	}
}

func fileName(scenario string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r >= 'A' && r <= 'Z':
			return r
		}
		return -1
	}, scenario)
}

func pretty(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

// golden compares the whole verdict, texts included.
func golden(t *testing.T, name string, v bootstrap.Verdict) {
	t.Helper()
	file := filepath.Join("testdata", "reports", fileName(name)+".json")
	got := pretty(t, v)
	if *updateReports {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), -update-reports writes it anew:\n%s", file, diff)
	}
}
