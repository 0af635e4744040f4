package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// policyFile is this machine's configuration.
const policyFile = "etc/nodeprep/conf.d/50-policy.yaml"

// policy is a PrepConfig.
func policy(spec string) string {
	return "apiVersion: nodeprep.io/v1alpha1\nkind: PrepConfig\nspec: " + spec + "\n"
}

// A policyCase is a broken VPC, and what the node's owner decided for that.
type policyCase struct {
	faults []string // ecr-api-drop when empty
	spec   string
	joined *bootstrap.Marker // of an earlier boot

	// by begins the reason for which the one cause does not hold the kubelet, and
	// after is how long it does at least. Without a reason the kubelet is held.
	by    string
	after time.Duration
	// blocks, would and warns are the codes of a kubelet that is held.
	blocks, would, warns []bootstrap.Code
}

// TestPolicy breaks something; what that does to the gate is the policy's.
func TestPolicy(t *testing.T) {
	t.Parallel()
	net105 := []bootstrap.Code{bootstrap.NET105}
	marker := func(edit func(*bootstrap.Marker)) *bootstrap.Marker {
		m := &bootstrap.Marker{InstanceID: "i-0123456789abcdef0", Cluster: "lab", At: time.Now().Add(-time.Hour)}
		edit(m)
		return m
	}
	cases := map[string]policyCase{
		"enforce another area":         {spec: "{enforce: [NP-DNS]}", by: "enforce lists only NP-DNS"},
		"enforce one area of two":      {faults: []string{"ecr-api-drop", "apiserver-nxdomain"}, spec: "{enforce: [NP-DNS]}", blocks: []bootstrap.Code{bootstrap.DNS108}, would: net105},
		"waive":                        {spec: "{waive: [{code: NP-NET-105, reason: it is being rebuilt, until: 9999-12-31}]}", by: "waived until 9999-12-31: it is being rebuilt"},
		"waive until a day in 2020":    {spec: "{waive: [{code: NP-NET-105, reason: it is being rebuilt, until: 2020-12-31}]}", blocks: net105, warns: []bootstrap.Code{bootstrap.CFG111}},
		"assumedHold":                  {spec: "{assumedHold: 8s}", by: "assumedHold 8s is over", after: 8 * time.Second},
		"assumedHold, needs listed":    {spec: "{assumedHold: 1s, needs: [vpc-cni, image-pull]}", blocks: net105},
		"quorum":                       {faults: []string{"ecr-api-one-az"}, spec: "{}"},
		"strict":                       {faults: []string{"ecr-api-one-az"}, spec: "{mode: strict}", blocks: []bootstrap.Code{bootstrap.NET107}},
		"first boot":                   {spec: "{rejoinHold: 1s}", blocks: net105},
		"joined before":                {spec: "{rejoinHold: 1s}", joined: marker(func(*bootstrap.Marker) {}), by: "rejoinHold 1s is over", after: time.Second},
		"image of another machine":     {spec: "{rejoinHold: 1s}", joined: marker(func(m *bootstrap.Marker) { m.InstanceID = "i-0ffffffffffffffff" }), blocks: net105},
		"joined another cluster":       {spec: "{rejoinHold: 1s}", joined: marker(func(m *bootstrap.Marker) { m.Cluster = "other" }), blocks: net105},
		"joined a cluster that is new": {spec: "{rejoinHold: 1s}", joined: marker(func(m *bootstrap.Marker) { m.CASHA256 = strings.Repeat("0", 64) }), blocks: net105},
	}
	// They wait for packets that do not come, most of the time.
	var wg sync.WaitGroup
	for name, c := range cases {
		wg.Go(func() { t.Run(name, func(t *testing.T) { testPolicy(t, c) }) })
	}
	wg.Wait()
}

func testPolicy(t *testing.T, c policyCase) {
	t.Helper()
	if c.faults == nil {
		c.faults = []string{"ecr-api-drop"}
	}
	v := lab(t, vpc.Options{})
	for _, f := range c.faults {
		inject(t, v, f)
	}
	root := prepared(t, v)
	write(t, root, policyFile, policy(c.spec))
	if m := c.joined; m != nil {
		if m.CASHA256 == "" {
			sum := sha256.Sum256(v.ClusterCA())
			m.CASHA256 = hex.EncodeToString(sum[:])
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		write(t, root, host.JoinedPath, string(b))
	}
	b := bootstrapIn(t, v, root)
	if len(c.blocks) > 0 {
		c.held(t, b)
		return
	}
	if c.after > 5*time.Second { // which is longer than a round: there is a time in which it holds
		b.blocked(bootstrap.NET105)
	}
	b.passes()
	o := readReport(filepath.Join(root, "run/nodeprep/report.json"))
	judgedAlike(t, o)
	t.Logf("passed after %s: %s", o.Updated.Sub(o.Started), o.Status)
	if c.by == "" {
		if len(o.Verdict.WouldBlock()) != 0 {
			t.Errorf("%+v", o.Verdict)
		}
		return
	}
	if took := o.Updated.Sub(o.Started); took < c.after || took > c.after+verdictTime {
		t.Errorf("passed after %s", took)
	}
	all := slices.Concat(o.Verdict.Findings, o.Verdict.Waived)
	if len(all) != 1 || all[0].Code != bootstrap.NET105 || !all[0].WouldBlock || all[0].Blocks || !strings.HasPrefix(all[0].AllowedBy, c.by) ||
		len(o.Verdict.Waived) == 1 != strings.HasPrefix(c.by, "waived") {
		t.Errorf("%+v", o.Verdict)
	}
	for _, want := range []string{"NOT BLOCKED after ", "NP-NET-105", "\n   allow " + c.by} {
		if !strings.Contains(b.out.String(), want) {
			t.Errorf("%q is not said:\n%s", want, b.out.String())
		}
	}
}

// held expects that two rounds later the kubelet is held, by these causes.
func (c policyCase) held(t *testing.T, b *bootstrapping) {
	t.Helper()
	var o bootstrap.Outcome
	if !wait(b.ctx, t, func() bool {
		o = readReport(filepath.Join(b.root, "run/nodeprep/report.json"))
		return o.Round >= 2 && !o.NextRound.IsZero() || o.Stage == bootstrap.StageDone
	}) || o.Stage == bootstrap.StageDone {
		t.Fatalf("round %d, status %q", o.Round, o.Status)
	}
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = b.cmd.Wait()
	if code := b.cmd.ProcessState.ExitCode(); code != bootstrap.ExitTerminated {
		t.Errorf("exit %d:\n%s", code, b.out.String())
	}
	judgedAlike(t, o)
	t.Logf("held for %s: %s", o.Updated.Sub(o.Started), o.Status)
	var blocks, would, warns []bootstrap.Code
	for _, f := range slices.Concat(o.Verdict.Findings, o.Verdict.Waived) {
		switch {
		case f.Blocks:
			blocks = append(blocks, f.Code)
		case f.WouldBlock:
			would = append(would, f.Code)
		default:
			warns = append(warns, f.Code)
		}
	}
	if !slices.Equal(blocks, c.blocks) || !slices.Equal(would, c.would) || !slices.Equal(warns, c.warns) {
		t.Errorf("blocks %v, would block %v, warns %v: %+v", blocks, would, warns, o.Verdict)
	}
	for _, code := range slices.Concat(c.blocks, c.would, c.warns) {
		if !bytes.Contains(b.out.Bytes(), []byte(code)) {
			t.Errorf("%s is not said:\n%s", code, b.out.String())
		}
	}
}
