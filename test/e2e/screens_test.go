package e2e_test

import (
	"context"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// screen is what a person sees of `nodeprep check`.
func screen(t *testing.T, v *vpc.VPC, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// The exit code is TestFaults' business.
	out, _ := v.Command(ctx, program("nodeprep"), append([]string{"check", "--root", prepared(t, v)}, args...)...).Output()
	t.Logf("\n%s", out)
	return string(out)
}

// TestScreens holds the promises about text: one line when all is well, the
// cause first and a line that can be read in a terminal when not.
func TestScreens(t *testing.T) {
	t.Parallel()
	t.Run("healthy", func(t *testing.T) {
		t.Parallel()
		s := screen(t, lab(t, vpc.Options{}))
		if !strings.HasPrefix(s, "ok ") || strings.Count(s, "\n") != 1 {
			t.Errorf("want one line: %q", s)
		}
	})
	for name, want := range map[string][]string{
		"ecr-api-drop": {"NP-NET-105", "ecr.api", "10.20.1.0/24", "fix"},
		"no-userdata":  {"NP-CFG-101", "fix"},
		"wrong-ca":     {"NP-TLS-101", "fix"},
		"imds-off":     {"NP-IMD-104", "fix"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := lab(t, vpc.Options{})
			if _, err := v.Inject(name); err != nil {
				t.Fatal(err)
			}
			s := screen(t, v)
			lines := strings.Split(s, "\n")
			if !strings.HasPrefix(lines[0], "BLOCKED after ") || len(lines) < 3 || !strings.Contains(lines[2], want[0]) {
				t.Errorf("the cause is not what is read first: %q", lines[:min(3, len(lines))])
			}
			for _, w := range want {
				if !strings.Contains(s, w) {
					t.Errorf("%q is not said", w)
				}
			}
			for _, l := range lines {
				if utf8.RuneCountInString(l) > 100 {
					t.Errorf("%d columns: %s", utf8.RuneCountInString(l), l)
				}
			}
		})
	}
}

// terminal runs nodeprep on the node with a terminal of 100 columns, of which
// script(1) keeps what was written to it.
func terminal(t *testing.T, v *vpc.VPC, env []string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	line := "stty rows 40 cols 100; exec " + program("nodeprep") + " " + strings.Join(args, " ")
	cmd := v.Command(ctx, "script", "--quiet", "--return", "--command", line, "/dev/null")
	cmd.Env = append(append(cmd.Env, "TERM=xterm"), env...)
	out, _ := cmd.CombinedOutput() // the exit code is TestFaults' business
	t.Logf("\n%s", out)
	return string(out)
}

// TestTerminal watches a check on a terminal: a table that is redrawn in place,
// then the verdict alone.
func TestTerminal(t *testing.T) {
	t.Parallel()
	v := lab(t, vpc.Options{})
	if _, err := v.Inject("ecr-api-drop"); err != nil {
		t.Fatal(err)
	}
	s := terminal(t, v, nil, "check", "--root", prepared(t, v))
	pictures := strings.Count(s, "A\r\x1b[J")
	if pictures < 10 {
		t.Errorf("%d pictures in a check of more than three seconds", pictures)
	}
	for _, want := range []string{"target", "ecr.api", "waiting for ecr.api", "\x1b[31mBLOCKED after "} {
		if !strings.Contains(s, want) {
			t.Errorf("%q is not seen", want)
		}
	}
	// What stays on the screen is what follows the last erasure.
	left := s[strings.LastIndex(s, "\x1b[J")+len("\x1b[J"):]
	if !strings.HasPrefix(left, "\x1b[31mBLOCKED") || strings.Contains(left, "/ try ") {
		t.Errorf("left on the screen: %q", left[:min(200, len(left))])
	}
	for name, env := range map[string][]string{"no colour": {"NO_COLOR=1"}, "dumb": {"TERM=dumb"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := terminal(t, v, env, "check", "--root", prepared(t, v))
			if strings.Contains(s, "\x1b[3") {
				t.Error("coloured")
			}
			if strings.Contains(strings.Join(env, ""), "dumb") && strings.Contains(s, "\x1b") {
				t.Error("a terminal that cannot is told to redraw")
			}
		})
	}
}
