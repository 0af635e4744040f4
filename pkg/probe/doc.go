// Package probe answers one question: can this machine reach these names?
//
// A Prober asks every configured DNS server for every name, connects to every
// address it was given, completes TLS, and sends the HTTP requests the target
// carries, all at the same time and each step under its own deadline. What it
// returns is a Report of measurements. A failed probe is data: Run returns no
// error, every Result keeps every step with its peer, duration, typed Cause and
// the raw error text for people to read.
//
// Where a step fails or is late, the same round measures more, as far as Experiments
// allow: what other DNS servers say about the name, whether a handshake passes with one
// thing changed, what the time is, whether the target can be reached without its proxy.
// A round in which all is well makes none of these and costs what it would without them.
//
// Everything runs at once, within bounds that keep the network and a small
// machine unharmed: 256 pending connects, 16 handshakes, 256 packets a second to
// link-local servers. What must wait does so in the order of the targets, as data
// and not as a goroutine, and at nobody's expense: a step's budget begins when the
// step does. The Report is in the order of its input, whoever answered first.
//
// The package knows nothing of AWS, of Kubernetes or of what an answer means;
// package bootstrap judges.
package probe
