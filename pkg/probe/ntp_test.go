package probe_test

import (
	"context"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

// ntpStamp is a time as NTP sends it.
func ntpStamp(t time.Time) uint64 {
	const from1900 = 2208988800
	return uint64(t.Unix()+from1900)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

// timeServer is ahead by some time. edit spoils its answers.
func timeServer(ahead time.Duration, edit func(packet []byte)) probetest.DNSAnswer {
	return func(query []byte, _ bool) [][]byte {
		if len(query) != 48 || query[0] != 0x23 {
			return nil
		}
		packet := make([]byte, 48)
		packet[0], packet[1], packet[3] = 0x24, 4, 0xec // 2^-20 s
		copy(packet[24:32], query[40:])
		now := ntpStamp(time.Now().Add(ahead))
		binary.BigEndian.PutUint64(packet[32:], now)
		binary.BigEndian.PutUint64(packet[40:], now)
		if edit != nil {
			edit(packet)
		}
		return [][]byte{packet}
	}
}

func TestReadClock(t *testing.T) {
	t.Parallel()
	f, err := kernelFaults()
	if err != nil {
		t.Fatal(err)
	}
	silent := func([]byte, bool) [][]byte { return nil }
	var tries, refusals atomic.Int32
	tests := []struct {
		name   string
		answer probetest.DNSAnswer
		cause  probe.Cause
		offset time.Duration
	}{
		{"right", timeServer(0, nil), "", 0},
		{"we are 3 hours behind", timeServer(3*time.Hour, nil), "", 3 * time.Hour},
		{"we are 2 days ahead", timeServer(-48*time.Hour, nil), "", -48 * time.Hour},
		{"we are in 1970", timeServer(56*365*24*time.Hour, nil), "", 56 * 365 * 24 * time.Hour},
		{"version 3", timeServer(0, func(p []byte) { p[0] = 0x1c }), "", 0},
		{"slow", func(query []byte, tcp bool) [][]byte {
			<-time.After(200 * time.Millisecond)
			return timeServer(time.Minute, nil)(query, tcp)
		}, "", time.Minute},
		{"first packet lost", func(query []byte, tcp bool) [][]byte {
			if tries.Add(1) == 1 {
				return nil
			}
			return timeServer(0, nil)(query, tcp)
		}, "", 0},
		{"forged answer first", func(query []byte, tcp bool) [][]byte {
			forged := timeServer(time.Hour, func(p []byte) { p[24]++ })(query, tcp)
			return [][]byte{forged[0], {1, 2, 3}, timeServer(0, nil)(query, tcp)[0]}
		}, "", 0},
		{"forged origin", timeServer(0, func(p []byte) { p[31]++ }), probe.ClockSilent, 0},
		{"a client's packet", timeServer(0, func(p []byte) { p[0] = 0x23 }), probe.ClockSilent, 0},
		{"short", func(query []byte, _ bool) [][]byte { return [][]byte{query[:40]} }, probe.ClockSilent, 0},
		{"silent", silent, probe.ClockSilent, 0},
		{"kiss of death", func(query []byte, tcp bool) [][]byte {
			refusals.Add(1)
			return timeServer(0, func(p []byte) { p[1] = 0; copy(p[12:], "RATE") })(query, tcp)
		}, probe.ClockNoTime, 0},
		{"not synchronised", timeServer(0, func(p []byte) { p[0] |= 0xc0 }), probe.ClockNoTime, 0},
		{"stratum 16", timeServer(0, func(p []byte) { p[1] = 16 }), probe.ClockNoTime, 0},
		{"no time at all", timeServer(0, func(p []byte) { clear(p[32:]) }), probe.ClockNoTime, 0},
	}
	var servers []netip.AddrPort
	for _, tt := range tests {
		servers = append(servers, probetest.ServeUDP(t, loopback, tt.answer))
	}
	servers = append(servers, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), closedPort),
		netip.MustParseAddrPort(f.dropped+":123"), netip.MustParseAddrPort(f.prohibit+":123"))
	begin := time.Now()
	readings := probe.ReadClock(t.Context(), servers)
	if took := time.Since(begin); took < 950*time.Millisecond || took > 1900*time.Millisecond {
		t.Errorf("took %v, want a second", took)
	}
	for i, tt := range tests {
		r := readings[i]
		if r.Cause != tt.cause || (r.Err == "") != (tt.cause == "") || r.Source != "ntp 127.0.0.1" {
			t.Errorf("%s: %+v, want cause %q", tt.name, r, tt.cause)
		}
		off := time.Duration(r.Offset) - tt.offset
		if within := time.Duration(r.Within); tt.cause == "" && (off.Abs() > within || within <= 0 || within > 350*time.Millisecond) {
			t.Errorf("%s: %v within %v, want %v", tt.name, r.Offset, r.Within, tt.offset)
		}
	}
	for _, r := range readings[len(tests):] {
		wantEqual(t, "cause", r.Cause, probe.ClockSilent)
	}
	wantEqual(t, "a refusal is taken at its word", refusals.Load(), 1)
}

// A round asks once, whoever wants to know, and takes the best of what there is.
func TestReferenceTime(t *testing.T) {
	t.Parallel()
	answer, asked := counted(timeServer(time.Hour, nil))
	ntp := probetest.ServeUDP(t, loopback, answer)
	dead := probetest.ServeUDP(t, loopback, func([]byte, bool) [][]byte { return nil })
	metadata := probe.ClockReading{Source: "metadata", Offset: probe.Duration(time.Hour), Within: probe.Duration(time.Second)}
	wrong := probe.ClockReading{Source: "broken", Cause: probe.ClockSilent, Err: "x"}

	p := &probe.Prober{Experiments: probe.Experiments{
		NTP: []netip.AddrPort{dead, ntp}, Clock: []probe.ClockReading{wrong, metadata},
	}}
	got, report := probe.ReferenceTime(t.Context(), p, 20)
	for _, r := range got {
		if r != got[0] || r.Source != "ntp 127.0.0.1" || r.Cause != "" {
			t.Fatalf("readings: %+v", got)
		}
	}
	wantEqual(t, "questions", asked.Load(), 1)
	var sources []string
	for _, r := range report.Clock {
		sources = append(sources, r.Source+" "+string(r.Cause))
	}
	wantEqual(t, "clock of the report", sources, []string{
		"broken clock-silent", "metadata ", "ntp 127.0.0.1 clock-silent", "ntp 127.0.0.1 ",
	})

	p.Experiments.NTP = []netip.AddrPort{dead}
	got, _ = probe.ReferenceTime(t.Context(), p, 1)
	wantEqual(t, "without NTP", got[0], metadata)
	p.Experiments.Clock = nil
	got, _ = probe.ReferenceTime(t.Context(), p, 1)
	wantEqual(t, "without anything", got[0], probe.ClockReading{})

	// Nobody waits for it longer than the round lasts.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, report = probe.ReferenceTime(ctx, p, 1)
	if took := time.Since(begin); took > 400*time.Millisecond || report.Clock[0].Cause != probe.Canceled {
		t.Errorf("after %v: %+v", took, report.Clock)
	}

	// Nobody asks: nothing is sent, and the report has what was given.
	before := asked.Load()
	p.Experiments = probe.Experiments{NTP: []netip.AddrPort{ntp}, Clock: []probe.ClockReading{metadata}}
	report = p.Run(t.Context(), nil, nil)
	if asked.Load() != before || !slices.Equal(report.Clock, []probe.ClockReading{metadata}) {
		t.Errorf("clock: %+v", report.Clock)
	}
}

// Timestamps that pass the end of era 0 in 2036 are those of the time that follows.
func TestNTPEra(t *testing.T) {
	t.Parallel()
	for _, want := range []string{"2020-01-01T00:00:00Z", "2026-07-30T09:12:01.5Z", "2036-02-07T06:28:15.75Z", "2036-02-07T06:28:17Z", "2155-12-01T00:00:00Z"} {
		at, err := time.Parse(time.RFC3339, want)
		if err != nil {
			t.Fatal(err)
		}
		packet := timeServer(0, nil)(append([]byte{0x23}, make([]byte, 47)...), false)[0]
		binary.BigEndian.PutUint64(packet[32:], ntpStamp(at))
		binary.BigEndian.PutUint64(packet[40:], ntpStamp(at))
		got, err := probe.ParseNTP(packet, 0)
		if off := got.Sub(at); err != nil || off.Abs() > time.Microsecond {
			t.Errorf("%s is read as %v, %v", want, got.UTC(), err)
		}
	}
}

func FuzzNTP(f *testing.F) {
	f.Add(timeServer(0, nil)(append([]byte{0x23}, make([]byte, 47)...), false)[0], uint64(0))
	f.Add([]byte(strings.Repeat("\xff", 60)), uint64(1)<<63)
	f.Fuzz(func(t *testing.T, packet []byte, cookie uint64) {
		at, err := probe.ParseNTP(packet, cookie)
		if err != nil {
			return
		}
		switch {
		case len(packet) < 48, packet[0]&7 != 4, packet[0]>>6 == 3, packet[1] == 0 || packet[1] > 15,
			binary.BigEndian.Uint64(packet[24:]) != cookie:
			t.Errorf("believed: %x", packet)
		case at.Year() < 2020 || at.Year() > 2156:
			t.Errorf("time: %v", at)
		}
		if _, err := probe.ParseNTP(packet, cookie+1); err == nil {
			t.Error("believed with another cookie")
		}
	})
}
