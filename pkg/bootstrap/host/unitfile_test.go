package host_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
)

func TestAssignments(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("10.0.0.0/8,", 1000)
	for name, c := range map[string]struct {
		text string
		want [][2]string
	}{
		"empty":               {"", nil},
		"other sections":      {"[Unit]\nA=1\n[Service]\nB=2\n[Install]\nC=3\n[Service]\nD=4\n", [][2]string{{"B", "2"}, {"D", "4"}}},
		"before any section":  {"A=1\n[Service]\n", nil},
		"white space":         {" [Service] \r\n\t A \t=  1 2 \r\nB=", [][2]string{{"A", "1 2"}, {"B", ""}}},
		"comments":            {"[Service]\n#A=1\n ;B=2\nC=3 # no comment\n", [][2]string{{"C", "3 # no comment"}}},
		"junk":                {"[Service]\njunk\n\nA=1\n=2\n", [][2]string{{"A", "1"}, {"", "2"}}},
		"several lines":       {"[Service]\nA=1 \\\n   2 \\\n3\nB=4\n", [][2]string{{"A", "1  2  3"}, {"B", "4"}}},
		"comment in between":  {"[Service]\nA=1 \\\n# not here\n; nor here\n2\n", [][2]string{{"A", "1  2"}}},
		"escaped backslash":   {"[Service]\nA=1\\\\\nB=2\n", [][2]string{{"A", `1\\`}, {"B", "2"}}},
		"goes on at the end":  {"[Service]\nA=1\\", [][2]string{{"A", "1"}}},
		"a very long line":    {"[Service]\nA=" + long + "\n", [][2]string{{"A", long}}},
		"byte order mark":     {"\ufeff[Service]\nA=1\n", [][2]string{{"A", "1"}}},
		"assignment of equal": {"[Service]\nA=B=C\n", [][2]string{{"A", "B=C"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, host.Assignments([]byte(c.text), "Service")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestSplitWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                                   nil,
		"  ":                                 nil,
		"A=1 B=2\tC=3":                       {"A=1", "B=2", "C=3"},
		`"A=1 2" 'B=3 4'`:                    {"A=1 2", "B=3 4"},
		`A="1 2"x B='it is "so"'`:            {"A=1 2x", `B=it is "so"`},
		`"A=it's" ""`:                        {"A=it's", ""},
		`A=\x41\u00e9\101\s\t\\\"\' B`:       {"A=Aé" + "A \t\\\"'", "B"},
		`A=\U0001F600`:                       {"A=\U0001F600"},
		`A=1 B=\q C=3`:                       {"A=1"},
		`A=1 B=\x4`:                          {"A=1"},
		`A=1 B=\x00`:                         {"A=1"},
		`A=1 B=\400`:                         {"A=1"},
		`A=1 B=\`:                            {"A=1"},
		`A=1 "B=2 C=3`:                       {"A=1"},
		`"NO_PROXY=10.0.0.0/8,.internal" X=`: {"NO_PROXY=10.0.0.0/8,.internal", "X="},
	} {
		if diff := cmp.Diff(want, host.SplitWords(text)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", text, diff)
		}
	}
}

func TestEnvironmentFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want [][2]string
	}{
		"empty":           {"", nil},
		"plain":           {"A=1\nB=2 3 \t\nC=\n", [][2]string{{"A", "1"}, {"B", "2 3"}, {"C", ""}}},
		"comments":        {"# A=1\n  ; B=2\nC=3 # no comment\n", [][2]string{{"C", "3 # no comment"}}},
		"junk":            {"junk\nexport A=1\n \nB=2", [][2]string{{"export A", "1"}, {"B", "2"}}},
		"white space":     {" A = 1\r\n\tB=\t2\n", [][2]string{{"A", "1"}, {"B", "2"}}},
		"double quotes":   {`A="1 # \"2\" \$x \n" ` + "\nB=\"3\n4\"\nC=\"5\\\n6\"", [][2]string{{"A", `1 # "2" $x \n`}, {"B", "3\n4"}, {"C", "56"}}},
		"single quotes":   {`A='1 "2" \n $x' ` + "\nB=''\n", [][2]string{{"A", `1 "2" \n $x`}, {"B", ""}}},
		"joined":          {`A="1 "'2 '3 4` + "\nB=a\"b\"\n", [][2]string{{"A", "1 2 3 4"}, {"B", `a"b"`}}},
		"escapes":         {`A=1\ \"\\x` + "\\\n2\nB=\\", [][2]string{{"A", `1 "\x2`}, {"B", ""}}},
		"escaped blank":   {"A=1\\ \nB=2\n", [][2]string{{"A", "1 "}, {"B", "2"}}},
		"no end of quote": {"A=\"1\nB=2\n", [][2]string{{"A", "1\nB=2\n"}}},
		"escape at end":   {`A="1\`, [][2]string{{"A", `1\`}}},
		"no expansion":    {"A=1\nB=${A}%%\n", [][2]string{{"A", "1"}, {"B", "${A}%%"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, host.EnvironmentFile([]byte(c.text))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// What was read, printed in quotes and read again is the same.
func FuzzEnvironmentFile(f *testing.F) {
	f.Add("HTTPS_PROXY=http://proxy:3128\nNO_PROXY='10.0.0.0/8'\n# x\n")
	f.Add("A=\"1\\\"\\n\\\n\"b\\\r\n=x\nB = 'x'\"y\" z \\")
	f.Fuzz(func(t *testing.T, text string) {
		first := host.EnvironmentFile([]byte(text))
		var b strings.Builder
		for _, a := range first {
			fmt.Fprintf(&b, "%s=\"%s\"\n", a[0], strings.NewReplacer(`"`, `\"`, `\`, `\\`, "`", "\\`", `$`, `\$`).Replace(a[1]))
		}
		if diff := cmp.Diff(first, host.EnvironmentFile([]byte(b.String()))); diff != "" {
			t.Errorf("printed as %q: -first +second:\n%s", b.String(), diff)
		}
	})
}

// The same for the lines and words of a unit file.
func FuzzUnitFile(f *testing.F) {
	f.Add("[Service]\nEnvironment=\"A=1 2\" B='3' C=\\x41\\\n  D=4\n#x\n")
	f.Add("[Unit]\r\nA=1\\\\\n[Service\nEnvironment=\\u00e9\\101\\q \"")
	f.Fuzz(func(t *testing.T, text string) {
		var first []string
		for _, a := range host.Assignments([]byte(text), "Service") {
			first = append(first, host.SplitWords(a[1])...)
		}
		var b strings.Builder
		b.WriteString("[Service]\n")
		for _, w := range first {
			quoted := strings.NewReplacer(`"`, `\"`, `\`, `\\`, "\n", `\n`, "\r", `\r`).Replace(w)
			fmt.Fprintf(&b, "X=\"%s\"\n", quoted)
		}
		var second []string
		for _, a := range host.Assignments([]byte(b.String()), "Service") {
			second = append(second, host.SplitWords(a[1])...)
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("printed as %q: -first +second:\n%s", b.String(), diff)
		}
	})
}
