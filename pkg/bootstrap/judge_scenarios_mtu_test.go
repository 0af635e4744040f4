package bootstrap_test

import (
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// jumbo is the interface of an EC2 instance.
func (l *lab) jumbo() { l.state.Links[1].MTU = 9001 }

// mtuScenarios are handshakes without an answer, told apart by experiments.
func mtuScenarios() []scenario {
	const no = probe.TLSTimeout
	reset := handshake(probe.TLSReset, probe.TLSInfo{})
	elsewhere := []string{"10.50.1.4", "10.50.2.4"}
	return []scenario{
		{"large packets out are lost", "MTU-101", 16, func(l *lab) {
			l.jumbo()
			l.answer(vpcDNS, "ecr.api", elsewhere...)
			l.stalls("ecr.api", stalled(1), tries("", "", no)...)
		}, []string{"10.50.1.4", "eth0", "9001", "1500", "tcp_mtu_probing", "ICMP type 3 code 4"}},
		{"large packets in are lost", "MTU-102", 16, func(l *lab) {
			l.jumbo()
			l.answer(vpcDNS, "ecr.api", elsewhere...)
			l.stalls("ecr.api", stalled(0), tries("", no, no)...)
		}, []string{"10.50.1.4", "eth0", "9001", "1500"}},
		{"large packets are lost both ways", "MTU-102", 16, func(l *lab) {
			l.jumbo()
			l.stalls("ecr.api", stalled(1), tries("", no, no)...)
		}, nil},
		{"large packets to three endpoints of one way are lost", "MTU-101", 16, func(l *lab) {
			l.jumbo()
			for i, t := range []string{"ec2", "ecr.api", "ecr.dkr"} {
				l.answer(vpcDNS, t, "10.50.1."+string(rune('4'+i)), "10.50.2."+string(rune('4'+i)), "10.50.3."+string(rune('4'+i)))
				l.stalls(t, stalled(1), tries("", "", no)...)
			}
			l.result("ecr.dkr").Paths[0].Experiments, l.result("ecr.dkr").Paths[1].Experiments = nil, nil
		}, []string{"10.50.1.4"}},
		{"large packets to public addresses and to the VPC are lost", "MTU-101 MTU-101", 16, func(l *lab) {
			l.jumbo()
			l.stalls("ecr.api", stalled(1), tries("", "", no)...)
			l.stalls("s3", stalled(1), tries("", "", no)...)
		}, nil},
		{"large packets over IPv6 are lost", "MTU-101", 16, func(l *lab) {
			l.jumbo()
			l.dualStack()
			l.plan.Targets[0].Pool = true
			l.lookup(vpcDNS, "ec2", probe.Lookup{Cause: probe.DNSNoData})
			l.stalls("ec2", stalled(1), tries("", "", no)...)
		}, []string{"2600:1f14::e", "packet too big"}},
		{"large packets are lost in a tunnel", "MTU-101", 16, func(l *lab) {
			l.state.Links[1].MTU = 1500
			l.state.Destinations = []netcfg.Destination{{Address: addrs("10.0.12.34")[0], Type: "unicast", Link: "eth0"}}
			l.stalls("ecr.api", stalled(2), tries("", "", no)...)
		}, []string{"1300", "1500 now"}},
		{"large hello not understood", "TLS-112", 17, func(l *lab) {
			l.stalls("ecr.api", stalled(0), tries(no, "", no)...)
		}, []string{"GODEBUG=tlsmlkem=0", "10.0.12.34", "api.ecr"}},
		{"large hello is reset", "TLS-112", 17, func(l *lab) {
			l.stalls("ecr.api", reset, trial(probe.KindSmallHello, ""), trial(probe.KindSecondSNI, probe.TLSReset))
		}, []string{"GODEBUG=tlsmlkem=0"}},
		{"small hello passes, clamp not tried", "MTU-101", 16, func(l *lab) {
			l.stalls("ecr.api", stalled(1), trial(probe.KindSmallHello, ""))
		}, []string{"NP-TLS-112"}},
		{"small hello passes, clamp not tried, hello acknowledged", "TLS-112", 17, func(l *lab) {
			l.stalls("ecr.api", stalled(0), trial(probe.KindSmallHello, ""))
		}, nil},
		{"clamp passes, small hello not tried", "MTU-101", 16, func(l *lab) {
			l.stalls("ecr.api", stalled(1), trial(probe.KindMSSClamp, ""))
		}, nil},
		{"clamp passes, small hello not tried, hello acknowledged", "MTU-102", 16, func(l *lab) {
			l.stalls("ecr.api", stalled(0), trial(probe.KindMSSClamp, ""))
		}, nil},
		{"clamp passes, nothing else is known", "MTU-101", 16, func(l *lab) {
			l.stalls("ecr.api", stalled(-1), trial(probe.KindMSSClamp, ""))
		}, nil},
		{"server stalled", "TLS-109", 17, func(l *lab) {
			l.stalls("ecr.api", stalled(0), tries(no, no, no)...)
		}, []string{"api.ecr", "10.0.12.34", "overloaded"}},
		{"server stalled, no other name known", "TLS-109", 17, func(l *lab) {
			l.stalls("ecr.api", stalled(0), tries(no, no, no)[:2]...)
		}, []string{"filters by server name"}},
		{"experiments not over", "TLS-109", 17, func(l *lab) {
			e := probe.Experiment{Kind: probe.KindMSSClamp, Pending: true}
			l.stalls("ecr.api", stalled(0), e)
		}, []string{"ICMP type 3 code 4"}},
		{"experiments that could not connect", "TLS-109", 17, func(l *lab) {
			lost := trial(probe.KindMSSClamp, "")
			lost.Steps = []probe.Step{connect(probe.TCPTimeout, 1200, 0)}
			l.stalls("ecr.api", stalled(1), lost)
		}, nil},
		{"one name is dropped", "TLS-106", 17, func(l *lab) {
			l.stalls("ecr.api", stalled(1), tries(no, no, "")...)
		}, []string{"api.ecr.us-west-2.amazonaws.com", "10.0.12.34", "drops"}},
		{"two names are dropped", "TLS-106", 17, func(l *lab) {
			l.stalls("ecr.api", stalled(1), tries(no, no, "")...)
			l.stalls("ec2", stalled(1), tries(no, no, "")...)
		}, []string{"ec2.us-west-2.amazonaws.com", "api.ecr.us-west-2.amazonaws.com"}},
		{"one name is dropped unless it is split", "TLS-106", 17, func(l *lab) {
			l.stalls("ecr.api", stalled(1), tries("", no, "")...)
		}, []string{"api.ecr.us-west-2.amazonaws.com"}},
		{"one name is cut", "TLS-106", 17, func(l *lab) {
			l.stalls("ecr.api", reset, trial(probe.KindSmallHello, probe.TLSReset), trial(probe.KindSecondSNI, ""))
		}, []string{"api.ecr.us-west-2.amazonaws.com", "DNS record"}},
		{"large answers are lost, another name has a small one", "MTU-102", 16, func(l *lab) {
			l.jumbo()
			l.stalls("ecr.api", stalled(0), tries("", no, "")...)
		}, nil},
		{"every name is cut", "TLS-108", 17, func(l *lab) {
			l.stalls("ecr.api", reset, trial(probe.KindSmallHello, probe.TLSReset), trial(probe.KindSecondSNI, probe.TLSReset))
		}, []string{"api.ecr.us-west-2.amazonaws.com"}},
		{"a workload's large packets are lost", "(MTU-101)", 0, func(l *lab) {
			l.jumbo()
			l.stalls("sts", stalled(1), tries("", "", no)...)
		}, nil},
	}
}
