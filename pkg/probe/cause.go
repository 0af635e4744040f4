package probe

// A Cause says what stopped a step. The set is closed; the empty Cause means
// that the step passed.
type Cause string

// Causes of a failed Lookup.
const (
	DNSTimeout     Cause = "dns-timeout"     // no answer before the deadline
	DNSPortClosed  Cause = "dns-port-closed" // ECONNREFUSED from the server's port 53
	DNSUnreachable Cause = "dns-unreachable" // the kernel or a router says there is no way to the server
	DNSNXDomain    Cause = "dns-nxdomain"    // rcode 3: the name does not exist (RFC 2308)
	DNSNoData      Cause = "dns-nodata"      // rcode 0 and no record of this type (RFC 2308)
	DNSServFail    Cause = "dns-servfail"    // rcode 2
	DNSRefused     Cause = "dns-refused"     // rcode 5
	DNSOtherRCode  Cause = "dns-rcode"       // any other rcode; Lookup.RCode names it
	DNSMalformed   Cause = "dns-malformed"   // an answer that is no DNS message for this question
	DNSNoTCP       Cause = "dns-no-tcp"      // truncated over UDP, and TCP port 53 failed
)

// Causes of a failed connect, TLS or HTTP step.
const (
	TCPTimeout         Cause = "tcp-timeout"          // no SYN-ACK, no refusal
	TCPRefused         Cause = "tcp-refused"          // ECONNREFUSED
	TCPHostUnreachable Cause = "tcp-host-unreachable" // EHOSTUNREACH
	TCPNetUnreachable  Cause = "tcp-net-unreachable"  // ENETUNREACH
	TCPProhibited      Cause = "tcp-prohibited"       // EACCES or EPERM: a prohibit route or a local firewall
	TCPBlackhole       Cause = "tcp-blackhole"        // EINVAL: a blackhole route
	TCPExhausted       Cause = "tcp-exhausted"        // EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL
	TCPReset           Cause = "tcp-reset"            // ECONNRESET while connecting

	TLSTimeout          Cause = "tls-timeout"           // TCP answered, TLS did not
	TLSReset            Cause = "tls-reset"             // ECONNRESET or EPIPE during the handshake
	TLSClosed           Cause = "tls-closed"            // EOF during the handshake
	TLSNotTLS           Cause = "tls-not-tls"           // the peer speaks another protocol
	TLSAlert            Cause = "tls-alert"             // the peer sent an alert; TLSInfo.Alert has its number
	TLSUnknownAuthority Cause = "tls-unknown-authority" // the chain does not end in the given roots
	TLSWrongHost        Cause = "tls-wrong-host"        // the certificate is for other names
	TLSExpired          Cause = "tls-expired"           // NotAfter is past
	TLSNotYetValid      Cause = "tls-not-yet-valid"     // NotBefore is ahead
	TLSBadCertificate   Cause = "tls-bad-certificate"   // any other verification failure
	TLSError            Cause = "tls-error"             // any other handshake failure

	ProxyStatus Cause = "proxy-status" // the proxy answers CONNECT with another status than 2xx

	HTTPTimeout   Cause = "http-timeout"   // TLS passed, no complete answer came
	HTTPReset     Cause = "http-reset"     // ECONNRESET or EPIPE
	HTTPClosed    Cause = "http-closed"    // EOF before an answer
	HTTPMalformed Cause = "http-malformed" // an answer that is not HTTP

	ClockSilent Cause = "clock-silent"  // a time server does not answer
	ClockNoTime Cause = "clock-no-time" // a time server answers that it has none, or none for us

	Canceled Cause = "canceled" // the caller's context ended; nothing was learned
	Other    Cause = "other"    // an error no rule knows; Step.Err has its text
)
