// Package node boots a real systemd as a worker node of the lab: a minimal
// Debian tree under systemd-nspawn, joined to a network namespace of the caller
// (the node's place in the simulated VPC), driven from outside.
//
// Isolated runs a test binary or a program in namespaces of its own, so that
// nothing of a node outlives it and no packet leaves the machine. Boot lays an
// overlay over the image that image.sh built, adds files, and starts nspawn. The
// Node then gives what an operator has: units over D-Bus, the journal, the
// console, files and commands.
//
// Only tests and the demo import it. It needs root, systemd-container and a
// kernel with cgroup v2 mounted somewhere.
package node
