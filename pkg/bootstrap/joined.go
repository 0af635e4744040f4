package bootstrap

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"
)

// marker is what says that this instance joined this cluster, and whether enough
// is known to say so.
func (r *run) marker() (Marker, bool) {
	c := r.out.Plan.Cluster
	if r.instance == nil || r.instance.ID == "" || c.Name == "" || len(c.CA) == 0 {
		return Marker{}, false
	}
	sum := sha256.Sum256(c.CA)
	return Marker{InstanceID: r.instance.ID, Cluster: c.Name, CASHA256: hex.EncodeToString(sum[:])}, true
}

// rejoins reports whether this instance joined this cluster before.
func (r *run) rejoins() (bool, error) {
	want, ok := r.marker()
	if !ok {
		return false, nil
	}
	got, err := r.Joined()
	got.At = time.Time{}
	return got == want, err
}

// markJoined remembers that this node joined, for its next boot. The kubelet stayed
// up for the settle time; it also does without an API server, by an override, say,
// so that one must have answered.
func (r *run) markJoined() {
	m, ok := r.marker()
	v := newView(r.out.Plan, r.out.Report, r.out.Network, r.out.History, time.Now())
	if !ok || r.out.Plan.Rejoin || r.opt.NoWrite || !slices.ContainsFunc(v.targets, func(t *targetView) bool { return t.isAPIServer() && t.passed }) {
		return
	}
	m.At = time.Now().UTC()
	if err := r.MarkJoined(m); err != nil {
		f := unwritable(err).Findings[0]
		f.Blocks, f.Severity = false, Warning
		f.Consequence = "At its next boot this node waits for everything, as on the first one, in place of for rejoinHold."
		r.out.Verdict.Findings = append(r.out.Verdict.Findings, f)
	}
}
