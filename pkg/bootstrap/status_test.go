package bootstrap_test

import (
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

func TestStatusLine(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 4, 0, 42, 0, time.UTC)
	sg := bootstrap.Finding{Code: bootstrap.NET105, Title: "endpoint security group drops TCP 443", Targets: []string{"ecr.api"}, Blocks: true}
	ca := bootstrap.Finding{Code: bootstrap.TLS101, Title: "the configured CA is not this cluster's", Targets: []string{"apiserver"}, Blocks: true}
	dead := bootstrap.Finding{Code: bootstrap.NET107, Title: "one address is dead", Targets: []string{"ec2"}}
	opened := bootstrap.Gate{Open: true, By: bootstrap.GateNodeprep, At: now.Add(-41 * time.Second)}
	running := bootstrap.UnitResult{Unit: "kubelet.service", ActiveState: "active"}
	for _, c := range []struct {
		name string
		o    bootstrap.Outcome
		want string
	}{
		{"at first", bootstrap.Outcome{Stage: bootstrap.StageInput}, "reading metadata, user data and network state 42s"},
		{"probing", bootstrap.Outcome{Stage: bootstrap.StageProbe, Verdict: bootstrap.Verdict{Pending: []string{"ec2", "s3"}}}, "probing 42s: waiting for ec2 and s3"},
		{
			"blocked",
			bootstrap.Outcome{Stage: bootstrap.StageProbe, NextRound: now.Add(8 * time.Second), Verdict: bootstrap.Verdict{Findings: []bootstrap.Finding{sg}}},
			"blocked 42s: NP-NET-105 ecr.api: endpoint security group drops TCP 443; next try in 8s",
		},
		{
			"blocked by two",
			bootstrap.Outcome{Stage: bootstrap.StageProbe, Verdict: bootstrap.Verdict{Findings: []bootstrap.Finding{ca, sg, dead}}},
			"blocked 42s: NP-TLS-101 apiserver: the configured CA is not this cluster's (and 1 more)",
		},
		{
			"held by scripts",
			bootstrap.Outcome{Stage: bootstrap.StageScripts, Verdict: bootstrap.Verdict{Pass: true}},
			"passed; waiting for user scripts (cloud-final) 42s",
		},
		{"starting", bootstrap.Outcome{Stage: bootstrap.StageStart, Gate: opened, Verdict: bootstrap.Verdict{Pass: true}}, "starting the kubelet"},
		{
			"degraded",
			bootstrap.Outcome{Stage: bootstrap.StageDone, Gate: opened, Kubelet: running, Verdict: bootstrap.Verdict{Pass: true, Findings: []bootstrap.Finding{dead}}},
			"kubelet started after 1s; warnings: NP-NET-107 ec2",
		},
		{
			"let pass",
			bootstrap.Outcome{Stage: bootstrap.StageDone, Gate: opened, Kubelet: running, Verdict: bootstrap.Verdict{
				Pass: true, Findings: []bootstrap.Finding{{Code: bootstrap.NET105, Targets: []string{"ecr.api"}, WouldBlock: true}, dead}, Waived: []bootstrap.Finding{{Code: bootstrap.TLS101}},
			}},
			"kubelet started after 1s; would block: NP-NET-105 ecr.api; waived: NP-TLS-101; warnings: NP-NET-107 ec2",
		},
		{
			"gave up",
			bootstrap.Outcome{Stage: bootstrap.StageFailed, Exit: bootstrap.ExitGaveUp, Verdict: bootstrap.Verdict{Findings: []bootstrap.Finding{sg}}},
			"ended, kubelet not started: NP-NET-105 ecr.api: endpoint security group drops TCP 443",
		},
		{
			"checked",
			bootstrap.Outcome{Stage: bootstrap.StageDone, Verdict: bootstrap.Verdict{Findings: []bootstrap.Finding{sg}}},
			"blocked: NP-NET-105 ecr.api: endpoint security group drops TCP 443",
		},
	} {
		c.o.Started = now.Add(-42 * time.Second)
		if got := bootstrap.StatusLine(c.o, now); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}
