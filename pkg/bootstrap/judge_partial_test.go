package bootstrap_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// early makes the report one that is taken while the round runs.
func (l *lab) early() { l.report.Started = l.now.Add(-100 * time.Millisecond) }

// pending takes back what is known of a target: everything for no addresses,
// else the paths to these.
func (l *lab) pending(target string, addresses ...string) {
	l.early()
	res := l.result(target)
	res.Pending = true
	if len(addresses) == 0 {
		res.Lookups, res.Paths, res.Compared, res.System = nil, nil, nil, nil
	}
	for i := range res.Paths {
		if p := &res.Paths[i]; slices.Contains(addresses, p.Address.Addr().String()) {
			p.Pending, p.Steps = true, nil
		}
	}
}

func TestJudgePartial(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		spoil   func(*lab)
		codes   string
		pass    bool
		pending string
	}{
		{"nothing known", func(l *lab) {
			for _, n := range l.all() {
				l.pending(n)
			}
		}, "", false, "apiserver ec2 ecr.api ecr.dkr s3"},
		{"no results at all", func(l *lab) { l.early(); l.report.Results = nil }, "", false, "apiserver ec2 ecr.api ecr.dkr s3"},
		{"no plan yet", func(l *lab) { l.plan.Targets, l.report.Results = nil, nil }, "", false, "apiserver"},
		{"workload is not waited for", func(l *lab) { l.pending("sts") }, "", true, ""},
		{"one address is enough", func(l *lab) { l.pending("ecr.api", "10.0.13.40") }, "", true, ""},
		{"strict waits for every address", func(l *lab) {
			l.plan.Policy.Mode = bootstrap.ModeStrict
			l.pending("ecr.api", "10.0.13.40")
		}, "", false, "ecr.api"},
		{"observe waits for nothing", func(l *lab) {
			l.plan.Policy.Mode = bootstrap.ModeObserve
			l.pending("apiserver")
		}, "", true, "apiserver"},
		{"one address failed, the other under way", func(l *lab) {
			l.fails("ecr.api", silentStep)
			l.pending("ecr.api", "10.0.13.40")
		}, "", false, "ecr.api"},
		{"endpoint silent, neighbours answer, others under way", func(l *lab) {
			l.silent("ecr.api")
			l.pending("ec2")
		}, "NET-105", false, "ec2"},
		{"all silent but one that is under way", func(l *lab) {
			l.silent(l.all()...)
			l.pending("ec2")
		}, "", false, "apiserver ec2 ecr.api ecr.dkr s3"},
		{"endpoints silent, one under way", func(l *lab) {
			l.silent("ec2", "ecr.api", "ecr.dkr", "sts")
			l.pending("sts")
			l.fails("apiserver", silentStep, "10.0.13.21")
		}, "NET-105", false, ""},
		{"public and silent, the others under way", func(l *lab) {
			l.publicly("ec2")
			for _, n := range []string{"ecr.api", "ecr.dkr", "sts"} {
				l.pending(n)
			}
		}, "", false, "ec2 ecr.api ecr.dkr"},
		{"S3 silent, the others under way", func(l *lab) {
			l.silent("s3")
			for _, n := range []string{"ec2", "ecr.api", "ecr.dkr", "sts"} {
				l.pending(n)
			}
		}, "", false, "ec2 ecr.api ecr.dkr s3"},
		{"refused is known at once", func(l *lab) {
			l.fails("ecr.api", connect(probe.TCPRefused, 0.5, econnrefused))
			l.pending("ec2")
		}, "NET-104", false, "ec2"},
		{"NXDOMAIN, no other name known", func(l *lab) {
			l.dns(vpcDNS, probe.DNSNXDomain, "apiserver")
			for _, n := range l.all()[1:] {
				l.pending(n)
			}
		}, "", false, "apiserver ec2 ecr.api ecr.dkr s3"},
		{"NXDOMAIN, another name resolves", func(l *lab) {
			l.dns(vpcDNS, probe.DNSNXDomain, "apiserver")
			l.pending("ec2")
		}, "DNS-108", false, "ec2"},
		{"first DNS server has not answered", func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			res := l.result("apiserver")
			res.Lookups, res.Pending = res.Lookups[1:], true
			l.early()
		}, "", false, "apiserver"},
		{"first DNS server is silent elsewhere", func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			for _, n := range l.all() {
				l.dns(otherDNS, probe.DNSTimeout, n)
			}
			res := l.result("apiserver")
			res.Lookups, res.Pending = res.Lookups[1:], true
			l.early()
		}, "", true, ""},
		{"second DNS server has not answered", func(l *lab) {
			l.servers(vpcDNS, otherDNS)
			res := l.result("apiserver")
			res.Lookups, res.Pending = res.Lookups[:1], true
			l.early()
		}, "", true, ""},
		{"canceled teaches nothing", func(l *lab) {
			l.early()
			l.fails("ecr.api", connect(probe.Canceled, 10, 0))
		}, "", false, "ecr.api"},
		{"the round is over, one address unknown", func(l *lab) {
			l.silent("ecr.api")
			l.pending("ecr.api", "10.0.13.40")
			l.report.Started = l.now.Add(-7 * time.Second)
			l.silent("s3")
		}, "NET-112", false, "ecr.api"},
		{"metadata role absent", func(l *lab) {
			l.plan.Instance.RoleAbsent = true
			l.pending("ec2")
		}, "CRD-101", false, "ec2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := healthy()
			tt.spoil(l)
			v := l.judge()
			sound(t, l, v)
			if got := strings.Join(codesOf(v), " "); got != tt.codes {
				t.Errorf("findings %q, want %q\n%s", got, tt.codes, pretty(t, v))
			}
			if v.Pass != tt.pass {
				t.Errorf("pass %v", v.Pass)
			}
			if got := strings.Join(v.Pending, " "); got != tt.pending {
				t.Errorf("pending %q, want %q", got, tt.pending)
			}
		})
	}
}

// TestJudgePartialNeverLies takes knowledge back from every scenario: what is
// claimed while results are pending must be among the final causes, and a
// verdict that passes early must be one that could end well.
func TestJudgePartialNeverLies(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			whole := healthy()
			s.spoil(whole)
			final := whole.judge()
			claims := map[bootstrap.Code]bool{}
			for _, f := range final.Findings {
				claims[f.Code] = true
				for _, e := range f.Explains {
					claims[e.Code] = true
				}
			}
			r := rand.New(rand.NewPCG(1, uint64(len(s.name))))
			for range 60 {
				l := healthy()
				s.spoil(l)
				if len(l.plan.Targets) == 0 {
					return // the metadata service alone
				}
				for _, n := range l.all() {
					if r.IntN(3) > 0 {
						continue
					}
					res := l.result(n)
					switch r.IntN(4) {
					case 3:
						// The experiments have not ended.
						res.Pending, res.Compared, res.System = true, nil, nil
						res.Paths = slices.DeleteFunc(res.Paths, func(p probe.Path) bool { return p.Reference })
						for j := range res.Paths {
							res.Paths[j].Experiments = nil
						}
					case 0:
						l.pending(n)
					case 1:
						for _, p := range res.Paths {
							if r.IntN(2) == 0 {
								l.pending(n, p.Address.Addr().String())
							}
						}
					case 2:
						if len(res.Lookups) > 1 {
							gone := res.Lookups[len(res.Lookups)-1]
							res.Lookups, res.Pending = res.Lookups[:len(res.Lookups)-1], true
							res.Paths = slices.DeleteFunc(res.Paths, func(p probe.Path) bool {
								return len(p.Servers) == 1 && p.Servers[0] == gone.Server
							})
						}
					}
				}
				l.early()
				v := l.judge()
				sound(t, l, v)
				for _, f := range v.Findings {
					if !claims[f.Code] {
						t.Fatalf("claims %s early, the final causes are %v\n%s", f.Code, codesOf(final), pretty(t, l.report))
					}
				}
				if v.Pass && !final.Pass {
					t.Fatalf("passes early, the end is %v", codesOf(final))
				}
			}
		})
	}
}

// A round of many targets takes longer, and what it has not come to yet after
// the time of a small one is under way.
func TestJudgeLongRound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		after time.Duration
		ended bool // a round of fewer targets, which takes less
		codes string
	}{{7 * time.Second, false, ""}, {12 * time.Second, false, "INT-002"}, {7 * time.Second, true, "INT-002"}} {
		l := many(100, nil)
		l.pending("svc99")
		l.result("svc99").Lookups = nil
		l.report.Took, l.report.Started, l.report.Ended = 0, l.now.Add(-c.after), c.ended
		if v := l.judge(); strings.Join(codesOf(v), " ") != c.codes || v.Pass {
			t.Errorf("after %s: %v, pending %v", c.after, codesOf(v), v.Pending)
		}
	}
}
