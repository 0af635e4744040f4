package host_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
)

// transitions are what a run may become; each has a golden file.
func transitions() map[string][2]bootstrap.Outcome {
	blocked := outcome(findings(securityGroup(), deadServer()))
	waived := outcome(findings(deadServer()), func(o *bootstrap.Outcome) {
		o.Verdict.Waived = []bootstrap.Finding{edit(securityGroup(), allowed("waived until 2027-01-31: the endpoint is being rebuilt"))}
	})
	observe := outcome(findings(edit(securityGroup(), allowed("mode observe never holds the kubelet"))))
	degraded := outcome(findings(edit(securityGroup(), allowed("rejoinHold 2m0s is over: this node has joined the cluster before"))),
		stage(bootstrap.StageStart), opened("nodeprep"))
	return map[string][2]bootstrap.Outcome{
		"blocked":            {outcome(), blocked},
		"second-cause":       {blocked, outcome(findings(missingCA(), securityGroup(), deadServer()))},
		"spread":             {blocked, outcome(findings(edit(securityGroup(), func(f *bootstrap.Finding) { f.Targets = []string{"ec2", "ecr.api"} }), deadServer()))},
		"more-certain":       {blocked, outcome(findings(edit(securityGroup(), func(f *bootstrap.Finding) { f.Confidence = bootstrap.Proven }), deadServer()))},
		"passed":             {blocked, outcome(findings(deadServer()), stage(bootstrap.StageStart), opened("nodeprep"))},
		"passed-gate-closed": {blocked, outcome(findings())},
		"scripts":            {outcome(), outcome(findings(), stage(bootstrap.StageScripts))},
		"scripts-done":       {outcome(findings(), stage(bootstrap.StageScripts)), outcome(findings(), stage(bootstrap.StageStart), opened("nodeprep"))},
		"running":            {outcome(findings(), stage(bootstrap.StageConfirm), opened("nodeprep")), outcome(findings(), stage(bootstrap.StageDone), opened("nodeprep"))},
		"starting":           {outcome(), outcome(findings(), stage(bootstrap.StageStart))},
		"unstable":           {outcome(findings(), stage(bootstrap.StageConfirm), opened("nodeprep")), outcome(findings(crashLoop()), stage(bootstrap.StageConfirm), opened("nodeprep"))},
		"stable-again":       {outcome(findings(crashLoop()), stage(bootstrap.StageConfirm), opened("nodeprep")), outcome(findings(), stage(bootstrap.StageConfirm), opened("nodeprep"))},
		"override":           {blocked, outcome(findings(securityGroup(), deadServer()), opened("override"))},
		"override-running":   {outcome(findings(securityGroup()), opened("override")), outcome(findings(securityGroup()), stage(bootstrap.StageDone), opened("override"))},
		"waived":             {blocked, waived},
		"observe":            {outcome(), observe},
		"degraded":           {blocked, degraded},
		"degraded-running":   {degraded, edited(degraded, stage(bootstrap.StageDone))},
		"observe-starting":   {outcome(), outcome(findings(), stage(bootstrap.StageStart), opened("nodeprep"), observing)},
		"config-waived": {outcome(), outcome(func(o *bootstrap.Outcome) {
			o.Verdict.Waived = []bootstrap.Finding{edit(missingCA(), allowed("waived: known"))}
		})},
		"config-rejected": {outcome(), outcome(findings(missingCA()), ended(10))},
		"gave-up":         {blocked, outcome(findings(securityGroup(), deadServer()), ended(75))},
		"internal":        {outcome(), outcome(ended(1), func(o *bootstrap.Outcome) { o.Err = "panic: index out of range\ngoroutine 1" })},
		"stopped":         {blocked, outcome(findings(securityGroup(), deadServer()), ended(143))},
		"stopped-later":   {outcome(findings(), stage(bootstrap.StageConfirm), opened("nodeprep")), outcome(findings(), ended(143), opened("nodeprep"))},
	}
}

// edited is an outcome with something changed.
func edited(o bootstrap.Outcome, edits ...func(*bootstrap.Outcome)) bootstrap.Outcome {
	for _, e := range edits {
		e(&o)
	}
	return o
}

// allowed lets a finding pass by a rule of the policy.
func allowed(by string) func(*bootstrap.Finding) {
	return func(f *bootstrap.Finding) {
		f.Blocks, f.WouldBlock, f.AllowedBy, f.Severity = false, true, by, bootstrap.Warning
	}
}

func TestEntries(t *testing.T) {
	t.Parallel()
	for name, c := range transitions() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entries := host.Entries(c[0], c[1])
			var b strings.Builder
			for _, e := range entries {
				checkEntry(t, e)
				enc := json.NewEncoder(&b)
				enc.SetEscapeHTML(false)
				enc.SetIndent("", "  ")
				if err := enc.Encode(e); err != nil {
					t.Fatal(err)
				}
			}
			golden(t, "entries/"+name+".json", b.String())
			if again := host.Entries(c[1], c[1]); len(again) != 0 {
				t.Errorf("nothing has changed, but: %v", again)
			}
		})
	}
}

// Figures, rotating public addresses, the order of addresses and everything that
// a round changes without telling anything new write nothing.
func TestEntriesAreForChanges(t *testing.T) {
	t.Parallel()
	before := outcome(findings(securityGroup(), publicPool(), deadServer()))
	after := outcome(findings(
		edit(securityGroup(), func(f *bootstrap.Finding) {
			f.Because, f.Remedy = "other figures", "other figures"
			f.Addresses = addrs("10.0.14.9", "10.0.12.34", "10.0.13.40")
		}),
		edit(publicPool(), func(f *bootstrap.Finding) { f.Addresses = addrs("52.218.9.9") }),
		deadServer(),
	), measured, func(o *bootstrap.Outcome) {
		o.Round, o.Status, o.Updated = 4, "later", o.Updated.Add(time.Minute)
	})
	if got := host.Entries(before, after); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	for name, change := range map[string]func(*bootstrap.Finding){
		"severity":    func(f *bootstrap.Finding) { f.Severity = bootstrap.Fatal },
		"confidence":  func(f *bootstrap.Finding) { f.Confidence = bootstrap.Possible },
		"hosts":       func(f *bootstrap.Finding) { f.Hosts = nil },
		"policy":      func(f *bootstrap.Finding) { f.AllowedBy = "waived: known" },
		"one address": func(f *bootstrap.Finding) { f.Addresses = f.Addresses[:2] },
	} {
		after := outcome(findings(edit(securityGroup(), change), publicPool(), deadServer()))
		if got := host.Entries(before, after); len(got) != 1 || got[0].Fields["NODEPREP_STATE"] != "still" {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestHeartbeatEntry(t *testing.T) {
	t.Parallel()
	now := began.Add(14*time.Minute + 5*time.Second)
	blocked := host.HeartbeatEntry(outcome(findings(securityGroup())), now)
	checkEntry(t, blocked)
	want := "kubelet.service held back for 00:14:05, round 3: NP-NET-105 ecr.api: the endpoint's security group drops TCP 443"
	if blocked.Message != want || blocked.Fields["MESSAGE_ID"] != bootstrap.MessageHeartbeat {
		t.Errorf("got %q", blocked.Message)
	}
	waiting := host.HeartbeatEntry(outcome(), now)
	checkEntry(t, waiting)
	if waiting.Message != "kubelet.service held back for 00:14:05, round 3: probing 41s" || waiting.Fields["MESSAGE_ID"] != bootstrap.MessageInput {
		t.Errorf("got %q", waiting.Message)
	}
}

var fieldName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

// checkEntry checks what holds for every entry.
func checkEntry(t *testing.T, e host.Entry) {
	t.Helper()
	if n := utf8.RuneCountInString(e.Message); n == 0 || n >= 160 || strings.ContainsAny(e.Message, "\r\n\x1b") {
		t.Errorf("MESSAGE has %d characters: %q", n, e.Message)
	}
	for name := range e.Fields {
		if !fieldName.MatchString(name) || name == "MESSAGE" || name == "PRIORITY" {
			t.Errorf("journald drops the field %q", name)
		}
	}
	for _, name := range append(catalogFields(t), "MESSAGE_ID", "SYSLOG_IDENTIFIER", "DOCUMENTATION", "NODEPREP_STATE", "NODEPREP_RUN_ID") {
		if e.Fields[name] == "" {
			t.Errorf("%q has no %s", e.Message, name)
		}
	}
	if !strings.Contains(catalog(t), "-- "+e.Fields["MESSAGE_ID"]+"\n") {
		t.Errorf("%q: the catalog has no %s", e.Message, e.Fields["MESSAGE_ID"])
	}
}

func catalog(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../../systemd/catalog/nodeprep.catalog")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// catalogFields are the fields that the journal's catalog prints.
func catalogFields(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, m := range regexp.MustCompile(`@([A-Z_]+)@`).FindAllStringSubmatch(catalog(t), -1) {
		out = append(out, m[1])
	}
	if len(out) == 0 {
		t.Error("the catalog prints no field")
	}
	return out
}

// What a peer sent reaches a console only as harmless text.
func TestEntriesSanitize(t *testing.T) {
	t.Parallel()
	evil := edit(securityGroup(), func(f *bootstrap.Finding) {
		f.Title = "first\nsecond\x1b[2J\x00\u202e\xff" + strings.Repeat("long ", 60)
	})
	for _, e := range host.Entries(outcome(), outcome(findings(evil))) {
		checkEntry(t, e)
		if !strings.HasSuffix(e.Message, "…") {
			t.Errorf("not marked as cut: %q", e.Message)
		}
	}
	for _, l := range host.ConsoleBlock(outcome(findings(evil))) {
		checkLine(t, l)
	}
	want := "kubelet.service held back for 00:00:00, round 3: NP-NET-105 ecr.api: a b"
	got := host.HeartbeatEntry(outcome(findings(edit(securityGroup(), func(f *bootstrap.Finding) { f.Title = "a \r\n\tb" }))), began).Message
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
