package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// leastShapes is how many healthy shapes there are at least.
const leastShapes = 25

// TestShapes checks and bootstraps a node in every healthy shape: nothing holds it, it
// is warned of nothing but what the shape's row names, and no more is sent than the
// plan needs.
func TestShapes(t *testing.T) {
	t.Parallel()
	list := vpc.Shapes()
	if len(list) < leastShapes {
		t.Errorf("%d shapes, want %d", len(list), leastShapes)
	}
	shapes := make(chan vpc.Shape)
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for s := range shapes {
				t.Run(s.Name, func(t *testing.T) { testShape(t, s) })
			}
		})
	}
	seen := map[string]bool{}
	for _, s := range list {
		if seen[s.Name] || s.Title == "" {
			t.Errorf("shape %q is there twice, or without a title", s.Name)
		}
		seen[s.Name] = true
		shapes <- s
	}
	close(shapes)
	wg.Wait()
}

func testShape(t *testing.T, s vpc.Shape) {
	t.Helper()
	v, err := s.New(t.Context())
	if s.Options.Latency > 0 && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) && os.Getenv("CI") != "true" {
		t.Skip("no slow link without /dev/net/tun: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	o, exit := check(t, v)
	for try := 1; s.Late == "" && hurried(o) && try < 5; try++ {
		t.Logf("this machine was too busy for an answer in time: %s", o.Updated.Sub(o.Started))
		v.ResetCounts()
		o, exit = check(t, v)
	}
	if exit != 0 {
		t.Errorf("check: exit %d", exit)
	}
	t.Logf("%s: checked within %s", s.Title, o.Updated.Sub(o.Started).Round(time.Millisecond))
	if seen, ok := shapeShows()[s.Name]; !ok || !seen(o) {
		b, _ := json.MarshalIndent(o, "", " ")
		t.Errorf("the outcome does not show the shape:\n%s", b)
	}
	noFalseAlarm(t, s, o)
	if s.Late == "" {
		noExperiments(t, o)
		asNeeded(t, v, o, s.Extra)
	}
	v.ResetCounts()
	o = bootstrapped(t, v)
	noFalseAlarm(t, s, o)
	if s.Late == "" && !hurried(o) {
		noExperiments(t, o)
	}
	if n := v.Counts().AWSRequests; n != 0 {
		t.Errorf("bootstrap: %d AWS API requests", n)
	}
}

// bootstrapped runs a bootstrap without a start to its end and returns its outcome.
func bootstrapped(t *testing.T, v *vpc.VPC) bootstrap.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	root := prepared(t, v)
	capture, err := v.Capture()
	if err != nil {
		t.Fatal(err)
	}
	out, err := v.Command(ctx, program("nodeprep"), "bootstrap", "--no-start", "--root", root).CombinedOutput()
	flows, lost := capture.Stop()
	if err != nil || lost != nil {
		t.Fatalf("%v, %v\n%s", err, lost, out)
	}
	report, err := os.ReadFile(filepath.Join(root, "run/nodeprep/report.json"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(append(report, out...), []byte(vpc.ProxyPassword)) {
		t.Error("the proxy's password is shown")
	}
	var o bootstrap.Outcome
	if err := json.Unmarshal(report, &o); err != nil {
		t.Fatal(err)
	}
	withinPlan(t, o, flows)
	return o
}

// noFalseAlarm fails for each finding that the shape does not name.
func noFalseAlarm(t *testing.T, s vpc.Shape, o bootstrap.Outcome) {
	t.Helper()
	if !o.Verdict.Pass || o.Round != 1 {
		t.Errorf("pass %v in round %d", o.Verdict.Pass, o.Round)
	}
	if len(o.Verdict.Pending)+len(o.Verdict.Waived) != 0 {
		t.Errorf("pending %v, waived %v", o.Verdict.Pending, o.Verdict.Waived)
	}
	want := maps.Clone(s.Warnings)
	for _, f := range o.Verdict.Findings {
		if f.Blocks || s.Warnings[string(f.Code)] == "" {
			t.Errorf("%s %v, blocks %v: %s | fix: %s", f.Code, f.Targets, f.Blocks, f.Because, f.Remedy)
		}
		delete(want, string(f.Code))
	}
	for code, why := range want {
		t.Errorf("%s is no more found: %s", code, why)
	}
}

// noExperiments fails for whatever a round measured beside its targets.
func noExperiments(t *testing.T, o bootstrap.Outcome) {
	t.Helper()
	for _, r := range o.Report.Results {
		if r.Compared != nil || r.Direct != nil {
			t.Errorf("%s was compared: %+v %+v", r.Target, r.Compared, r.Direct)
		}
		for _, p := range r.Paths {
			if len(p.Experiments) > 0 || p.Reference {
				t.Errorf("%s: experiments with %s: %+v", r.Target, p.Address, p.Experiments)
			}
		}
	}
	for _, c := range o.Report.Clock {
		if c.Source != "metadata" {
			t.Errorf("%s was asked for the time", c.Source)
		}
	}
}

// hurried reports whether a step took so long that experiments began, though nothing
// is wrong: this machine has other things to do.
func hurried(o bootstrap.Outcome) bool {
	return slices.ContainsFunc(o.Report.Results, func(r probe.Result) bool {
		return slices.ContainsFunc(r.Lookups, func(l probe.Lookup) bool { return l.Sent > 1 }) ||
			slices.ContainsFunc(r.Paths, func(p probe.Path) bool {
				return slices.ContainsFunc(p.Steps, func(s probe.Step) bool { return time.Duration(s.Took) > 900*time.Millisecond })
			})
	})
}

// asNeeded compares what the VPC's services saw with what the plan needs: each name
// asked once of each server, one connection to each address, and beside that one
// lookup and connection of the API server by the machine's own resolver.
func asNeeded(t *testing.T, v *vpc.VPC, o bootstrap.Outcome, extra int) {
	t.Helper()
	questions, connections := extra, 0
	names := map[string]bool{}
	requests := 0
	for _, target := range o.Plan.Targets {
		host := target.Host
		if target.Proxy != "" {
			host = proxyOf(target)
		}
		if _, err := netip.ParseAddr(host); err != nil {
			names[strings.ToLower(host)] = true
		}
		res, _ := o.Report.Result(target.Name)
		connections += len(res.Paths)
		requests += len(res.Paths) * len(target.Requests)
		if !target.System {
			continue
		}
		searched := 0
		if strings.Count(target.Host, ".") < o.Network.DNS.NDots || res.System != nil && res.System.Cause == probe.DNSNXDomain {
			searched = len(o.Network.DNS.Search)
		}
		if len(target.Hosts) == 0 { // the hosts file spares it the question
			questions += 2 * (searched + 1) // A and AAAA
		}
		if target.Proxy == "" {
			connections++
		}
	}
	types := 1
	if o.Network.HasIPv6() {
		types = 2
	}
	questions += len(names) * len(o.Network.DNS.Servers) * types
	got := v.Counts()
	if got.Questions > questions || got.Connections > connections || got.Requests > requests {
		t.Errorf("%d questions, %d connections and %d requests, want %d, %d and %d", got.Questions, got.Connections, got.Requests, questions, connections, requests)
	}
	if got.AWSRequests != 0 || got.TokenRequests != 1 || got.MetadataRequests > 16 || got.MetadataConnections > 8 {
		t.Errorf("%+v", got)
	}
}
