package bootstrap_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// lab is a recorded round in a VPC: 10.0.0.0/16, the node 10.0.12.5 in
// 10.0.12.0/24, endpoints and API server there and in 10.0.13.0/24, S3 by
// gateway endpoint, the VPC's resolver on 10.0.0.2. Tests break it.
type lab struct {
	plan    bootstrap.Plan
	report  probe.Report
	state   netcfg.State
	history bootstrap.History
	now     time.Time
}

const (
	vpcDNS   = "10.0.0.2"
	otherDNS = "10.9.0.53"
	apiHost  = "0123ABCD.gr7.us-west-2.eks.amazonaws.com"
)

// kubernetesCA is the issuer of an API server's certificate.
var kubernetesCA = probe.Certificate{
	Subject: "CN=kube-apiserver", Issuer: "CN=kubernetes", AuthorityKeyID: "0a0b0c",
	Names:     []string{apiHost, "kubernetes"},
	NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
}

// amazonCA is an AWS endpoint's certificate.
var amazonCA = probe.Certificate{
	Subject: "CN=us-west-2.amazonaws.com", Issuer: "CN=Amazon RSA 2048 M01,O=Amazon,C=US",
	NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
}

func healthy() *lab {
	l := &lab{now: time.Date(2026, 11, 23, 9, 12, 7, 0, time.UTC)}
	l.report.Started = l.now.Add(-4 * time.Second)
	l.report.Took = probe.Duration(60 * time.Millisecond)
	l.plan = bootstrap.Plan{
		Instance: bootstrap.Instance{
			ID: "i-0abc123", Region: "us-west-2", Zone: "us-west-2a", DNSSuffix: "amazonaws.com",
			LocalIPv4: netip.MustParseAddr("10.0.12.5"), VPC: prefixes("10.0.0.0/16"), Subnet: prefixes("10.0.12.0/24"), Role: "node-role",
		},
		Cluster: bootstrap.Cluster{Name: "demo", APIServer: "https://" + apiHost},
		Policy:  bootstrap.Policy{Mode: bootstrap.ModeQuorum},
	}
	l.state = netcfg.State{
		Links: []netcfg.Link{
			{Index: 1, Name: "lo", Up: true, Running: true, Loopback: true, Addresses: prefixes("127.0.0.1/8")},
			{Index: 2, Name: "eth0", Up: true, Running: true, Addresses: prefixes("10.0.12.5/24")},
		},
		Routes: []netcfg.Route{
			route("0.0.0.0/0", "10.0.12.1", "unicast"),
			route("10.0.12.0/24", "", "unicast"),
		},
		DNS: netcfg.DNS{Servers: []netip.AddrPort{dnsAddr(vpcDNS)}, File: "/run/systemd/resolve/resolv.conf", Stub: true},
	}
	l.add("apiserver", "apiserver", apiHost, bootstrap.RoleGate, "10.0.12.77", "10.0.13.21")
	l.add("ec2", "ec2", "ec2.us-west-2.amazonaws.com", bootstrap.RoleReady, "10.0.12.30", "10.0.13.30")
	l.add("ecr.api", "ecr.api", "api.ecr.us-west-2.amazonaws.com", bootstrap.RoleReady, "10.0.12.34", "10.0.13.40")
	l.add("ecr.dkr", "ecr.dkr", "602401143452.dkr.ecr.us-west-2.amazonaws.com", bootstrap.RoleReady, "10.0.12.35", "10.0.13.41")
	l.add("s3", "s3", "prod-us-west-2-starport-layer-bucket.s3.us-west-2.amazonaws.com", bootstrap.RoleReady, "52.92.1.1", "52.92.1.2")
	l.add("sts", "sts", "sts.us-west-2.amazonaws.com", bootstrap.RoleWorkload, "10.0.12.36", "10.0.13.42")
	return l
}

func (l *lab) add(name, service, host string, role bootstrap.Role, addrs ...string) {
	t := bootstrap.Target{Target: probe.Target{Name: name, Host: host, Port: 443, TLS: true}, Service: service, Role: role, Why: "it is needed"}
	switch service {
	case "apiserver":
		t.Requests = []probe.Request{{Method: "GET", Path: "/readyz"}}
	case "s3":
		t.Pool = true
	}
	l.plan.Targets = append(l.plan.Targets, t)
	l.report.Results = append(l.report.Results, probe.Result{Target: name, Host: host, Port: 443})
	for _, s := range l.state.DNS.Servers {
		l.answer(s.Addr().String(), name, addrs...)
	}
}

func prefixes(ss ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range ss {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func dnsAddr(s string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(s), 53) }

func route(dst, gw, kind string) netcfg.Route {
	r := netcfg.Route{Destination: netip.MustParsePrefix(dst), Link: 2, Table: netcfg.TableMain, Type: kind}
	if gw != "" {
		r.Gateway = netip.MustParseAddr(gw)
	}
	return r
}

func ms(n float64) probe.Duration { return probe.Duration(n * float64(time.Millisecond)) }

func (l *lab) result(target string) *probe.Result {
	for i := range l.report.Results {
		if l.report.Results[i].Target == target {
			return &l.report.Results[i]
		}
	}
	panic("no target " + target)
}

// all are the names of the plan's targets.
func (l *lab) all() []string {
	var out []string
	for _, t := range l.plan.Targets {
		out = append(out, t.Name)
	}
	return out
}

// answer makes a server answer for a target with these addresses, all healthy.
func (l *lab) answer(server, target string, addrs ...string) {
	var as []netip.Addr
	for _, a := range addrs {
		as = append(as, netip.MustParseAddr(a))
	}
	l.lookup(server, target, probe.Lookup{Addresses: as, RCode: "NOERROR", TTL: 60, Took: ms(1.2), Sent: 1})
}

// lookup replaces what a server said about a target, and the paths with it.
func (l *lab) lookup(server, target string, lk probe.Lookup) {
	lk.Server = dnsAddr(server)
	if lk.Type == "" {
		lk.Type = "A"
	}
	res := l.result(target)
	i := slices.IndexFunc(res.Lookups, func(o probe.Lookup) bool { return o.Server == lk.Server && o.Type == lk.Type })
	if i >= 0 {
		res.Lookups[i] = lk
	} else {
		res.Lookups = append(res.Lookups, lk)
	}
	res.Paths = nil
	for _, o := range res.Lookups {
		for _, a := range o.Addresses {
			ap := netip.AddrPortFrom(a, res.Port)
			if j := slices.IndexFunc(res.Paths, func(p probe.Path) bool { return p.Address == ap }); j >= 0 {
				res.Paths[j].Servers = append(res.Paths[j].Servers, o.Server)
				continue
			}
			res.Paths = append(res.Paths, probe.Path{Address: ap, Servers: []netip.AddrPort{o.Server}, Steps: healthySteps(target)})
		}
	}
	slices.SortFunc(res.Paths, func(a, b probe.Path) int { return a.Address.Compare(b.Address) })
}

func healthySteps(target string) []probe.Step {
	steps := []probe.Step{
		{Phase: probe.PhaseConnect, Took: ms(0.4)},
		{Phase: probe.PhaseTLS, Took: ms(5.2), TLS: &probe.TLSInfo{Version: "TLS 1.3"}},
	}
	if target == "apiserver" {
		steps = append(steps, probe.Step{Phase: probe.PhaseHTTP, Took: ms(3), HTTP: &probe.HTTPInfo{Method: "GET", Path: "/readyz", Status: 200, Body: "ok"}})
	}
	return steps
}

// fails makes the step the end of the target's paths, all of them or those to
// the addresses.
func (l *lab) fails(target string, step probe.Step, addrs ...string) {
	res := l.result(target)
	for i := range res.Paths {
		p := &res.Paths[i]
		if len(addrs) > 0 && !slices.Contains(addrs, p.Address.Addr().String()) {
			continue
		}
		var steps []probe.Step
		for _, s := range healthySteps(target) {
			if s.Phase == step.Phase {
				break
			}
			steps = append(steps, s)
		}
		p.Steps = append(steps, step)
	}
}

func (l *lab) silent(targets ...string) {
	for _, t := range targets {
		l.fails(t, silentStep)
	}
}

var silentStep = connect(probe.TCPTimeout, 3200, 0)

func connect(cause probe.Cause, took float64, errno int) probe.Step {
	return probe.Step{Phase: probe.PhaseConnect, Cause: cause, Took: ms(took), Errno: errno, Err: "dial tcp: " + string(cause)}
}

func handshake(cause probe.Cause, info probe.TLSInfo) probe.Step {
	return probe.Step{Phase: probe.PhaseTLS, Cause: cause, Took: ms(6), Err: "tls: " + string(cause), TLS: &info}
}

func httpAnswer(status int, contentType, body string) probe.Step {
	return probe.Step{Phase: probe.PhaseHTTP, Took: ms(2), HTTP: &probe.HTTPInfo{
		Method: "GET", Path: "/readyz", Status: status, Body: body, Header: map[string]string{"Content-Type": contentType},
	}}
}

// dns makes a server fail for the targets.
func (l *lab) dns(server string, cause probe.Cause, targets ...string) {
	for _, t := range targets {
		lk := probe.Lookup{Cause: cause, Took: ms(1), Sent: 1, Err: string(cause)}
		if cause == probe.DNSTimeout {
			lk.Took, lk.Sent = ms(3000), 4
		}
		l.lookup(server, t, lk)
	}
}

// servers configures these DNS servers; all of them answer as the first did.
func (l *lab) servers(addrs ...string) {
	l.state.DNS.Servers = nil
	for _, a := range addrs {
		l.state.DNS.Servers = append(l.state.DNS.Servers, dnsAddr(a))
	}
	for i := range l.report.Results {
		res := &l.report.Results[i]
		was := res.Lookups[0]
		res.Lookups = nil
		for _, a := range addrs {
			l.lookup(a, res.Target, was)
		}
	}
}

// publicly makes the names resolve to silent public addresses.
func (l *lab) publicly(targets ...string) {
	for i, t := range targets {
		for _, s := range l.state.DNS.Servers {
			l.answer(s.Addr().String(), t, "52.94.20."+string(rune('1'+i)))
		}
		l.silent(t)
	}
}

// metadata adds a failed reading of the metadata service, and takes the plan
// away that it would have made possible.
func (l *lab) metadata(step probe.Step) {
	l.plan.Targets, l.report.Results = nil, nil
	l.report.Results = []probe.Result{{
		Target: bootstrap.MetadataTarget, Host: "169.254.169.254", Port: 80,
		Paths: []probe.Path{{Address: netip.MustParseAddrPort("169.254.169.254:80"), Steps: []probe.Step{step}}},
	}}
}

func metadataAnswer(status int, server string) probe.Step {
	return probe.Step{Phase: probe.PhaseHTTP, Cause: probe.Other, Took: ms(1), HTTP: &probe.HTTPInfo{
		Method: "PUT", Path: "/latest/api/token", Status: status, Header: map[string]string{"Server": server},
	}}
}

func (l *lab) judge() bootstrap.Verdict {
	return bootstrap.Judge(l.plan, l.report, l.state, l.history, l.now)
}

// codesOf are the codes of findings without the project's prefix, blocking
// ones first and warnings in parentheses.
func codesOf(v bootstrap.Verdict) []string {
	var out []string
	for _, f := range v.Findings {
		c := strings.TrimPrefix(string(f.Code), "NP-")
		if !f.Blocks {
			c = "(" + c + ")"
		}
		out = append(out, c)
	}
	return out
}

// sound checks what must hold for every verdict.
func sound(t *testing.T, l *lab, v bootstrap.Verdict) {
	t.Helper()
	if l.plan.Policy.Mode != bootstrap.ModeObserve {
		if v.Pass && len(v.Blocking())+len(v.Pending) > 0 {
			t.Error("passes with blocking findings or pending targets")
		}
		if !v.Pass && len(v.Blocking())+len(v.Pending) == 0 {
			t.Error("does not pass, and says nothing about why")
		}
	}
	for _, f := range v.Findings {
		info, ok := f.Code.Info()
		if !ok {
			t.Errorf("%s has no row", f.Code)
		}
		for name, text := range map[string]string{"title": f.Title, "because": f.Because, "remedy": f.Remedy, "consequence": f.Consequence} {
			if text == "" || strings.ContainsAny(text, "{}") || strings.Contains(text, "%!") || strings.Contains(text, "none") && name == "remedy" {
				t.Errorf("%s: %s is %q", f.Code, name, text)
			}
		}
		if f.Blocks == (f.Severity == bootstrap.Warning) {
			t.Errorf("%s: blocks is %v with severity %s", f.Code, f.Blocks, f.Severity)
		}
		order := []bootstrap.Confidence{bootstrap.Proven, bootstrap.Likely, bootstrap.Possible}
		if slices.Index(order, f.Confidence) < slices.Index(order, info.Confidence) {
			t.Errorf("%s: claims %s, the table allows %s", f.Code, f.Confidence, info.Confidence)
		}
		for _, n := range f.Not {
			if _, ok := n.Code.Info(); !ok || n.Why == "" || n.Code == f.Code {
				t.Errorf("%s: bad exclusion %+v", f.Code, n)
			}
			for _, g := range v.Findings {
				if g.Code == n.Code && slices.ContainsFunc(g.Targets, func(name string) bool { return slices.Contains(f.Targets, name) }) {
					t.Errorf("%s is given and ruled out for %v", n.Code, f.Targets)
				}
			}
		}
	}
}

func addrs(ss ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range ss {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}
