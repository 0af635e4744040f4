package bootstrap_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// TestJudgeWorkloadNeverBlocks: the same failures, of targets that only some
// pods need, let the kubelet start.
func TestJudgeWorkloadNeverBlocks(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			l := healthy()
			s.spoil(l)
			blocked := l.judge()
			if len(l.plan.Targets) == 0 || slices.ContainsFunc(blocked.Blocking(), aboutTheNode) {
				return
			}
			for i := range l.plan.Targets {
				l.plan.Targets[i].Role = bootstrap.RoleWorkload
			}
			v := l.judge()
			sound(t, l, v)
			if !v.Pass || len(v.Blocking()) > 0 || len(v.Findings) < len(blocked.Blocking()) {
				t.Errorf("pass %v with %v, blocking before: %v", v.Pass, codesOf(v), codesOf(blocked))
			}
		})
	}
}

// aboutTheNode reports whether a finding is about the node itself, whatever it
// must reach.
func aboutTheNode(f bootstrap.Finding) bool {
	return f.Code.Area() == "CRD" || f.Code == bootstrap.NOD102 || f.Code == bootstrap.LNK108
}

// TestJudgeAnything throws random failures together: whatever happens, the
// verdict says why it does not pass, and no failure goes without a word.
func TestJudgeAnything(t *testing.T) {
	t.Parallel()
	causes := []probe.Cause{
		probe.TCPTimeout, probe.TCPRefused, probe.TCPHostUnreachable, probe.TCPNetUnreachable, probe.TCPProhibited, probe.TCPBlackhole,
		probe.TCPExhausted, probe.TCPReset, probe.Other, "never heard of",
		probe.TLSTimeout, probe.TLSReset, probe.TLSClosed, probe.TLSNotTLS, probe.TLSAlert, probe.TLSUnknownAuthority, probe.TLSWrongHost,
		probe.TLSExpired, probe.TLSNotYetValid, probe.TLSBadCertificate, probe.TLSError,
		probe.HTTPTimeout, probe.HTTPReset, probe.HTTPClosed, probe.HTTPMalformed,
	}
	dns := []probe.Cause{
		probe.DNSTimeout, probe.DNSPortClosed, probe.DNSUnreachable, probe.DNSNXDomain, probe.DNSNoData, probe.DNSServFail,
		probe.DNSRefused, probe.DNSOtherRCode, probe.DNSMalformed, probe.DNSNoTCP, probe.Other,
	}
	phase := func(c probe.Cause) probe.Phase {
		switch {
		case strings.HasPrefix(string(c), "tls-"):
			return probe.PhaseTLS
		case strings.HasPrefix(string(c), "http-"):
			return probe.PhaseHTTP
		}
		return probe.PhaseConnect
	}
	r := rand.New(rand.NewPCG(42, 1))
	for i := range 3000 {
		l := healthy()
		switch r.IntN(4) {
		case 0:
			l.servers(otherDNS, vpcDNS)
		case 1:
			l.servers(vpcDNS, otherDNS)
		}
		if r.IntN(5) == 0 {
			l.plan.Policy.Mode = bootstrap.ModeStrict
		}
		if r.IntN(8) == 0 {
			l.state = netcfg.State{DNS: l.state.DNS}
		}
		if r.IntN(8) == 0 {
			l.plan.Instance.VPC, l.plan.Instance.Subnet = nil, nil
		}
		for _, n := range l.all() {
			for _, s := range l.state.DNS.Servers {
				switch r.IntN(6) {
				case 0:
					l.dns(s.Addr().String(), dns[r.IntN(len(dns))], n)
				case 1:
					l.answer(s.Addr().String(), n, fmt.Sprintf("52.9.%d.%d", r.IntN(3), r.IntN(3)), fmt.Sprintf("10.0.%d.9", 12+r.IntN(3)))
				}
			}
			for _, p := range l.result(n).Paths {
				if r.IntN(3) == 0 {
					c := causes[r.IntN(len(causes))]
					l.fails(n, probe.Step{Phase: phase(c), Cause: c, Took: ms(0.5)}, p.Address.Addr().String())
				}
			}
		}
		v := l.judge()
		sound(t, l, v)
		if len(v.Pending) > 0 && !slices.ContainsFunc(l.report.Results, func(res probe.Result) bool { return res.Pending }) {
			t.Errorf("case %d: settled and still pending: %v", i, v.Pending)
		}
		named := map[string]bool{}
		for _, f := range v.Findings {
			for _, n := range f.Targets {
				named[n] = true
			}
			for _, e := range f.Explains {
				named[e.Target] = true
			}
		}
		for _, target := range l.plan.Targets {
			res := l.result(target.Name)
			if !slices.ContainsFunc(res.Paths, probe.Path.OK) && !named[target.Name] {
				t.Errorf("case %d: %s fails and no finding names it: %v", i, target.Name, codesOf(v))
			}
		}
		if t.Failed() {
			t.Log(pretty(t, l.report), pretty(t, v))
			return
		}
	}
}

func TestJudgeIsPure(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios() {
		l := healthy()
		s.spoil(l)
		before := pretty(t, l.report) + pretty(t, l.plan) + pretty(t, l.state)
		first, second := pretty(t, l.judge()), pretty(t, l.judge())
		if first != second {
			t.Errorf("%s: two verdicts on one report", s.name)
		}
		if after := pretty(t, l.report) + pretty(t, l.plan) + pretty(t, l.state); after != before {
			t.Errorf("%s: the arguments were changed", s.name)
		}
	}
}

// elsewhere are the codes that no rule of the judge gives, and who does.
var elsewhere = map[bootstrap.Code]string{
	bootstrap.CFG101: "ReadConfig", bootstrap.CFG102: "ReadConfig", bootstrap.CFG103: "ReadConfig", bootstrap.CFG104: "ReadConfig",
	bootstrap.CFG105: "ReadConfig", bootstrap.CFG106: "ReadConfig", bootstrap.CFG107: "ReadConfig", bootstrap.CFG108: "ReadConfig",
	bootstrap.CFG110: "ReadConfig", bootstrap.CFG111: "ReadConfig", bootstrap.CFG112: "NewPlan", bootstrap.CFG113: "NewPlan",
	bootstrap.CFG109: "ReadConfig", bootstrap.LNK109: "NewPlan", bootstrap.NOD104: "NewPlan", bootstrap.NOD107: "NewPlan", bootstrap.NOD108: "NewPlan",
	bootstrap.RUN102: "Run, of the kubelet's unit", bootstrap.HST101: "Run, of files and the gate", bootstrap.HST102: "Run, of this machine",
}

func TestEveryCodeIsGiven(t *testing.T) {
	t.Parallel()
	given := map[bootstrap.Code]bool{}
	for _, s := range scenarios() {
		l := healthy()
		s.spoil(l)
		for _, f := range l.judge().Findings {
			given[f.Code] = true
		}
	}
	for _, info := range bootstrap.Codes() {
		_, other := elsewhere[info.Code]
		if given[info.Code] == (other || info.Retired != "") {
			t.Errorf("%s: given by a scenario %v, listed as given elsewhere %v", info.Code, given[info.Code], other)
		}
	}
}

// many is a healthy node with n endpoints, broken by spoil.
func many(n int, spoil func(*lab, string)) *lab {
	l := healthy()
	for i := range n {
		name := fmt.Sprintf("svc%d", i)
		l.add(name, name, name+".us-west-2.amazonaws.com", bootstrap.RoleReady, fmt.Sprintf("10.0.12.%d", i%250), fmt.Sprintf("10.0.%d.%d", 13+i/250, i%250))
		if spoil != nil {
			spoil(l, name)
		}
	}
	return l
}

func BenchmarkJudge(b *testing.B) {
	for name, spoil := range map[string]func(*lab, string){
		"healthy":  nil,
		"silent":   func(l *lab, n string) { l.silent(n) },
		"public":   func(l *lab, n string) { l.publicly(n) },
		"nxdomain": func(l *lab, n string) { l.dns(vpcDNS, probe.DNSNXDomain, n) },
		"tls": func(l *lab, n string) {
			l.fails(n, handshake(probe.TLSUnknownAuthority, probe.TLSInfo{Chain: []probe.Certificate{{Issuer: "CN=Corp"}}}))
		},
	} {
		for _, n := range []int{10, 100, 1000} {
			l := many(n, spoil)
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					l.judge()
				}
			})
		}
	}
}

// TestJudgeScales: a thousand targets, all failing, are judged in a time that
// nobody notices (a few ms; the limit leaves room for a busy machine).
func TestJudgeScales(t *testing.T) {
	l := many(1000, func(l *lab, n string) { l.silent(n) })
	begin := time.Now()
	v := l.judge()
	if took := time.Since(begin); took > time.Second {
		t.Errorf("took %s", took)
	}
	if v.Pass {
		t.Error("passes")
	}
}
