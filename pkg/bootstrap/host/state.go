package host

import (
	"slices"
	"sync"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// A phase is what a person wants to know of an Outcome first.
type phase string

const (
	phaseUnknown  phase = ""         // nothing is known yet
	phaseBlocked  phase = "blocked"  // the kubelet is held back
	phaseScripts  phase = "scripts"  // passed, user scripts still run
	phasePassed   phase = "passed"   // passed
	phaseOverride phase = "override" // somebody else opened the gate
	phaseUnstable phase = "unstable" // the kubelet was started and does not stay up
	phaseRunning  phase = "running"  // the kubelet stayed up
	phaseFailed   phase = "failed"   // ended without a kubelet
	phaseStopped  phase = "stopped"  // ended by a signal before there was one
)

func phaseOf(o bootstrap.Outcome) phase {
	switch {
	case o.Stage == bootstrap.StageFailed && !o.Gate.Open && (o.Exit == bootstrap.ExitInterrupted || o.Exit == bootstrap.ExitTerminated):
		return phaseStopped
	case o.Stage == bootstrap.StageFailed && !o.Gate.Open:
		return phaseFailed
	case o.Gate.Open && o.Stage == bootstrap.StageDone:
		return phaseRunning
	case o.Gate.Open && len(afterStart(o)) > 0:
		return phaseUnstable
	case o.Gate.Open && o.Gate.By != bootstrap.GateNodeprep:
		return phaseOverride
	case o.Gate.Open:
		return phasePassed
	case o.Verdict.Pass && o.Stage == bootstrap.StageScripts:
		return phaseScripts
	case o.Verdict.Pass:
		return phasePassed
	case len(o.Verdict.Blocking()) > 0:
		return phaseBlocked
	default:
		return phaseUnknown
	}
}

// afterStart are the findings about the kubelet that was started.
func afterStart(o bootstrap.Outcome) []bootstrap.Finding {
	var out []bootstrap.Finding
	for _, f := range o.Verdict.Findings {
		if f.Code.Area() == "RUN" {
			out = append(out, f)
		}
	}
	return out
}

// starting reports whether the gate is open or about to be.
func starting(o bootstrap.Outcome) bool {
	return o.Gate.Open || o.Stage == bootstrap.StageStart || o.Stage == bootstrap.StageConfirm
}

// held reports whether somebody waits for a kubelet that is not started.
func held(o bootstrap.Outcome) bool {
	if o.Stage == bootstrap.StageDone {
		return false
	}
	switch phaseOf(o) {
	case phaseUnknown, phaseBlocked, phaseScripts:
		return true
	default:
		return false
	}
}

// causes are the findings that keep the node from joining in phase p.
func causes(o bootstrap.Outcome, p phase) []bootstrap.Finding {
	if p == phaseUnstable {
		return afterStart(o)
	}
	return o.Verdict.Blocking()
}

// keys are the keys of findings, sorted.
func keys(fs []bootstrap.Finding) []string {
	var out []string
	for _, f := range fs {
		out = append(out, f.Key())
	}
	slices.Sort(out)
	return out
}

// andMore counts what a line leaves out.
func andMore(n int) string {
	if n <= 0 {
		return ""
	}
	return " (and " + count(n) + " more)"
}

// heartbeat calls a function while something lasts: after 1 minute, then at
// distances of 2, 4, 8, 16 and for ever 30 minutes, so that a line about it
// stays in the tail of a console and a journal is not filled with it.
type heartbeat struct {
	mu    sync.Mutex
	timer *time.Timer
	beats int
}

// set starts the heartbeat or stops it. A heartbeat that runs goes on.
func (h *heartbeat) set(on bool, beat func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case on && h.timer == nil:
		h.beats = 0
		var timer *time.Timer
		timer = time.AfterFunc(spacing(0), func() {
			h.mu.Lock()
			on := h.timer == timer
			if on {
				h.beats++
				timer.Reset(spacing(h.beats))
			}
			h.mu.Unlock()
			if on {
				beat()
			}
		})
		h.timer = timer
	case !on && h.timer != nil:
		h.timer.Stop()
		h.timer = nil
	}
}

// spacing is the time before beat n, counted from 0, after the one before it.
func spacing(n int) time.Duration {
	const longest = 30 * time.Minute
	if n >= 5 {
		return longest
	}
	return time.Minute << n
}
