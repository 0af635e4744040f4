package host_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
)

func checkLine(t *testing.T, l string) {
	t.Helper()
	if len(l) > 79 || !strings.HasPrefix(l, "nodeprep: ") {
		t.Errorf("%d columns: %q", len(l), l)
	}
	for _, r := range l {
		if r < ' ' || r > '~' {
			t.Errorf("%q in %q", r, l)
		}
	}
}

// observing is a run in mode observe.
func observing(o *bootstrap.Outcome) { o.Plan.Policy.Mode = bootstrap.ModeObserve }

func TestConsoleBlock(t *testing.T) {
	t.Parallel()
	many := []bootstrap.Finding{
		edit(securityGroup(), func(f *bootstrap.Finding) {
			f.Title += strings.Repeat(", and so it goes on", 10)
			f.Remedy = "Öffne „443“ → " + strings.Repeat("x", 200) + strings.Repeat(" and then this", 30)
			f.Consequence += strings.Repeat(" Really so.", 20)
			for range 20 {
				f.Addresses = append(f.Addresses, addrs("2001:db8:85a3::8a2e:370:7334")...)
			}
		}),
		publicPool(), missingCA(), edit(publicPool(), func(f *bootstrap.Finding) { f.Code = "NP-NET-108" }),
	}
	for name, o := range map[string]bootstrap.Outcome{
		"nothing-known":   outcome(),
		"blocked":         outcome(findings(securityGroup(), deadServer()), measured),
		"two-causes":      outcome(findings(securityGroup(), publicPool()), measured),
		"three-causes":    outcome(findings(securityGroup(), publicPool(), missingCA()), measured),
		"many-causes":     outcome(findings(many...), measured),
		"config-rejected": outcome(findings(missingCA()), ended(10), func(o *bootstrap.Outcome) { o.Plan = bootstrap.Plan{} }),
		"example": outcome(findings(edit(missingCA(), func(f *bootstrap.Finding) {
			f.Remedy = "Put a NodeConfig into the user data:\napiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\n"
		})), ended(10)),
		"long-name": outcome(findings(edit(deadServer(), func(f *bootstrap.Finding) {
			f.Blocks = true
			f.Remedy = "Repair the forwarder of 10.9.0.53 for 0123456789ABCDEF0123456789ABCDEF.gr7.us-west-2.eks.amazonaws.com, ec2.us-west-2.amazonaws.com"
		}))),
		"answers-wrongly": outcome(findings(edit(securityGroup(), func(f *bootstrap.Finding) {
			f.Code, f.Targets = "NP-API-101", []string{"apiserver"}
		})), measured),
		"gave-up":        outcome(findings(securityGroup()), ended(75)),
		"internal":       outcome(ended(1), func(o *bootstrap.Outcome) { o.Err = "panic: index out of range\ngoroutine 1 [running]:" }),
		"stopped":        outcome(findings(securityGroup()), ended(143)),
		"passed":         outcome(findings()),
		"starting":       outcome(findings(deadServer()), stage(bootstrap.StageStart), opened("nodeprep")),
		"scripts":        outcome(findings(), stage(bootstrap.StageScripts)),
		"no-start":       outcome(findings(), stage(bootstrap.StageDone)),
		"about-to-start": outcome(findings(), stage(bootstrap.StageStart)),
		"unstable":       outcome(findings(crashLoop(), deadServer()), stage(bootstrap.StageConfirm), opened("nodeprep"), measured),
		"override":       outcome(findings(securityGroup()), opened("override")),
		"let-pass": outcome(findings(edit(securityGroup(), allowed("mode observe never holds the kubelet")), deadServer()),
			stage(bootstrap.StageStart), opened("nodeprep")),
		"waived": outcome(stage(bootstrap.StageStart), opened("nodeprep"), func(o *bootstrap.Outcome) {
			o.Verdict.Pass, o.Verdict.Waived = true, []bootstrap.Finding{edit(securityGroup(), allowed("waived: known"))}
		}),
		"running": outcome(findings(), stage(bootstrap.StageDone), opened("nodeprep")),
		"degraded": outcome(findings(edit(securityGroup(), allowed("rejoinHold 2m0s is over: this node has joined the cluster before")), deadServer()),
			stage(bootstrap.StageDone), opened("nodeprep")),
		"observe": outcome(findings(), stage(bootstrap.StageStart), opened("nodeprep"), observing),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines := host.ConsoleBlock(o)
			if len(lines) > 15 {
				t.Errorf("%d lines", len(lines))
			}
			text := ""
			for _, l := range lines {
				checkLine(t, l)
				text += l + "\n"
			}
			golden(t, "console/"+name+".txt", text)
		})
	}
}

func TestConsoleHeartbeat(t *testing.T) {
	t.Parallel()
	now := began.Add(90 * time.Minute)
	for want, o := range map[string]bootstrap.Outcome{
		"nodeprep: still NOT JOINING 01:30:00  NP-NET-105 ecr.api: the endpoint's...": outcome(findings(securityGroup())),
		"nodeprep: waiting 01:30:00  probing 41s":                                     outcome(),
	} {
		got := host.ConsoleHeartbeat(o, now)
		checkLine(t, got)
		if got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func close5s(t *testing.T, c interface{ Close(context.Context) error }) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
	defer cancel()
	return c.Close(ctx)
}

// consoleRun returns the first line of everything that is shown while steps run.
func consoleRun(t *testing.T, steps func(*host.Console)) []string {
	t.Helper()
	var first []string
	synctest.Test(t, func(t *testing.T) {
		c := host.NewConsoleWith(func(lines []string) error {
			first = append(first, lines[0])
			return nil
		})
		steps(c)
		if err := close5s(t, c); err != nil {
			t.Error(err)
		}
	})
	return first
}

func TestConsoleShowsChanges(t *testing.T) {
	t.Parallel()
	rule := "nodeprep: " + strings.Repeat("=", 69)
	got := consoleRun(t, func(c *host.Console) {
		pub := func(o bootstrap.Outcome, then time.Duration) { c.Publish(o); wait(then) }
		blocked := outcome(findings(securityGroup()))
		pub(outcome(), time.Second)
		pub(blocked, time.Second)                                                   // block
		pub(outcome(findings(securityGroup(), deadServer())), time.Second)          // a warning is no change of the cause
		pub(outcome(findings(securityGroup(), publicPool())), time.Second)          // block
		pub(blocked, 30*time.Second)                                                // came back: not shown again so soon
		pub(outcome(findings(), stage(bootstrap.StageScripts)), 10*time.Second)     // line
		pub(outcome(findings(), opened("nodeprep")), 5*time.Second)                 // line
		pub(outcome(findings(), stage(bootstrap.StageDone), opened("nodeprep")), 0) // line
		pub(outcome(findings(), stage(bootstrap.StageDone), opened("nodeprep")), time.Hour)
	})
	want := []string{
		rule, rule,
		"nodeprep: PASSED 00:00:41  i-0abc1234def567890  waiting for user scripts",
		"nodeprep: PASSED 00:00:41  i-0abc1234def567890  starting kubelet",
		"nodeprep: OK 00:00:41  i-0abc1234def567890  kubelet runs",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestConsoleBeats(t *testing.T) {
	t.Parallel()
	got := consoleRun(t, func(c *host.Console) {
		c.Publish(outcome())
		wait(2 * time.Hour)
	})
	// After 1, 3, 7, 15, 31, 61, 91 minutes.
	if len(got) != 7 {
		t.Errorf("%d lines in two hours: %q", len(got), got)
	}
}

func TestConsoleDevice(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "console")
	if err := os.WriteFile(path, []byte("login: "), 0o600); err != nil {
		t.Fatal(err)
	}
	c := host.NewConsole(path)
	c.Publish(outcome(findings(securityGroup())))
	if err := close5s(t, c); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	want := "login: \r\n" + strings.Join(host.ConsoleBlock(outcome(findings(securityGroup()))), "\r\n") + "\r\n"
	if string(b) != want || err != nil {
		t.Errorf("%v: got %q", err, b)
	}
}

func TestConsoleAbsent(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{
		"no such device": filepath.Join(t.TempDir(), "none"),
		"no reader":      filepath.Join(t.TempDir(), "fifo"),
	} {
		if strings.HasSuffix(path, "fifo") {
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c := host.NewConsole(path)
		c.Publish(outcome(findings(securityGroup())))
		if err := close5s(t, c); err == nil || c.Dropped() != 1 {
			t.Errorf("%s: %v, %d dropped", name, err, c.Dropped())
		}
		c.Publish(outcome(findings(publicPool()))) // after Close: nothing, and no panic
	}
}

// A console that takes nothing holds up nobody.
func TestConsoleStuck(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, reader)
	full, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, full)
	if err := full.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = full.Write(make([]byte, 4096))
	}
	c := host.NewConsole(path)
	began := time.Now()
	for i := range 200 {
		f := securityGroup()
		f.Targets = []string{strings.Repeat("x", i+1)}
		c.Publish(outcome(findings(f)))
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("to publish 200 times took %v", took)
	}
	if c.Dropped() == 0 {
		t.Error("nothing dropped")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	at := time.Now()
	if err := c.Close(ctx); err == nil || time.Since(at) > time.Second {
		t.Errorf("Close: %v after %v", err, time.Since(at))
	}
}
