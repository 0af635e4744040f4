package bootstrap

// Exit codes that belong to no class of findings. Those of the classes are in
// the table of codes.
const (
	ExitPass        = 0
	ExitInternal    = 1   // nodeprep's own failure
	ExitUsage       = 2   // wrong command line
	ExitWarnings    = 9   // passed with warnings, under --strict
	ExitConfig      = 10  // input that waiting cannot repair
	ExitSeveral     = 30  // independent causes of different classes
	ExitGaveUp      = 75  // the deadline passed (EX_TEMPFAIL in sysexits.h)
	ExitInterrupted = 130 // SIGINT; 143 for SIGTERM
	ExitTerminated  = 143
)

// ExitCode is the exit code by the class of the blocking findings: 0 for a
// verdict that passes, ExitSeveral for causes of different classes, and
// ExitGaveUp when nothing is known but that targets are still pending.
func (v Verdict) ExitCode() int {
	if v.Pass {
		return ExitPass
	}
	code := ExitGaveUp
	for i, f := range v.Blocking() {
		class := ExitInternal
		if info, ok := f.Code.Info(); ok {
			class = info.Exit
		}
		if i > 0 && class != code {
			return ExitSeveral
		}
		code = class
	}
	return code
}
