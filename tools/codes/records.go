package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// reportsDir holds what the judge said of the cases of its tests: verdicts by the
// name of the case.
const reportsDir = "pkg/bootstrap/testdata/reports"

// A record is a finding of a recorded case.
type record struct {
	finding
	name string // of the case
	// apart are the codes that findings of this code rule out in any case, and why
	// in the first.
	apart map[string]string
}

// A finding is the part of a verdict's finding that a page shows.
type finding struct {
	Code        string `json:"code"`
	Confidence  string `json:"confidence"`
	Because     string `json:"because"`
	Remedy      string `json:"remedy"`
	Consequence string `json:"consequence"`
	Not         []struct {
		Code string `json:"code"`
		Why  string `json:"why"`
	} `json:"not"`
}

// records reads the verdicts and keeps one example of each code: of those that claim
// most, the one that rules out most, and of equals the first by name.
func records(dir string) (map[string]*record, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	told := map[string]*record{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var verdict struct {
			Findings []finding `json:"findings"`
		}
		if err := json.Unmarshal(b, &verdict); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		name := strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), ".json"), "-", " ")
		for _, f := range verdict.Findings {
			r := told[f.Code]
			if r == nil {
				r = &record{finding: f, name: name, apart: map[string]string{}}
				told[f.Code] = r
			} else if strength(f) > strength(r.finding) {
				r.finding, r.name = f, name
			}
			for _, n := range f.Not {
				if r.apart[n.Code] == "" {
					r.apart[n.Code] = n.Why
				}
			}
		}
	}
	return told, nil
}

// strength orders findings by what they claim, then by what they rule out.
func strength(f finding) int {
	return 100*slices.Index([]string{"possible", "likely", "proven"}, f.Confidence) + len(f.Not)
}
