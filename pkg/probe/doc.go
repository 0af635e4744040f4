// Package probe answers one question: can this machine reach these names?
//
// A Prober asks every configured DNS server for every name, connects to every
// address it was given, completes TLS, and sends the HTTP requests the target
// carries, all at the same time and each step under its own deadline. What it
// returns is a Report of measurements. A failed probe is data: Run returns no
// error, every Result keeps every step with its peer, duration, typed Cause and
// the raw error text for people to read.
//
// The package knows nothing of AWS, of Kubernetes or of what an answer means;
// package bootstrap judges.
package probe
