package probe

import (
	"encoding/json"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// A Target is one name to reach.
type Target struct {
	// Name identifies the target within one run ("apiserver", "ec2").
	Name string `json:"name"`
	// Host is a DNS name without a trailing dot, or an IP address literal.
	Host string `json:"host"`
	// Port is the TCP port, 1 to 65535.
	Port uint16 `json:"port"`
	// TLS asks for a verified TLS handshake with Host as server name.
	TLS bool `json:"tls"`
	// Roots is the PEM bundle the peer must chain to; empty means the system's roots.
	Roots []byte `json:"-"`
	// Requests are sent in order on the connection of each address once the
	// steps before passed.
	Requests []Request `json:"requests,omitempty"`
	// Pool marks a name whose answers rotate among equal public addresses (S3
	// by gateway endpoint): any address that passes makes the target pass.
	Pool bool `json:"pool,omitempty"`
	// Proxy is what the target is reached through: the steps are then connect (to
	// the proxy), proxy (CONNECT) and those of a direct path. Lookups and addresses are the
	// proxy's, since nobody else resolves Host.
	Proxy Proxy `json:"proxy,omitempty"`
	// Hosts are the addresses that this machine's hosts file has for Host. They
	// are probed beside those that DNS gives.
	Hosts []netip.Addr `json:"hosts,omitempty"`
	// Compare allows asking Experiments.References for Host.
	Compare bool `json:"compare,omitempty"`
	// System asks for one lookup and connect by the machine's own resolver beside
	// the others (Result.System).
	System bool `json:"system,omitempty"`
}

// A Request is one HTTP/1.1 request of a Target.
type Request struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	// Header returns the header to send; nil means none. It is a function so
	// that a credential is made when it is used and never kept in a plan.
	Header func() http.Header `json:"-"`
	// BodyLimit is the number of body bytes kept as evidence, at most 64 KiB.
	BodyLimit int64 `json:"bodyLimit,omitempty"`
}

// A Report is what one round of probing measured.
type Report struct {
	Started time.Time `json:"started"`
	Took    Duration  `json:"tookMS"`
	// Ended says that the round went to its end: what is still pending in it was cut
	// short by the round's budget and will not be known.
	Ended   bool     `json:"ended,omitempty"`
	Results []Result `json:"results"`
	// Clock compares this machine's clock with others, those given in
	// Experiments.Clock among them.
	Clock []ClockReading `json:"clock,omitempty"`
}

// Result returns the result of the named target and whether there is one.
func (r Report) Result(target string) (Result, bool) {
	for _, res := range r.Results {
		if res.Target == target {
			return res, true
		}
	}
	return Result{}, false
}

// A Result is everything measured about one Target.
type Result struct {
	Target string `json:"target"`
	Host   string `json:"host"`
	Port   uint16 `json:"port"`
	// Pending says that steps were still under way when the report was taken,
	// or when the round ended. Lookups not begun by then are left out.
	Pending bool `json:"pending,omitempty"`
	// Lookups holds one entry per DNS server and record type asked, in the
	// order of the servers. Empty for an address literal.
	Lookups []Lookup `json:"lookups,omitempty"`
	// Paths holds one entry per distinct address, sorted by address.
	Paths []Path `json:"paths,omitempty"`
	// Compared is what Experiments.References said about Host.
	Compared []Lookup `json:"compared,omitempty"`
	// Direct is the target without its proxy, where it failed through it: lookups of
	// Host and the paths that Experiments.Direct allows.
	Direct *Result `json:"direct,omitempty"`
	// System is set when the target asks for it.
	System *System `json:"system,omitempty"`
	// Err says why the target could not be probed at all: its proxy is no URL of
	// an HTTP proxy.
	Err string `json:"error,omitempty"`
}

// A Lookup is one DNS question put to one server.
type Lookup struct {
	Server netip.AddrPort `json:"server"`
	Type   string         `json:"type"` // A or AAAA
	// At is when the first packet was sent, counted from Report.Started.
	At   Duration `json:"atMS"`
	Took Duration `json:"tookMS"`
	// Sent counts the UDP packets sent, retransmissions included.
	Sent  int   `json:"sent"`
	Cause Cause `json:"cause,omitempty"` // empty: Addresses is the answer
	// Errno is the kernel's error number, 0 when the error is not the kernel's.
	Errno int `json:"errno,omitempty"`
	// RCode is the response code's name (RFC 1035, RFC 6895), empty without a response.
	RCode string `json:"rcode,omitempty"`
	// Addresses are sorted and distinct; of a longer answer the first 64 are kept.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// CNAMEs are the aliases followed from Host to the owner of the addresses.
	CNAMEs []string `json:"cnames,omitempty"`
	TTL    uint32   `json:"ttl,omitempty"` // seconds, the smallest of the answer
	Err    string   `json:"error,omitempty"`
}

// A Path is one address of a target and how far it could be followed.
type Path struct {
	Address netip.AddrPort `json:"address"`
	// Servers are the DNS servers that answered with this address, none for one that
	// only Target.Hosts has.
	Servers []netip.AddrPort `json:"servers,omitempty"`
	// Reference says that only Experiments.References gave this address, and Servers
	// lists them. Nothing on this machine would use it: it was connected to, and no more.
	Reference bool `json:"reference,omitempty"`
	// Pending says that the path was not followed to its end, either not yet
	// or because the round was over.
	Pending bool `json:"pending,omitempty"`
	// Steps are connect, tls and http in the order taken; the last one holds
	// the cause when the path failed.
	Steps []Step `json:"steps"`
	// Experiments were made because a step was late or failed.
	Experiments []Experiment `json:"experiments,omitempty"`
}

// OK reports whether every step that the target asks for passed. That is never so
// for an address that only a reference gave.
func (p Path) OK() bool {
	return !p.Pending && !p.Reference && len(p.Steps) > 0 && p.Cause() == ""
}

// Cause is the cause of the first failed step, empty when none failed.
func (p Path) Cause() Cause {
	for _, s := range p.Steps {
		if s.Cause != "" {
			return s.Cause
		}
	}
	return ""
}

// Step returns the last step of the given phase and whether there is one.
func (p Path) Step(phase Phase) (Step, bool) {
	for _, s := range slices.Backward(p.Steps) {
		if s.Phase == phase {
			return s, true
		}
	}
	return Step{}, false
}

// A Phase is one layer of a path.
type Phase string

// The phases, in order. Resolving is described by a Lookup and never by a Step.
const (
	PhaseResolve Phase = "resolve"
	PhaseConnect Phase = "connect"
	PhaseProxy   Phase = "proxy" // CONNECT to the proxy; Step.HTTP is its answer
	PhaseTLS     Phase = "tls"
	PhaseHTTP    Phase = "http"
	PhaseUDP     Phase = "udp" // of KindUDPTest only
)

// A Step is one measured phase of a Path.
type Step struct {
	Phase Phase `json:"phase"`
	// At is when the step began, counted from Report.Started.
	At    Duration `json:"atMS"`
	Took  Duration `json:"tookMS"`
	Cause Cause    `json:"cause,omitempty"`
	// Errno is the kernel's error number, 0 when the error is not the kernel's.
	Errno int `json:"errno,omitempty"`
	// Err is the raw error for people to read; nothing decides on it.
	Err  string    `json:"error,omitempty"`
	TLS  *TLSInfo  `json:"tls,omitempty"`
	HTTP *HTTPInfo `json:"http,omitempty"`
	// TCP is kept of a step that failed on an open connection, and of a connect
	// that needed more than one SYN.
	TCP *TCPInfo `json:"tcp,omitempty"`
}

// TLSInfo is what a handshake showed, also when it failed.
type TLSInfo struct {
	Version string `json:"version,omitempty"` // "TLS 1.3"
	ALPN    string `json:"alpn,omitempty"`
	// Alert is the alert number the peer sent (RFC 8446 section 6), 0 for none.
	Alert int `json:"alert,omitempty"`
	// FirstBytes is the start of an answer that is not TLS, at most 64 bytes, printable characters only.
	FirstBytes string `json:"firstBytes,omitempty"`
	// Chain is the certificate chain as received, leaf first.
	Chain []Certificate `json:"chain,omitempty"`
	// Anchors are the roots of the verified chains, of a handshake that was
	// verified against the system's roots.
	Anchors []Anchor `json:"anchors,omitempty"`
	// Reverified is set when the chain is outside its validity and the time is
	// known from elsewhere.
	Reverified *Reverified `json:"reverified,omitempty"`
}

// A Certificate is the part of a received X.509 certificate that evidence needs.
type Certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	Names     []string  `json:"names,omitempty"` // DNS names and IP addresses
	// SubjectKeyID and AuthorityKeyID are lower-case hex.
	SubjectKeyID   string `json:"subjectKeyID,omitempty"`
	AuthorityKeyID string `json:"authorityKeyID,omitempty"`
	SHA256         string `json:"sha256"` // fingerprint of the DER form, lower-case hex
}

// HTTPInfo is one answered request.
type HTTPInfo struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Status int    `json:"status"`
	// Header holds Content-Type, Date, Location, Retry-After and Server, when sent;
	// of a proxy's answer to CONNECT Proxy-Authenticate and Via too.
	Header map[string]string `json:"header,omitempty"`
	// Body is the start of the body, at most the request's BodyLimit, 256 bytes of a proxy's.
	Body string `json:"body,omitempty"`
}

// Duration is a time.Duration that reads and writes JSON as milliseconds with
// microsecond resolution.
type Duration time.Duration

// MarshalJSON writes milliseconds.
func (d Duration) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Duration(d).Microseconds())/1000, 'f', -1, 64), nil
}

// UnmarshalJSON reads milliseconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var ms float64
	if err := json.Unmarshal(b, &ms); err != nil {
		return err
	}
	*d = Duration(math.Round(ms*1000)) * Duration(time.Microsecond)
	return nil
}

// String prints the duration rounded for people: 0.4ms, 12ms, 3.2s.
func (d Duration) String() string {
	t := time.Duration(d)
	switch {
	case t < 10*time.Millisecond:
		return strconv.FormatFloat(float64(t.Microseconds())/1000, 'f', 1, 64) + "ms"
	case t < time.Second:
		return t.Round(time.Millisecond).String()
	default:
		return t.Round(100 * time.Millisecond).String()
	}
}
