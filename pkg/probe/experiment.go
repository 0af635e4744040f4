package probe

import (
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Experiments say what a round may measure beside its targets where a step is
// late or fails. They tell causes apart that look alike from one measurement;
// a round in which nothing is late makes none. The zero value allows none.
type Experiments struct {
	// References are DNS servers that are asked, in this order, for a name whose
	// lookups fail or whose addresses do not connect, when the target allows it
	// (Target.Compare). The answers are Result.Compared. One that is among the
	// configured servers was asked already and is left out.
	References []netip.AddrPort
	// MSSClamp repeats a stalled handshake on a connection whose segments are at
	// most 1000 bytes (1220 over IPv6).
	MSSClamp bool
	// SmallHello repeats a stalled or cut handshake with a key share of X25519 alone,
	// without the post-quantum one: 268 bytes in place of 1500.
	SmallHello bool
	// SecondSNI repeats a stalled or cut handshake with the name of another target.
	SecondSNI bool
	// Names are server names for SecondSNI, of targets that answered in an earlier round.
	// They count before those of this round's targets that did not answer yet: a round
	// that asks what fails alone has no others.
	Names []string
	// UDPTest sends one empty UDP datagram to the port of an address whose
	// connect is late: EPERM says that a firewall of this machine drops it.
	UDPTest bool
	// NTP are time servers, asked once a round when a certificate is outside
	// its validity.
	NTP []netip.AddrPort
	// Clock is what is known of the time before the round, from elsewhere.
	Clock []ClockReading
	// Direct says which addresses may be dialled around the proxy of a target that
	// fails through it; nil means none. It must be quick: the round waits for it.
	Direct func(netip.Addr) bool
}

// A ClockReading compares this machine's clock with another.
type ClockReading struct {
	// Source is "metadata" or "ntp ADDRESS".
	Source string `json:"source"`
	// Offset is the reference's time minus this machine's: positive when this
	// machine is behind.
	Offset Duration `json:"offsetMS"`
	// Within is the largest error of Offset.
	Within Duration `json:"withinMS"`
	// Cause is set when the reference gave no time.
	Cause Cause  `json:"cause,omitempty"`
	Err   string `json:"error,omitempty"`
}

// A Kind names an experiment.
type Kind string

// The experiments on one address. An experiment whose last step has no cause
// got an answer.
const (
	KindMSSClamp   Kind = "mss-clamp"   // connect and TLS with small segments
	KindSmallHello Kind = "small-hello" // connect and TLS with a ClientHello of one small packet
	KindSecondSNI  Kind = "second-sni"  // connect and TLS with another server name
	KindUDPTest    Kind = "udp-test"    // one datagram
)

// An Experiment is one repetition of a failed or late path with one thing changed.
type Experiment struct {
	Kind Kind `json:"kind"`
	// Name is the server name of KindSecondSNI.
	Name string `json:"name,omitempty"`
	// Pending says that it had not ended.
	Pending bool `json:"pending,omitempty"`
	// Steps are those taken. It is only asked whether the peer answers: a TLS step passes
	// when the handshake completes, whatever the certificate, or with an alert
	// (TLSInfo.Alert) or anything else that is neither silence nor a cut connection.
	// The step of KindUDPTest passes when this machine sent the datagram.
	Steps []Step `json:"steps,omitempty"`
}

// OK reports whether the experiment was made and every step of it passed.
func (e Experiment) OK() bool {
	return !e.Pending && len(e.Steps) > 0 && e.Steps[len(e.Steps)-1].Cause == ""
}

// Failed reports whether the experiment was made to its end and did not pass.
func (e Experiment) Failed() bool {
	return !e.Pending && len(e.Steps) > 0 && e.Steps[len(e.Steps)-1].Cause != "" &&
		e.Steps[len(e.Steps)-1].Cause != Canceled
}

// Experiment returns the path's experiment of a kind and whether there is one.
func (p Path) Experiment(kind Kind) (Experiment, bool) {
	for _, e := range p.Experiments {
		if e.Kind == kind {
			return e, true
		}
	}
	return Experiment{}, false
}

// TCPInfo is what the kernel knows of a connection (tcp(7), TCP_INFO).
type TCPInfo struct {
	RTT Duration `json:"rttMS"`
	// Retransmits counts the segments sent again over the connection's life, SYNs included.
	Retransmits int `json:"retransmits,omitempty"`
	// Unacked counts segments in flight.
	Unacked int `json:"unacked,omitempty"`
	// BytesAcked is what the peer acknowledged, the SYN counting as one; BytesReceived came from it.
	BytesAcked    uint64 `json:"bytesAcked"`
	BytesReceived uint64 `json:"bytesReceived"`
	SndMSS        int    `json:"sndMSS"` // bytes
	PathMTU       int    `json:"pathMTU"`
}

// Reverified is a verification of the received chain at another clock's time.
type Reverified struct {
	// Source is that of the ClockReading used.
	Source string    `json:"source"`
	Time   time.Time `json:"time"`
	// Cause is empty when the chain verifies at that time.
	Cause Cause `json:"cause,omitempty"`
}

// An Anchor is a root to which a chain was verified.
type Anchor struct {
	Subject string `json:"subject"` // RFC 2253
	// KeySHA256 is the fingerprint of the SubjectPublicKeyInfo, lower-case hex. It is
	// the same for every certificate of one key, cross-signed ones among them.
	KeySHA256 string `json:"keySHA256"`
}

// System is a name as the programs of this machine resolve and reach it: with
// the hosts file, the search domains and the stub of resolv.conf.
type System struct {
	Took      Duration     `json:"tookMS"`
	Addresses []netip.Addr `json:"addresses,omitempty"`
	Cause     Cause        `json:"cause,omitempty"` // of the lookup
	Err       string       `json:"error,omitempty"`
	// Unanswered are the types of question, A or AAAA, that got no answer in a lookup
	// that failed while the other did: programs wait for both.
	Unanswered []string `json:"unanswered,omitempty"`
	// Path is the connect to the first address that answered, else to the last
	// that was tried; nil when there was no address, or a proxy stands between.
	Path *Path `json:"path,omitempty"`
}

// A Proxy is the URL of an HTTP proxy, empty for none. It prints and marshals
// without its password.
type Proxy string

// String is the URL's scheme and host, which is all that matters of a proxy.
func (p Proxy) String() string {
	if p == "" {
		return ""
	}
	u, err := p.parse()
	if err != nil {
		return "(not a URL)"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
}

// parse reads the URL. Its error holds nothing of it, since there may be a password in
// what cannot be parsed: in user:password@host:3128, or behind a slash in the password.
func (p Proxy) parse() (*url.URL, error) {
	u, err := url.Parse(string(p))
	if err != nil || u.Hostname() == "" || u.User == nil && strings.Contains(string(p), "@") {
		return nil, errProxyURL
	}
	return u, nil
}

// MarshalText writes String.
func (p Proxy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }
