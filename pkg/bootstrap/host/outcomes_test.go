package host_test

import (
	"net/netip"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

var began = time.Date(2026, 7, 30, 9, 12, 1, 0, time.UTC)

// outcome is a run that has begun to probe, changed by each of edits.
func outcome(edits ...func(*bootstrap.Outcome)) bootstrap.Outcome {
	o := bootstrap.Outcome{
		Schema: bootstrap.Schema, Version: "0.1.0", RunID: "5f0c1d2e3a4b", BootID: "boot",
		Started: began, Updated: began.Add(41 * time.Second),
		Stage: bootstrap.StageProbe, Round: 3, Status: "probing 41s",
		Plan: bootstrap.Plan{Instance: bootstrap.Instance{ID: "i-0abc1234def567890", Zone: "us-west-2a"}},
	}
	for _, e := range edits {
		e(&o)
	}
	return o
}

func addrs(s ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func securityGroup() bootstrap.Finding {
	return bootstrap.Finding{
		Code: "NP-NET-105", Title: "the endpoint's security group drops TCP 443",
		Severity: bootstrap.Retryable, Confidence: bootstrap.Likely, Blocks: true,
		Targets: []string{"ecr.api"}, Hosts: []string{"api.ecr.us-west-2.amazonaws.com"},
		Addresses:   addrs("10.0.12.34", "10.0.13.40", "10.0.14.9"),
		Because:     "3 of 3 addresses are silent; 6 of other endpoints in the same subnets answered",
		Remedy:      "Allow inbound TCP 443 from 10.0.12.0/22 in the security group of the endpoint api.ecr.us-west-2.amazonaws.com.",
		Consequence: "Image pulls fail; the node would stay NotReady.",
	}
}

func deadServer() bootstrap.Finding {
	return bootstrap.Finding{
		Code: "NP-DNS-119", Title: "a DNS server never answers",
		Severity: bootstrap.Warning, Confidence: bootstrap.Proven, Addresses: addrs("10.9.0.53"),
		Because: "10.9.0.53 answered 0 of 11 questions, 10.0.0.2 all", Remedy: "Remove 10.9.0.53 from the DHCP options set.",
		Consequence: "Each lookup may wait 5 s for it.",
	}
}

func publicPool() bootstrap.Finding {
	return bootstrap.Finding{
		Code: "NP-NET-112", Title: "the S3 gateway is missing from the subnet's route table",
		Severity: bootstrap.Retryable, Confidence: bootstrap.Likely, Blocks: true, Targets: []string{"s3"},
		Addresses: addrs("52.218.1.1", "52.218.1.2"), Because: "public addresses are silent",
		Remedy: "Add the gateway.", Consequence: "Image layers cannot be pulled.",
	}
}

func missingCA() bootstrap.Finding {
	return bootstrap.Finding{
		Code: "NP-CFG-103", Title: "a required field is missing", Severity: bootstrap.Fatal, Confidence: bootstrap.Proven, Blocks: true,
		Because: "spec.cluster.certificateAuthority is empty", Remedy: "Set spec.cluster.certificateAuthority in user data part 2.",
		Consequence: "The kubelet has no cluster to join.",
		Problem: &bootstrap.Problem{
			Code: "NP-CFG-103", Origin: "user data part 2, line 7", Path: "spec.cluster.certificateAuthority", Message: "is empty", Remedy: "Set it.",
		},
	}
}

func crashLoop() bootstrap.Finding {
	return bootstrap.Finding{
		Code: "NP-RUN-102", Title: "the kubelet does not stay up", Severity: bootstrap.Retryable, Confidence: bootstrap.Proven,
		Targets: []string{"kubelet.service"}, Because: "kubelet.service: state activating/auto-restart, result exit-code, exit status 1, restarts 3",
		Remedy: "Read the last lines of journalctl -u kubelet.", Consequence: "The node does not join.",
	}
}

func findings(fs ...bootstrap.Finding) func(*bootstrap.Outcome) {
	return func(o *bootstrap.Outcome) {
		o.Verdict = bootstrap.Verdict{Findings: fs}
		for _, f := range fs {
			if f.Blocks {
				return
			}
		}
		o.Verdict.Pass = true
	}
}

func edit(f bootstrap.Finding, with func(*bootstrap.Finding)) bootstrap.Finding {
	with(&f)
	return f
}

func stage(s bootstrap.Stage) func(*bootstrap.Outcome) {
	return func(o *bootstrap.Outcome) { o.Stage = s }
}

func opened(by string) func(*bootstrap.Outcome) {
	return func(o *bootstrap.Outcome) { o.Gate = bootstrap.Gate{Open: true, By: by, At: o.Updated} }
}

func ended(exit int) func(*bootstrap.Outcome) {
	return func(o *bootstrap.Outcome) { o.Stage, o.Exit = bootstrap.StageFailed, exit }
}

func measured(o *bootstrap.Outcome) {
	path := func(addr string, cause probe.Cause) probe.Path {
		return probe.Path{
			Address: netip.MustParseAddrPort(addr + ":443"),
			Steps:   []probe.Step{{Phase: probe.PhaseConnect, Cause: cause}},
		}
	}
	o.Report.Results = []probe.Result{
		{Target: "apiserver", Paths: []probe.Path{path("10.0.12.77", ""), path("10.0.13.21", "")}},
		{Target: "ec2", Paths: []probe.Path{path("10.0.12.8", ""), path("10.0.13.8", probe.TCPTimeout)}},
		{Target: "ecr.api", Paths: []probe.Path{path("10.0.12.34", probe.TCPTimeout)}},
		{Target: "s3"},
	}
}
