package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	first := mutant{number: 1, file: "a.go", line: 3, function: "f", text: "x: y", nth: 1}
	second := mutant{number: 2, file: "a.go", line: 4, function: "f", text: "x: y", nth: 2}
	for _, tt := range []struct {
		name      string
		list      string
		survivors []mutant
		part      bool // not every predicate was mutated
		says      []string
		err       string
	}{
		{"all noticed", "# nothing\n\n", nil, false, []string{"2 of 2 mutants noticed (100.0 %), 0 listed as equivalent, 0 unnoticed"}, ""},
		{"one unnoticed", "", []mutant{second}, false, []string{"a.go:4: nothing notices that x: y is flipped\n\ta.go: f: x: y #2\n", "1 of 2 mutants noticed (50.0 %), 0 listed as equivalent, 1 unnoticed"}, "no test holds"},
		{"listed", "a.go: f: x: y #2 — nobody — can see it\n", []mutant{second}, false, []string{"1 listed as equivalent, 0 unnoticed"}, ""},
		{"another one listed", "a.go: f: x: y — why\n", []mutant{second}, false, []string{"0 listed as equivalent, 1 unnoticed"}, "no test holds"},
		{"listed and noticed", "a.go: f: x: y — why\n", nil, false, []string{"equivalent.txt:1: a.go: f: x: y is noticed by a test"}, "not true"},
		{"listed and gone", "\na.go: g: x — why\n", nil, false, []string{"equivalent.txt:2: a.go: g: x is no predicate of that file"}, "not true"},
		{"not mutated", "a.go: g: x — why\n", nil, true, nil, ""},
		{"of a file that was not mutated", "b.go: g: x — why\n", nil, false, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "equivalent.txt")
			if err := os.WriteFile(file, []byte(tt.list), 0o600); err != nil {
				t.Fatal(err)
			}
			listed, err := readEquivalents(file)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			err = report(&out, []mutant{first, second}, tt.survivors, listed, !tt.part)
			for _, s := range tt.says {
				if !strings.Contains(out.String(), s) {
					t.Errorf("does not say %q:\n%s", s, out.String())
				}
			}
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestReadEquivalentsRefuses(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"a.go: f: x", "a.go: f — why", "a.go — why"} {
		file := filepath.Join(t.TempDir(), "equivalent.txt")
		if err := os.WriteFile(file, []byte("# fine\n"+line), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readEquivalents(file); err == nil || !strings.Contains(err.Error(), "equivalent.txt:2:") {
			t.Errorf("%s: %v", line, err)
		}
	}
}
