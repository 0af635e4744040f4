package bootstrap

import (
	"context"
	"errors"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// leaveCap is how long the end of a run waits for what it canceled.
const leaveCap = time.Second

// end records how the run ended.
func (r *run) end(s Stage, exit int) {
	r.out.Exit = exit
	r.out.NextRound = time.Time{}
	r.enter(s)
}

// leave waits for what was still under way and has been canceled, so that nothing
// of the run goes on after it. What does not hear of that is left behind.
func (r *run) leave() {
	limit := time.NewTimer(leaveCap)
	defer limit.Stop()
	if r.late != nil {
		select {
		case <-r.late:
		case <-limit.C:
			return
		}
	}
	if r.ntp != nil {
		select {
		case <-r.ntp:
		case <-limit.C:
		}
	}
}

// A SignalError is the cause with which a signal ends a run's context.
type SignalError struct {
	Signal string // "interrupt", "terminated"
	Exit   int    // ExitInterrupted or ExitTerminated
}

// Error names the signal.
func (i SignalError) Error() string { return "ended by signal: " + i.Signal }

// interrupted records that somebody ended the run.
func (r *run) interrupted(ctx context.Context) {
	cause, exit := context.Cause(ctx), ExitTerminated
	if i, ok := errors.AsType[SignalError](cause); ok {
		exit = i.Exit
	}
	r.out.Err = cause.Error()
	r.end(StageFailed, exit)
}

// enter begins a stage and publishes the change.
func (r *run) enter(s Stage) {
	r.turn(s)
	r.publish()
}

// turn begins a stage.
func (r *run) turn(s Stage) {
	if s != r.out.Stage {
		now := time.Now()
		r.out.Stages = append(r.out.Stages, StageTook{Stage: r.out.Stage, Took: probe.Duration(now.Sub(r.entered))})
		r.out.Stage, r.entered = s, now
	}
}

// publish shows the outcome as it stands.
func (r *run) publish() {
	r.out.Updated = time.Now()
	r.out.Status = StatusLine(r.out, r.out.Updated)
	r.Publish(r.out)
}
