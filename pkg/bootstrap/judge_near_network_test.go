package bootstrap_test

import (
	"strings"
	"testing"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// nearMiss is a case in which a rule must be silent, or say less than in the one
// beside it.
type nearMiss struct {
	name  string
	spoil func(*lab)
	codes string
	// Of the first finding, where not empty: what its evidence or remedy says, and
	// what these lack; the codes that it excludes, "-" for none.
	confidence bootstrap.Confidence
	says       string
	lacks      string
	not        string
}

func (n nearMiss) check(t *testing.T) {
	t.Helper()
	l := healthy()
	n.spoil(l)
	v := l.judge()
	sound(t, l, v)
	if got := strings.Join(codesOf(v), " "); got != n.codes {
		t.Fatalf("findings %q, want %q\n%s", got, n.codes, pretty(t, v))
	}
	if len(v.Findings) == 0 {
		return
	}
	f := v.Findings[0]
	if n.confidence != "" && f.Confidence != n.confidence {
		t.Errorf("confidence %s, want %s", f.Confidence, n.confidence)
	}
	text := f.Because + " " + f.Remedy
	if !strings.Contains(text, n.says) {
		t.Errorf("does not say %q: %s", n.says, text)
	}
	if n.lacks != "" && strings.Contains(text, n.lacks) {
		t.Errorf("says %q: %s", n.lacks, text)
	}
	var not []string
	for _, r := range f.Not {
		not = append(not, strings.TrimPrefix(string(r.Code), "NP-"))
	}
	if got := strings.Join(not, " "); n.not != "" && got != strings.Trim(n.not, "-") && (n.not != "-" || got != "") {
		t.Errorf("excludes %q, want %q", got, n.not)
	}
}

// TestJudgeNearNetwork has the nearest cases of what addresses, subnets and
// their silence decide.
func TestJudgeNearNetwork(t *testing.T) {
	t.Parallel()
	exhausted := connect(probe.TCPExhausted, 0.02, emfile)
	for _, tt := range []nearMiss{
		{name: "NET-101: EHOSTUNREACH, and the kernel has no route", spoil: func(l *lab) {
			l.fails("s3", connect(probe.TCPHostUnreachable, 0.6, ehostunreach))
			for _, a := range addrs("52.92.1.1", "52.92.1.2") {
				l.state.Destinations = append(l.state.Destinations, netcfg.Destination{Address: a})
			}
		}, codes: "NET-101"},
		{name: "NET-105: under another port", spoil: func(l *lab) {
			l.plan.Targets[2].Port = 8443
			l.silent("ecr.api")
		}, codes: "NET-105", says: "TCP 8443"},
		{name: "NET-105: the own subnet is not known", spoil: func(l *lab) {
			l.plan.Instance.Subnet = nil
			l.silent("ecr.api")
		}, codes: "NET-105", confidence: bootstrap.Likely, says: "from 10.0.12.5/32", not: "NET-106 NET-108 DNS-111"},
		{name: "NET-105: the own IPv6 subnet is not known", spoil: func(l *lab) {
			l.dualStack()
			l.plan.Instance.Subnet = l.plan.Instance.Subnet[:1]
			l.answer(vpcDNS, "ec2")
			l.lookup(vpcDNS, "ec2", probe.Lookup{Type: "A", Cause: probe.DNSNoData})
			l.silent("ec2")
		}, codes: "NET-105", says: "from this node's subnet", lacks: "10.0.12"},
		{name: "NET-105: a registry of one's own in the VPC", spoil: func(l *lab) {
			l.add("registry", "", "registry.corp.example", bootstrap.RoleReady, "10.0.12.99")
			l.silent("registry")
		}, codes: "NET-121"},
		{name: "NET-113: S3 by a name of one's own", spoil: func(l *lab) {
			l.plan.Targets[4].Host = "s3.corp.example"
			l.answer(vpcDNS, "s3", "10.0.12.50")
			l.silent("s3")
		}, codes: "NET-113"},
		{name: "NET-105: what is excluded for one of two is not excluded", spoil: func(l *lab) {
			l.plan.Targets = append(l.plan.Targets[:3:3], l.plan.Targets[5])
			for _, n := range []string{"apiserver", "sts"} {
				l.fails(n, exhausted)
			}
			l.answer(vpcDNS, "ec2", "10.0.12.30")
			l.answer(vpcDNS, "ecr.api", "10.0.13.40")
			l.silent("ec2", "ecr.api")
		}, codes: "NET-105 NET-118", confidence: bootstrap.Possible, not: "DNS-111"},
		{name: "NET-105: two alone in one subnet, said once", spoil: func(l *lab) {
			for i, n := range []string{"ec2", "ecr.api"} {
				l.answer(vpcDNS, n, "10.0.14.3"+string(rune('0'+i)))
				l.silent(n)
			}
		}, codes: "NET-105", says: "No other target answers in 10.0.14.0/24, so its network ACL is the other suspect. The 2 endpoints"},
		{name: "NET-105: alone in five subnets, four are named", spoil: func(l *lab) {
			l.add("kms", "kms", "kms.us-west-2.amazonaws.com", bootstrap.RoleReady)
			for i, n := range []string{"ec2", "ecr.api", "ecr.dkr", "sts", "kms"} {
				l.answer(vpcDNS, n, "10.0.2"+string(rune('1'+i))+".9")
				l.silent(n)
			}
			l.add("ssm", "ssm", "ssm.us-west-2.amazonaws.com", bootstrap.RoleReady, "10.0.12.80")
		}, codes: "NET-105", says: "10.0.25.0/24", lacks: "10.0.24.0/24"}, // in the order of the names
		{name: "NET-105: what the hosts file says is no neighbour", spoil: func(l *lab) {
			l.answer(vpcDNS, "ecr.api", "10.0.14.40")
			l.silent("ecr.api")
			l.hosts("ec2", "10.0.14.99", probe.Step{})
		}, codes: "NET-105 (DNS-116)", confidence: bootstrap.Possible, says: "No other target answers in 10.0.14.0/24"},
		{name: "NET-108: endpoints alone were asked", spoil: func(l *lab) {
			l.plan.Targets = l.plan.Targets[1:3]
			l.silent("ec2", "ecr.api")
		}, codes: "NET-108", not: "NET-106 NET-109"},
		{name: "NET-108: an endpoint and the API server", spoil: func(l *lab) {
			l.plan.Targets = l.plan.Targets[:2]
			l.silent("apiserver", "ec2")
		}, codes: "NET-108", not: "NET-106 NET-109 NET-120"},
		{name: "NET-109: another public address answers", spoil: func(l *lab) {
			l.publicly("ec2", "ecr.api", "ecr.dkr", "sts")
			l.add("registry", "", "registry.corp.example", bootstrap.RoleReady, "52.30.1.1")
		}, codes: "NET-121"},
		{name: "NET-109: names of a DNS server outside the VPC", spoil: func(l *lab) {
			l.servers(otherDNS)
			l.publicly("ec2", "ecr.api", "ecr.dkr", "sts")
		}, codes: "NET-109", confidence: bootstrap.Possible, says: "dig +short ec2.us-west-2.amazonaws.com @10.0.0.2"},
		{name: "NET-114: alone, in the node's own subnet", spoil: func(l *lab) {
			l.answer(vpcDNS, "apiserver", "10.0.12.77")
			l.silent("apiserver")
			for _, n := range []string{"ec2", "ecr.api", "ecr.dkr", "sts"} {
				l.answer(vpcDNS, n, "10.0.13.3"+string(rune('0'+len(n))))
			}
		}, codes: "NET-114", lacks: "network ACL of", not: "NET-106 NET-108"},
		{name: "NET-114: alone, in another subnet", spoil: func(l *lab) {
			l.answer(vpcDNS, "apiserver", "10.0.14.77")
			l.silent("apiserver")
		}, codes: "NET-114", says: "network ACL of 10.0.14.0/24", not: "NET-108"},
		{name: "NET-114: private and public addresses", spoil: func(l *lab) {
			l.answer(vpcDNS, "apiserver", "10.0.12.77", "52.94.20.1")
			l.silent("apiserver")
		}, codes: "NET-121"},
		{name: "IMD-108: the link has an IPv4 address", spoil: func(l *lab) {
			l.state.Links[1].Addresses = prefixes("10.0.12.5/24", "2600:1f14:1::5/64")
			l.metadataByIPv6()
		}, codes: "LNK-104"},
		{name: "IMD-108: no answer over IPv6", spoil: func(l *lab) {
			l.state.Links[1].Addresses = prefixes("2600:1f14:1::5/64")
			l.metadataByIPv6()
			l.report.Results[0].Paths[1].Steps = []probe.Step{connect(probe.TCPTimeout, 1000, 0)}
		}, codes: "IMD-108"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.check(t)
		})
	}
}
