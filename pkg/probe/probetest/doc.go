// Package probetest is what tests of probing need: a network namespace without
// an uplink to run in, and DNS and TLS servers that misbehave on request.
//
// Only tests import it. Nothing in it can reach the network of the machine.
package probetest
