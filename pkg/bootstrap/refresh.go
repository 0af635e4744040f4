package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// refresh reads what is missing or may have changed since the last round, side
// by side, and builds the plan from it. Configuration files are read anew each
// round, so that an operator's repair is picked up without a restart.
func (r *run) refresh(ctx context.Context) {
	var (
		meta    Metadata
		metaErr error
		wg      sync.WaitGroup
	)
	readMeta := r.instance == nil || r.instance.stale(time.Now())
	network, planned := r.out.Network, r.out.Plan.Targets
	began := time.Now()
	r.during(ctx, func(ctx context.Context) {
		if readMeta {
			wg.Go(func() { meta, metaErr = r.Metadata(ctx) })
		}
		unsynced := r.machine != nil && r.machine.Clock.Known && !r.machine.Clock.Synchronized && began.Sub(r.machineRead) >= clockLasts
		if r.machine == nil || r.machineErr != nil || unsynced {
			r.machineRead = began
			wg.Go(func() {
				m, err := r.Machine(ctx)
				r.machine, r.machineErr = &m, err // what could be read counts
			})
		}
		wg.Go(func() {
			s, err := r.Network(ctx)
			if r.networkErr = err; err == nil {
				s.LinkLocalDropped = r.droppedSince(s.LinkLocalDropped)
				if s.Same(r.out.Network) {
					s.Destinations = r.out.Network.Destinations
				}
				r.out.Network = s
			}
		})
		wg.Wait()
	}, func(waited time.Duration) string { return "waiting for the instance metadata service" + since(waited) })

	switch {
	case !readMeta, ctx.Err() != nil:
	case metaErr == nil:
		r.instance = &meta.Instance
		r.userData = nil
		if meta.UserData != nil {
			r.userData = &Source{Name: "user data", UserData: true, Data: meta.UserData}
		}
		r.forget(MetadataTarget)
		if meta.Clock != nil {
			r.noteClock(time.Now(), *meta.Clock)
		}
	default:
		r.merge(probe.Report{Started: began, Took: probe.Duration(time.Since(began)), Results: []probe.Result{metadataResult(metaErr)}})
	}
	r.out.BootID = r.machine.BootID
	r.plan()
	r.void(network, planned)
	r.out.Report.Clock = r.readings(time.Now())
}

// stale reports whether the metadata must be read again: without usable credentials,
// and before those that were read end, which the service renews.
func (i Instance) stale(now time.Time) bool {
	c := i.Credentials
	return i.RoleAbsent || c.Code != "" && c.Code != "Success" ||
		!c.Expiration.IsZero() && now.After(c.Expiration.Add(-5*time.Minute))
}

// plan reads the configuration and plans, as far as the metadata service allows.
func (r *run) plan() {
	r.problems = nil
	m := *r.machine
	m.Now = time.Now() // each round: the clock may have been set since
	sources, err := r.Sources(r.userData)
	if r.instance == nil {
		// How long to wait for the metadata service may be said on this machine.
		cfg, _ := ReadConfig(sources, Instance{}, m)
		r.out.Plan.Policy = cfg.Policy
		return
	}
	if err != nil {
		r.problems = append(r.problems, Problem{
			Code: CFG102, Message: err.Error(),
			Remedy: "Make the configuration directories readable.",
		})
	}
	cfg, problems := ReadConfig(sources, *r.instance, m)
	r.problems = append(r.problems, problems...)
	plan, problems := NewPlan(cfg, r.out.Network)
	r.problems = append(r.problems, problems...)
	plan.Clock = m.Clock
	if len(r.opt.Targets) > 0 {
		plan.Targets = slices.DeleteFunc(plan.Targets, func(t Target) bool { return !slices.Contains(r.opt.Targets, t.Name) })
	}
	r.out.Plan, r.out.Origin, r.hidden = plan, cfg.Origin, hidesHealth(cfg.Kubelet)
	rejoins, joinedErr := r.rejoins()
	r.out.Plan.Rejoin = rejoins
	for _, err := range []error{r.machineErr, r.networkErr, joinedErr} {
		if err != nil {
			r.problems = append(r.problems, unknownFact(err))
		}
	}
}

// unknownTarget reports whether a target was asked for that the plan has not.
func (r *run) unknownTarget() bool {
	if r.instance == nil || fatalInput(r.problems) {
		return false
	}
	for _, name := range r.opt.Targets {
		if _, ok := r.out.Plan.Target(name); !ok {
			r.out.Err = fmt.Sprintf("the plan has no target %q", name)
			return true
		}
	}
	return false
}

// unknownFact is the warning that something about this machine cannot be read.
func unknownFact(err error) Problem {
	info, _ := HST102.Info()
	said := strings.ReplaceAll(err.Error(), "\n", "; ")
	return Problem{Code: HST102, Warning: true, Message: said, Remedy: fill(info.Remedy, pairs("detail", said))}
}

// fatalInput reports whether a problem keeps the node from being configured.
func fatalInput(problems []Problem) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return !p.Warning })
}

// write replaces the plan's files when the input is valid. They are inert
// while the gate is closed.
func (r *run) write() {
	if r.opt.NoWrite || r.instance == nil || fatalInput(r.problems) || len(r.out.Plan.Files) == 0 {
		return
	}
	if r.writeErr == nil && reflect.DeepEqual(r.written, r.out.Plan.Files) {
		return
	}
	files, err := r.Write(r.out.Plan.Files)
	r.written, r.writeErr = r.out.Plan.Files, err
	r.out.Files = mergeWritten(r.out.Files, files)
}

// mergeWritten keeps "changed" true for a file that any write of this run changed.
func mergeWritten(before, now []WrittenFile) []WrittenFile {
	changed := map[string]bool{}
	for _, f := range before {
		changed[f.Path] = f.Changed
	}
	for i := range now {
		now[i].Changed = now[i].Changed || changed[now[i].Path]
	}
	return now
}

// metadataResult turns a failed reading of the metadata service into a
// measurement like any other: one path for each address that was asked.
func metadataResult(err error) probe.Result {
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{169, 254, 169, 254}), 80)
	res := probe.Result{Target: MetadataTarget, Host: addr.Addr().String(), Port: addr.Port()}
	for _, me := range metadataErrors(err) {
		at := addr
		if me.Address.IsValid() {
			at = me.Address
		}
		if !slices.ContainsFunc(res.Paths, func(p probe.Path) bool { return p.Address == at }) {
			res.Paths = append(res.Paths, probe.Path{Address: at, Steps: metadataSteps(me)})
		}
	}
	if len(res.Paths) == 0 { // a file stands in for the service
		step := probe.Step{Phase: probe.PhaseConnect, Err: err.Error()}
		step.Cause, step.Errno = probe.Classify(err, probe.PhaseConnect)
		res.Paths = []probe.Path{{Address: addr, Steps: []probe.Step{step}}}
	}
	for i := range res.Paths {
		if s := &res.Paths[i].Steps[0]; s.Cause == "" {
			s.Cause = probe.Other
		}
	}
	return res
}

// metadataErrors are those that an error is or joins, the most telling first.
func metadataErrors(err error) []*MetadataError {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // the branches are walked one by one
		var out []*MetadataError
		for _, e := range joined.Unwrap() {
			out = append(out, metadataErrors(e)...)
		}
		return out
	}
	if me, ok := errors.AsType[*MetadataError](err); ok {
		return []*MetadataError{me}
	}
	return nil
}

// metadataSteps are the failed request and, after it, what one without a token got.
func metadataSteps(me *MetadataError) []probe.Step {
	step := probe.Step{Phase: probe.PhaseConnect, Took: probe.Duration(me.Took), Err: me.Error()}
	if me.Phase != "" {
		step.Phase = me.Phase
	}
	step.Cause, step.Errno = probe.Classify(me.Err, step.Phase)
	if me.Status != 0 {
		step.Phase, step.Cause = probe.PhaseHTTP, probe.Other
		step.HTTP = &probe.HTTPInfo{Method: me.Method, Path: me.Path, Status: me.Status, Header: map[string]string{"Server": me.Server}}
	}
	steps := []probe.Step{step}
	if me.Tokenless != 0 {
		steps = append(steps, probe.Step{Phase: probe.PhaseHTTP, HTTP: &probe.HTTPInfo{Method: "GET", Path: "/latest/meta-data/mac", Status: me.Tokenless}})
	}
	return steps
}
