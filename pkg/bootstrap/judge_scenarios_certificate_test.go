package bootstrap_test

import (
	"slices"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// amazonRoot is the key of the root that the plan of these scenarios expects.
const amazonRoot = "fbe3018031f9586bcbf41727e417b7d1c45c2f47f93be372a17b96b50757d5a2"

// trusts makes the handshake of targets pass with an issuer and a root.
func (l *lab) trusts(issuer, root, key string, targets ...string) {
	l.plan.Policy.Anchors = []string{amazonRoot}
	for _, t := range targets {
		for i := range l.result(t).Paths {
			l.result(t).Paths[i].Steps[1].TLS = &probe.TLSInfo{
				Version: "TLS 1.3", Chain: []probe.Certificate{{Subject: "CN=" + l.result(t).Host, Issuer: issuer}}, Anchors: []probe.Anchor{{Subject: root, KeySHA256: key}},
			}
		}
	}
}

// forPods makes targets those of pods.
func (l *lab) forPods(targets ...string) {
	for i := range l.plan.Targets {
		if slices.Contains(targets, l.plan.Targets[i].Name) {
			l.plan.Targets[i].Consumer = bootstrap.ConsumerPods
		}
	}
}

// certificateScenarios are certificates of others.
func certificateScenarios() []scenario {
	shows := func(cause probe.Cause, c probe.Certificate) probe.Step {
		return handshake(cause, probe.TLSInfo{Chain: []probe.Certificate{c}})
	}
	fortinet := probe.Certificate{Subject: "CN=x", Issuer: "CN=FG100F,O=Fortinet,C=US"}
	return []scenario{
		{
			"one service intercepted by a product", "TLS-102", 17, func(l *lab) { l.fails("ec2", shows(probe.TLSUnknownAuthority, fortinet)) },
			[]string{"Fortinet FortiGate (CN=FG100F,O=Fortinet,C=US)", "ec2.us-west-2", "10.0.12.30", "NP-TLS-113"},
		},
		{"a product's page that blocks", "TLS-102", 17, func(l *lab) {
			page := fortinet
			page.Names = []string{"blocked.corp.example"}
			l.fails("ec2", shows(probe.TLSWrongHost, page))
		}, []string{"Fortinet"}},
		{"own registry with an own CA", "TLS-102", 17, func(l *lab) {
			l.add("registry", "", "registry.corp.example", bootstrap.RoleReady, "10.0.12.99")
			l.fails("registry", shows(probe.TLSUnknownAuthority, probe.Certificate{Subject: "CN=registry.corp.example", Issuer: "CN=Corp CA"}))
		}, []string{"Install the CA of registry.corp.example (CN=Corp CA)"}},
		{"another cluster's API server", "TLS-103", 17, func(l *lab) {
			other := kubernetesCA
			other.Names = []string{"FFFF.gr7.us-west-2.eks.amazonaws.com", "kubernetes"}
			l.fails("apiserver", shows(probe.TLSWrongHost, other))
		}, []string{"another cluster's API server", "FFFF.gr7"}},
		{"interception that this machine trusts", "TLS-113", 17, func(l *lab) {
			l.trusts("CN=Inspection,O=Corp", "CN=Corp Root", "aa", "ec2", "ecr.api", "ecr.dkr", "s3", "sts")
			l.forPods("ec2", "sts")
		}, []string{"Inspection", "ec2.us-west-2", "aws-node"}},
		{"interception that this machine trusts, no pod needs it", "(TLS-113)", 0, func(l *lab) {
			l.trusts("CN=Zscaler Intermediate Root CA,O=Zscaler Inc.", "CN=Zscaler Root CA", "aa", "ecr.api")
		}, []string{"Zscaler"}},
		{"interception that this machine trusts, of a workload", "(TLS-113)", 0, func(l *lab) {
			l.trusts("CN=Inspection,O=Corp", "CN=Corp Root", "aa", "sts")
			l.forPods("sts")
		}, nil},
		{"two interceptions that this machine trusts", "TLS-113 (TLS-113)", 17, func(l *lab) {
			l.trusts("CN=A,O=Corp", "CN=Corp Root", "aa", "ec2")
			l.trusts("CN=B,O=Corp", "CN=Corp Root", "aa", "ecr.api")
			l.forPods("ec2")
		}, nil},
		{"roots of AWS", "", 0, func(l *lab) {
			l.trusts("CN=Amazon RSA 2048 M01,O=Amazon,C=US", "CN=Amazon Root CA 1,O=Amazon,C=US", amazonRoot, "ec2", "ecr.api", "ecr.dkr", "s3", "sts")
			l.forPods("ec2")
		}, nil},
		{"roots that AWS may use one day", "", 0, func(l *lab) {
			l.trusts("CN=Amazon RSA 2099 M01,O=Amazon,C=US", "CN=Amazon Root CA 9", "bb", "ec2")
			l.trusts("CN=DigiCert TLS RSA SHA256 2020 CA1,O=DigiCert Inc,C=US", "CN=DigiCert Global Root CA,OU=www.digicert.com,O=DigiCert Inc,C=US", "cc", "ecr.api")
			l.forPods("ec2", "ecr.api")
		}, nil},
		{"roots are not known for this partition", "", 0, func(l *lab) {
			l.trusts("CN=Inspection,O=Corp", "CN=Corp Root", "aa", "ec2")
			l.plan.Policy.Anchors = nil
			l.forPods("ec2")
		}, nil},
		{"own registry with a trusted own CA", "", 0, func(l *lab) {
			l.add("registry", "", "registry.corp.example", bootstrap.RoleReady, "10.0.12.99")
			l.trusts("CN=Inspection,O=Corp", "CN=Corp Root", "aa", "registry")
			l.forPods("registry")
		}, nil},
	}
}
