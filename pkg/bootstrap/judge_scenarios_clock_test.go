package bootstrap_test

import (
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// clockScenarios are wrong clocks, and what looks like one.
func clockScenarios() []scenario {
	synced := bootstrap.ClockState{Known: true, Synchronized: true, Service: true}
	unset := bootstrap.ClockState{Known: true, Service: true}
	noService := bootstrap.ClockState{Known: true}
	day := 24 * time.Hour
	real := healthy().now // what a right clock says
	fresh := valid(kubernetesCA, real.Add(-time.Hour), real.Add(90*day))
	ending := valid(amazonCA, real.Add(-90*day), real.Add(day))
	past := valid(amazonCA, real.Add(-90*day), real.Add(-10*day))
	return []scenario{
		{"clock 3 h behind", "CLK-104", 14, func(l *lab) {
			l.clocks(3*time.Hour, noService, metadata, timeIs)
			l.fails("apiserver", l.redated(probe.TLSNotYetValid, fresh, metadata, ""))
		}, []string{"3 h behind", "169.254.169.123", "timedatectl set-ntp true"}},
		{"clock 2 days ahead", "CLK-104", 14, func(l *lab) {
			l.clocks(-2*day, synced, metadata)
			for _, t := range []string{"ec2", "ecr.api", "ecr.dkr", "s3", "sts"} {
				l.fails(t, l.redated(probe.TLSExpired, ending, metadata, ""))
			}
		}, []string{"2 d ahead", "chronyc"}},
		{"clock so far off that the CA is not valid", "CLK-104", 14, func(l *lab) {
			l.clocks(3000*day, unset, metadata)
			l.fails("apiserver", l.redated(probe.TLSUnknownAuthority, fresh, metadata, ""))
		}, []string{"3000 d behind"}},
		{"clock off, time server silent", "CLK-104", 14, func(l *lab) {
			l.clocks(3*time.Hour, unset, metadata)
			l.report.Clock = append(l.report.Clock, probe.ClockReading{Source: timeIs, Cause: probe.ClockSilent})
			l.fails("apiserver", l.redated(probe.TLSNotYetValid, fresh, metadata, ""))
		}, []string{"UDP 123", "169.254.169.123"}},
		{"clock off, source not in the report", "CLK-104", 14, func(l *lab) {
			l.clocks(3*time.Hour, bootstrap.ClockState{}, metadata)
			l.fails("apiserver", l.redated(probe.TLSNotYetValid, fresh, metadata, ""))
			l.report.Clock = nil
		}, []string{"3 h behind"}},
		{"clock off, and a workload's certificate fails", "(CLK-104)", 0, func(l *lab) {
			l.clocks(3*time.Hour, unset, metadata)
			l.fails("sts", l.redated(probe.TLSNotYetValid, fresh, metadata, ""))
		}, nil},
		{"clock off and nothing fails by it", "(CLK-103)", 0, func(l *lab) { l.clocks(5*time.Minute, unset, metadata) }, []string{"5 min behind"}},
		{"clock off by two minutes", "(CLK-102)", 0, func(l *lab) { l.clocks(-2*time.Minute, synced, metadata, timeIs) }, []string{"2 min ahead"}},
		{"clock off by exactly a minute", "", 0, func(l *lab) { l.clocks(time.Minute, synced, metadata) }, nil},
		{"clocks that disagree", "(CLK-102)", 0, func(l *lab) {
			l.clocks(3*time.Hour, synced, timeIs)
			l.report.Clock = append(l.report.Clock, probe.ClockReading{Source: metadata, Offset: probe.Duration(-90 * time.Second), Within: ms(1000)})
		}, []string{"1 min 30 s ahead"}},
		{"clock off and the CA is wrong", "TLS-101 (CLK-103)", 17, func(l *lab) {
			l.clocks(3*time.Hour, unset, metadata)
			l.fails("apiserver", l.redated(probe.TLSNotYetValid, fresh, metadata, probe.TLSUnknownAuthority))
		}, []string{"demo"}},
		{"clock off and the name is wrong", "TLS-103 (CLK-102)", 17, func(l *lab) {
			l.clocks(2*time.Minute, unset, metadata)
			wiki := valid(probe.Certificate{Subject: "CN=wiki.corp.example", Names: []string{"wiki.corp.example"}}, real.Add(-time.Minute), real.Add(day))
			l.fails("ec2", l.redated(probe.TLSNotYetValid, wiki, metadata, probe.TLSWrongHost))
		}, []string{"wiki.corp.example"}},
		{"clock off and the certificate expired", "TLS-104 (CLK-103)", 17, func(l *lab) {
			l.clocks(-2*day, unset, metadata)
			l.fails("ec2", l.redated(probe.TLSExpired, past, metadata, probe.TLSExpired))
		}, []string{"ec2.us-west-2", "2026-11-13"}},
		{"certificate expired, clock right", "TLS-104", 17, func(l *lab) {
			l.clocks(0, synced, metadata)
			l.fails("ec2", l.redated(probe.TLSExpired, past, metadata, probe.TLSExpired))
		}, []string{"ec2.us-west-2", "2026-11-13", "Renew"}},
		{"certificate not valid yet, clock right", "TLS-104", 17, func(l *lab) {
			l.clocks(0, synced, metadata)
			l.fails("ec2", l.redated(probe.TLSNotYetValid, valid(amazonCA, real.Add(day), real.Add(90*day)), metadata, probe.TLSNotYetValid))
		}, []string{"2026-11-24", "Replace"}},
		{"certificate expired here, another by the clock", "CLK-104 TLS-104", 30, func(l *lab) {
			l.clocks(-2*day, unset, metadata)
			l.fails("ec2", l.redated(probe.TLSExpired, past, metadata, probe.TLSExpired))
			l.fails("ecr.api", l.redated(probe.TLSExpired, ending, metadata, ""))
		}, nil},
		{"no time service", "(CLK-101)", 0, func(l *lab) { l.clocks(0, noService, metadata) }, []string{"timedatectl set-ntp true"}},
		{"clock not synchronised, no other known", "(CLK-101)", 0, func(l *lab) { l.plan.Clock = unset }, []string{"chronyc sources"}},
		{"clock not synchronised yet, and right", "", 0, func(l *lab) { l.clocks(0, unset, metadata) }, nil},
		{"clock unknown to timedated", "", 0, func(l *lab) { l.clocks(0, bootstrap.ClockState{}, metadata) }, nil},
		{"time server silent", "(CLK-105)", 0, func(l *lab) {
			l.clocks(0, noService, metadata)
			l.report.Clock = append(l.report.Clock, probe.ClockReading{Source: timeIs, Cause: probe.ClockSilent}, probe.ClockReading{Source: "ntp fd00:ec2::123", Cause: probe.ClockSilent})
		}, []string{"169.254.169.123", "UDP 123"}},
		{"time server silent, clock synchronised", "", 0, func(l *lab) {
			l.clocks(0, synced, metadata)
			l.report.Clock = append(l.report.Clock, probe.ClockReading{Source: timeIs, Cause: probe.ClockSilent})
		}, nil},
		{"time server silent on one address", "(CLK-101)", 0, func(l *lab) {
			l.clocks(0, noService, metadata, timeIs)
			l.report.Clock = append(l.report.Clock, probe.ClockReading{Source: "ntp fd00:ec2::123", Cause: probe.ClockSilent})
		}, nil},
	}
}
