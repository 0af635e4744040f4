package bootstrap

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// From these differences on a clock is worth a word, and a danger: AWS refuses
// what is signed with a time that is some minutes off.
const (
	clockOff    = time.Minute
	clockFarOff = 4 * time.Minute
)

// timeServer is the VPC's own, for NTP.
const timeServer = "169.254.169.123"

// offset is the reading by which this machine's clock is judged: the most
// precise. Where it and another exclude each other, the one that says less counts, and
// against is the other.
func (v *view) offset() (best, against *probe.ClockReading) {
	for i := range v.clock {
		r := &v.clock[i]
		switch {
		case r.Cause != "":
		case best == nil || r.Within < best.Within:
			best = r
		}
	}
	for i := range v.clock {
		r := &v.clock[i]
		if r.Cause != "" || r == best || magnitude(time.Duration(r.Offset-best.Offset)) <= time.Duration(r.Within+best.Within)+time.Second {
			continue
		}
		if magnitude(time.Duration(r.Offset)) < magnitude(time.Duration(best.Offset)) {
			return r, best
		}
		return best, r
	}
	return best, nil
}

func magnitude(d time.Duration) time.Duration { return max(d, -d) }

// certainlyOff is by how much the clock is off at least.
func certainlyOff(r *probe.ClockReading) time.Duration {
	return magnitude(time.Duration(r.Offset)) - time.Duration(r.Within)
}

// wrongClock finds what is wrong with this machine's clock. By itself that is a
// warning: what fails by it is CLK-104, or a token that is refused.
func wrongClock(v *view) []*candidate {
	known := v.plan.Clock
	unset := known.Known && !known.Synchronized
	r, against := v.offset()
	if !unset && (r == nil || certainlyOff(r) <= clockOff) {
		return nil
	}
	if slices.ContainsFunc(v.targets, func(t *targetView) bool {
		return slices.ContainsFunc(t.paths, func(p *pathView) bool { return healsWithClock(v, p) })
	}) {
		return nil // CLK-104 says it all
	}
	var out []*candidate
	if r != nil && certainlyOff(r) > clockOff {
		c := &candidate{code: CLK102, warn: true, global: true, because: offsetText(r)}
		if certainlyOff(r) > clockFarOff {
			c.code = CLK103
		}
		if against != nil {
			c.confidence = Likely
			c.because += "; " + sourceText(against.Source) + " says " + humanOffset(time.Duration(against.Offset))
		}
		c.because += v.syncText()
		c.fields = []string{"offset", humanOffset(time.Duration(r.Offset)), "detail", v.setClock()}
		out = append(out, c)
	}
	if !unset {
		return out
	}
	// A clock that a service is about to set, and that is right already, is how
	// every machine boots.
	if r == nil || !known.Service || certainlyOff(r) > clockOff {
		out = append(out, v.notSynchronized(r))
	}
	if c := v.silentTimeServer(); c != nil {
		out = append(out, c)
	}
	return out
}

func (v *view) notSynchronized(r *probe.ClockReading) *candidate {
	c := &candidate{code: CLK101, warn: true, because: "systemd-timedated says that the clock is not synchronised"}
	if v.plan.Clock.Service {
		c.because += "; a time service is enabled"
		c.fields = []string{"detail", "See why the time service does not synchronise (chronyc sources); the source in a VPC is " + timeServer + "."}
	} else {
		c.because += " and no time service is enabled"
		c.fields = []string{"detail", "Enable the time service (timedatectl set-ntp true, or systemctl enable --now chronyd) with " + timeServer + " as its source."}
	}
	if r != nil {
		c.because += "; " + offsetText(r)
	}
	return c
}

// silentTimeServer: the VPC's time server does not answer, and metadata does.
func (v *view) silentTimeServer() *candidate {
	answers := ""
	var silent []netip.Addr
	for _, r := range v.clock {
		server, ntp := strings.CutPrefix(r.Source, "ntp ")
		switch {
		case r.Cause == "" && ntp:
			return nil
		case r.Cause == "":
			answers = sourceText(r.Source)
		case r.Cause == probe.ClockSilent:
			if a, _ := netip.ParseAddr(server); linkLocalServices[a] == timeService {
				silent = append(silent, a)
			}
		}
	}
	if answers == "" || len(silent) == 0 {
		return nil
	}
	return &candidate{
		code: CLK105, warn: true, global: true, addresses: sortAddresses(silent),
		because: fmt.Sprintf("%s %s no NTP request, %s answers, and the clock is not synchronised", enumerate(stringsOf(silent)), agree(len(silent), "answers", "answer"), answers),
		not:     []RuledOut{{IMD102, answers + " answers over the same link"}},
	}
}

// healsWithClock: the chain verifies at the time of another clock.
func healsWithClock(_ *view, p *pathView) bool {
	// A root or intermediate outside its validity may come out as an unknown
	// authority, so that the cause makes no difference.
	r := p.reverified()
	return !p.ok && r != nil && r.Cause == ""
}

// reverified is the second verification of the chain, nil for none.
func (p *pathView) reverified() *probe.Reverified {
	if p.step.TLS == nil {
		return nil
	}
	return p.step.TLS.Reverified
}

// reading is the clock by which the chain was verified again, nil when the report
// does not have it.
func (v *view) reading(source string) *probe.ClockReading {
	for i := range v.clock {
		if r := &v.clock[i]; r.Source == source && r.Cause == "" {
			return r
		}
	}
	return nil
}

func tellClock(v *view, c *candidate, ps []*pathView) {
	again := ps[0].reverified()
	source := sourceText(again.Source)
	var offset time.Duration
	if r := v.reading(again.Source); r != nil {
		offset = time.Duration(r.Offset)
		c.because = offsetText(r)
		code := CLK103
		switch {
		case certainlyOff(r) <= clockOff:
			code = ""
		case certainlyOff(r) <= clockFarOff:
			code = CLK102
		}
		if code != "" {
			c.explains = append(c.explains, symptom{code: code})
		}
	} else {
		offset = again.Time.Sub(v.now).Round(time.Second)
		c.because = fmt.Sprintf("this machine's clock says %s and %s %s", utc(v.now), source, utc(again.Time))
	}
	cert := outdated(ps[0], v.now)
	c.because += fmt.Sprintf("; the certificate of %s is valid from %s until %s and verifies at %s, the time of %s",
		enumerate(c.hosts()), utc(cert.NotBefore), utc(cert.NotAfter), utc(again.Time), source)
	c.because += v.syncText()
	if known := v.plan.Clock; known.Known && !known.Synchronized {
		c.explains = append(c.explains, symptom{code: CLK101})
	}
	detail := v.setClock()
	if s := v.silentTimeServer(); s != nil {
		c.explains = append(c.explains, symptom{code: CLK105})
		c.because += "; " + enumerate(stringsOf(s.addresses)) + " answers no NTP request"
		detail = "allow outbound UDP 123 to " + enumerate(stringsOf(s.addresses)) + " on this machine (nft list ruleset), then " + detail
	}
	c.fields = []string{"offset", humanOffset(offset), "detail", detail}
	c.not = []RuledOut{{TLS104, "the chain verifies at the time of " + source}, {TLS102, "the chain leads to the expected CA"}}
	if slices.ContainsFunc(c.targets, (*targetView).isAPIServer) {
		c.not = append(c.not, RuledOut{TLS101, "the chain leads to the configured CA"})
	}
}

// setClock says how the clock is set here, by what is known of its service.
func (v *view) setClock() string {
	const step = "chronyc makestep"
	switch known := v.plan.Clock; {
	case known.Known && !known.Service:
		return "enable a time service (timedatectl set-ntp true, or systemctl enable --now chronyd) with " + timeServer + " as its source, then " + step
	case known.Known && known.Synchronized:
		return "its time service follows a wrong source (chronyc sources); make " + timeServer + " its source, then " + step
	default:
		return step + "; the source in a VPC is " + timeServer + " (chronyc sources)"
	}
}

func (v *view) syncText() string {
	switch known := v.plan.Clock; {
	case !known.Known:
		return ""
	case !known.Synchronized && !known.Service:
		return "; no time service is enabled"
	case !known.Synchronized:
		return "; the time service has not synchronised it"
	default:
		return "; it counts as synchronised"
	}
}

// offsetText is "this machine's clock is 3 h behind, says the metadata service (within 1s)".
func offsetText(r *probe.ClockReading) string {
	d := time.Duration(r.Offset)
	if magnitude(d) <= clockOff {
		return fmt.Sprintf("this machine's clock agrees with %s within %s", sourceText(r.Source), probe.Duration(max(magnitude(d)+time.Duration(r.Within), time.Second)))
	}
	return fmt.Sprintf("this machine's clock is %s, says %s (within %s)", humanOffset(d), sourceText(r.Source), r.Within)
}

// humanOffset is "3 h behind" for a positive offset and "2 d ahead" for a negative one.
func humanOffset(d time.Duration) string {
	way := " behind"
	if d < 0 {
		way = " ahead"
	}
	d = magnitude(d).Round(time.Second)
	if d >= 10*time.Minute {
		d = d.Round(time.Minute)
	}
	days, hours, minutes, seconds := int(d.Hours())/24, int(d.Hours())%24, int(d.Minutes())%60, int(d.Seconds())%60
	unit := func(n int, name string) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(n) + " " + name
	}
	parts := nonEmpty(unit(days, "d"), unit(hours, "h"), unit(minutes, "min"), unit(seconds, "s"))
	if len(parts) == 0 {
		return "0 s" + way
	}
	return strings.Join(parts[:min(2, len(parts))], " ") + way
}

// sourceText is a ClockReading's source for people.
func sourceText(source string) string {
	if server, ok := strings.CutPrefix(source, "ntp "); ok {
		return "time server " + server
	}
	return "the metadata service"
}

func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }
