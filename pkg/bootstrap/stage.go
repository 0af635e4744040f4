package bootstrap

import (
	"context"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// end records how the run ended.
func (r *run) end(s Stage, exit int) {
	r.out.Exit = exit
	r.out.NextRound = time.Time{}
	r.enter(s)
}

// interrupted records that somebody ended the run.
func (r *run) interrupted(ctx context.Context) {
	r.out.Err = context.Cause(ctx).Error()
	r.end(StageFailed, ExitTerminated)
}

// enter begins a stage and publishes the change.
func (r *run) enter(s Stage) {
	if s != r.out.Stage {
		now := time.Now()
		r.out.Stages = append(r.out.Stages, StageTook{Stage: r.out.Stage, Took: probe.Duration(now.Sub(r.entered))})
		r.out.Stage, r.entered = s, now
	}
	r.publish()
}

// publish shows the outcome as it stands.
func (r *run) publish() {
	r.out.Updated = time.Now()
	r.out.Status = StatusLine(r.out, r.out.Updated)
	r.Publish(r.out)
}
