package bootstrap

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// Options say how far a run goes.
type Options struct {
	Version string // of nodeprep
	RunID   string
	// Once ends the run after the first round, whatever its verdict.
	Once bool
	// Watch, when not 0, makes a run with Once repeat its round after this
	// pause, until the context ends. Every round asks everything.
	Watch time.Duration
	// Targets are the names of the targets to probe and judge; empty means all. It is
	// meant for runs that start nothing. A name that the plan has not ends the
	// run with ExitUsage.
	Targets []string
	// NoWrite leaves the files of the plan unwritten.
	NoWrite bool
	// NoStart ends the run once the verdict passed, with the gate still closed.
	NoStart bool
	// Settle is how long the kubelet must stay up before the run is done.
	Settle time.Duration
}

// Run goes through the stages: it reads the input, probes and judges in rounds
// until the verdict passes, opens the gate, starts the kubelet and watches it
// settle. It returns when that is done, when the input cannot be repaired by
// waiting, when the policy gives up, or when ctx ends.
func Run(ctx context.Context, d Deps, o Options) (out Outcome) {
	r := &run{Deps: d, opt: o, entered: time.Now()}
	r.out = Outcome{
		Schema: Schema, Version: o.Version, RunID: o.RunID,
		Started: r.entered, Stage: StageInput, History: History{},
	}
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		if p := recover(); p != nil {
			r.out.Err = fmt.Sprintf("panic: %v\n%s", p, debug.Stack())
			r.out.Verdict = internalError(fmt.Sprint(p))
			r.end(StageFailed, 1)
		}
		out = r.out
		cancel()
		r.leave()
	}()
	if done := r.untilPassed(ctx); done {
		return
	}
	if o.NoStart {
		r.end(StageDone, 0)
		return
	}
	r.start(ctx)
	r.confirm(ctx)
	return
}

// run is the state of one Run.
type run struct {
	Deps
	opt Options
	out Outcome

	entered  time.Time // when the current stage began
	instance *Instance // nil until the metadata service was read
	userData *Source
	machine  *Machine
	// machineRead is when it was: what it says of its clock changes.
	machineRead time.Time
	// machineErr and networkErr say what could not be read of this machine.
	machineErr, networkErr error
	problems               []Problem
	// valid says that the input was good after the user scripts' chance to change
	// it: what spoils it later is somebody at work on this machine.
	valid    bool
	written  []File // what Write was last asked for
	writeErr error
	measured map[string]time.Time // when each target was last probed
	tried    map[string]time.Time // and when with experiments
	renewed  time.Time            // when experiments were last repeated
	full     time.Time            // when everything was last asked
	same     int                  // rounds in a row with the same blocking causes
	late     chan probed          // a round that goes on after the gate opened
	hidden   bool                 // the kubelet's healthz is not where it is asked
	woken    int                  // pauses in a row that a change of the network ended
	dropped  *uint64              // counter of dropped packets when the run began
	clocks   []clockReading
	ntp      chan []clockReading // answers of time servers under way, or nil
	ntpAsked time.Time
	// dnsBlocked says that the last round was blocked by DNS, flushed that the
	// resolver's cache was emptied since its lookup last passed.
	dnsBlocked, flushed bool
}

// untilPassed repeats rounds. It returns true when the run ends here.
func (r *run) untilPassed(ctx context.Context) bool {
	for failures := 0; ; failures++ {
		r.out.Round++
		r.out.NextRound = time.Time{}
		r.Extend(probe.RoundBudget(len(r.out.Plan.Targets)) + grace)
		// Asked before the configuration is read: scripts that end in between
		// must not have their files missed.
		scripts := r.userScripts(ctx)
		r.refresh(ctx)
		r.valid = r.valid || r.instance != nil && !fatalInput(r.problems) && !scripts.Pending
		r.round(ctx, !r.opt.Once && !scripts.Pending)
		switch {
		case ctx.Err() != nil:
			r.interrupted(ctx)
			return true
		case r.unknownTarget():
			r.end(StageFailed, ExitUsage)
			return true
		case r.opt.Once && r.opt.Watch == 0:
			r.end(StageDone, r.out.Verdict.ExitCode())
			return true
		case r.opt.Once: // goes on
		case r.alreadyOpen(scripts):
			return false
		case fatalInput(r.problems) && !scripts.Pending && !r.valid:
			r.end(StageFailed, ExitConfig)
			return true
		case r.out.Verdict.Pass && !scripts.Pending && (r.opt.NoStart || r.openGate()):
			return false
		case r.gaveUp():
			r.end(StageFailed, ExitGaveUp)
			return true
		}
		if r.out.Verdict.Pass && scripts.Pending {
			r.enter(StageScripts)
			failures = 0
		} else {
			r.enter(StageProbe)
		}
		if !r.pause(ctx, failures, scripts) {
			r.interrupted(ctx)
			return true
		}
	}
}
