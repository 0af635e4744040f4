// Package e2e tests the built binary: in the network namespaces of a simulated
// VPC (package vpc), and under a real systemd in a node that was booted there
// (package node).
package e2e
