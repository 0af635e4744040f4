package bootstrap_test

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

const (
	proxyHost = "proxy.corp.example"
	proxyURL  = "http://agent:s3cret@" + proxyHost + ":3128"
	metadata  = "metadata"
	timeIs    = "ntp 169.254.169.123"
)

// stalled is a handshake that gets no answer; unacked counts the segments of the
// ClientHello that the peer did not acknowledge, -1 for no TCP_INFO.
func stalled(unacked int) probe.Step {
	s := probe.Step{Phase: probe.PhaseTLS, Cause: probe.TLSTimeout, Took: ms(1500), Err: "i/o timeout"}
	if unacked >= 0 {
		s.TCP = &probe.TCPInfo{RTT: ms(0.6), Unacked: unacked, BytesAcked: 1, SndMSS: 8949, PathMTU: 9001}
		if unacked > 0 {
			s.TCP.Retransmits = 3
		} else {
			s.TCP.BytesAcked = 1501
		}
	}
	return s
}

// trial is an experiment that ended with the cause, empty for one that passed.
func trial(kind probe.Kind, cause probe.Cause) probe.Experiment {
	e := probe.Experiment{Kind: kind, Steps: []probe.Step{{Phase: probe.PhaseConnect, Took: ms(0.4)}, {Phase: probe.PhaseTLS, Took: ms(3), Cause: cause}}}
	if kind == probe.KindSecondSNI {
		e.Name = "sts.us-west-2.amazonaws.com"
	}
	return e
}

// tries are the three experiments on a stalled handshake.
func tries(clamp, small, second probe.Cause) []probe.Experiment {
	return []probe.Experiment{trial(probe.KindMSSClamp, clamp), trial(probe.KindSmallHello, small), trial(probe.KindSecondSNI, second)}
}

// stalls makes the handshakes of a target stall and gives its first addresses, two at
// most as in a round, these experiments.
func (l *lab) stalls(target string, step probe.Step, made ...probe.Experiment) {
	l.fails(target, step)
	for i := range l.result(target).Paths {
		if i < 2 {
			l.result(target).Paths[i].Experiments = slices.Clone(made)
		}
	}
}

// clocks sets what is known of the time: by how much this machine is behind, and
// what systemd-timedated says.
func (l *lab) clocks(behind time.Duration, state bootstrap.ClockState, sources ...string) {
	l.now = l.now.Add(-behind)
	l.report.Started = l.report.Started.Add(-behind)
	for _, s := range sources {
		r := probe.ClockReading{Source: s, Offset: probe.Duration(behind), Within: ms(1000)}
		if s != metadata {
			r.Within = ms(0.5)
		}
		l.report.Clock = append(l.report.Clock, r)
	}
	l.plan.Clock = state
}

// rejected by its dates, and verified again by a source with this cause.
func (l *lab) redated(cause probe.Cause, cert probe.Certificate, source string, again probe.Cause) probe.Step {
	s := handshake(cause, probe.TLSInfo{Chain: []probe.Certificate{cert}})
	for _, r := range l.report.Clock {
		if r.Source == source {
			s.TLS.Reverified = &probe.Reverified{Source: source, Time: l.now.Add(time.Duration(r.Offset)), Cause: again}
		}
	}
	return s
}

// valid is a certificate of the kind with other dates.
func valid(cert probe.Certificate, from, to time.Time) probe.Certificate {
	cert.NotBefore, cert.NotAfter = from, to
	return cert
}

// proxied puts targets of a consumer behind the proxy, which answers on two
// addresses in the VPC and lets everything through.
func (l *lab) proxied(c bootstrap.Consumer, targets ...string) {
	for _, name := range targets {
		for i := range l.plan.Targets {
			if l.plan.Targets[i].Name == name {
				l.plan.Targets[i].Proxy, l.plan.Targets[i].Consumer = proxyURL, c
			}
		}
		for _, s := range l.state.DNS.Servers {
			l.answer(s.Addr().String(), name, "10.0.12.200", "10.0.13.200")
		}
		l.via(name, probe.Step{Phase: probe.PhaseProxy, Took: ms(2), HTTP: connectAnswer(name, 200)})
		for i := range l.result(name).Paths {
			p := &l.result(name).Paths[i]
			p.Address = netip.AddrPortFrom(p.Address.Addr(), 3128)
			p.Steps = append(p.Steps, healthySteps(name)[1:]...)
		}
	}
	if l.plan.Environments == nil {
		l.plan.Environments = map[bootstrap.Consumer]bootstrap.Environment{bootstrap.ConsumerAgent: {Unit: "nodeprep.service"}}
		for _, c := range []bootstrap.Consumer{bootstrap.ConsumerKubelet, bootstrap.ConsumerContainerd} {
			l.plan.Environments[c] = bootstrap.Environment{HTTPSProxy: proxyURL, NoProxy: "localhost,.svc,169.254.169.254", Unit: string(c) + ".service"}
		}
	}
}

func connectAnswer(host string, status int) *probe.HTTPInfo {
	return &probe.HTTPInfo{Method: "CONNECT", Path: host + ":443", Status: status, Header: map[string]string{"Server": "squid/6.6"}}
}

// via makes the step the end of all paths of a proxied target.
func (l *lab) via(target string, step probe.Step) {
	for i := range l.result(target).Paths {
		p := &l.result(target).Paths[i]
		p.Steps = nil
		if step.Phase != probe.PhaseConnect {
			p.Steps = append(p.Steps, probe.Step{Phase: probe.PhaseConnect, Took: ms(0.4)})
		}
		if step.Phase != probe.PhaseConnect && step.Phase != probe.PhaseProxy {
			p.Steps = append(p.Steps, probe.Step{Phase: probe.PhaseProxy, Took: ms(2), HTTP: connectAnswer(target, 200)})
		}
		p.Steps = append(p.Steps, step)
	}
}

func refusedBy(target string, status int) probe.Step {
	return probe.Step{Phase: probe.PhaseProxy, Took: ms(2), Cause: probe.ProxyStatus, Err: "the proxy refuses: status " + strconv.Itoa(status), HTTP: connectAnswer(target, status)}
}

// directly is what a target does without its proxy: it passes, or fails by the step.
func (l *lab) directly(target string, step *probe.Step, addresses ...string) {
	res := l.result(target)
	res.Direct = &probe.Result{Target: target, Host: res.Host, Port: 443, Lookups: []probe.Lookup{{Server: dnsAddr(vpcDNS), Type: "A", Addresses: addrs(addresses...)}}}
	for _, a := range addrs(addresses...) {
		p := probe.Path{Address: netip.AddrPortFrom(a, 443), Steps: healthySteps(target)}
		if step != nil {
			p.Steps = []probe.Step{*step}
		}
		res.Direct.Paths = append(res.Direct.Paths, p)
	}
}

// environment changes the environment of a consumer.
func (l *lab) environment(c bootstrap.Consumer, change func(*bootstrap.Environment)) {
	e := l.plan.Environments[c]
	change(&e)
	l.plan.Environments[c] = e
}
