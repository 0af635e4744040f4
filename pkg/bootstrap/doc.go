// Package bootstrap holds the decisions of nodeprep: what the configuration
// means, what this node must reach, which files it needs, and whether the
// kubelet may start.
//
// Five types carry the program:
//
//	Config   all input, with the origin of every field
//	Plan     everything about to happen, built without I/O
//	Report   (package probe) what was measured
//	Verdict  pass, or what to change
//	Outcome  the record of one run; its JSON is the report
//
// ReadConfig, NewPlan and Judge are pure functions. Run is the only thing here
// that waits, and it reaches the world through the functions in Deps.
//
// Reading order: docs/architecture.md, this file, run.go, config.go, plan.go,
// verdict.go, outcome.go, then package probe's report.go.
package bootstrap
