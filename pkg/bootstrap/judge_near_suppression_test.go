package bootstrap_test

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// TestJudgeNearSuppression: which of several causes explains a symptom, and what
// is left of one that is explained in part.
func TestJudgeNearSuppression(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		spoil func(*lab)
		// findings with their targets, and behind > what they explain.
		want []string
	}{
		{"two causes of one symptom: the first code has it", func(l *lab) {
			l.plan.Targets = l.plan.Targets[:2]
			l.state.Routes = append(l.state.Routes, route("10.0.0.2/32", "", "blackhole"))
			l.dns(vpcDNS, probe.DNSUnreachable, "apiserver", "ec2")
			l.result("ec2").Lookups[0].Errno = int(syscall.EPERM)
		}, []string{"LNK-106 apiserver ec2 > DNS-104 apiserver DNS-104 ec2", "LNK-107 apiserver ec2"}},
		{"two causes of what is about no target", func(l *lab) {
			l.clocks(5*time.Minute, bootstrap.ClockState{Known: true}, metadata)
			l.report.Clock = append(l.report.Clock, probe.ClockReading{Source: timeIs, Cause: probe.ClockSilent})
		}, []string{"CLK-103 > CLK-101", "CLK-105"}},
		{"one of two targets has a cause of its own", func(l *lab) {
			inspected := handshake(probe.TLSUnknownAuthority, probe.TLSInfo{Chain: []probe.Certificate{{Issuer: "CN=Inspection"}}})
			l.fails("ecr.api", inspected)
			l.hosts("ec2", "10.0.12.99", probe.Step{})
			l.fails("ec2", inspected, "10.0.12.99")
		}, []string{"DNS-116 ec2 > TLS-102 ec2", "TLS-102 ecr.api"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for range 20 { // the order of maps differs
				l := healthy()
				tt.spoil(l)
				v := l.judge()
				sound(t, l, v)
				var got []string
				for _, f := range v.Findings {
					s := strings.Join(append([]string{strings.TrimPrefix(string(f.Code), "NP-")}, f.Targets...), " ")
					if len(f.Explains) > 0 {
						s += " >"
					}
					for _, e := range f.Explains {
						s += " " + strings.TrimSpace(strings.TrimPrefix(string(e.Code), "NP-")+" "+e.Target)
					}
					got = append(got, s)
				}
				if !slices.Equal(got, tt.want) {
					t.Fatalf("got %q, want %q\n%s", got, tt.want, pretty(t, v))
				}
			}
		})
	}
}
