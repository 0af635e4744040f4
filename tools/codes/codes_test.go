package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// net105 is the MESSAGE_ID of NP-NET-105 since 0.1.0.
const net105 = "82db5a911c995e7f828c03e30d3b51a1"

func read(t *testing.T) table {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, source))
	if err != nil {
		t.Fatal(err)
	}
	tab, err := parse(data)
	if err != nil {
		t.Fatalf("%s:\n%v", source, err)
	}
	return tab
}

func TestGeneratedFilesAreCurrent(t *testing.T) {
	t.Parallel()
	told, err := records(filepath.Join(root, reportsDir))
	if err != nil {
		t.Fatal(err)
	}
	files, err := generate(read(t), told)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		got, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Error(err)
			continue
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what codes.yaml gives: run make generate", path)
		}
	}
	pages, err := filepath.Glob(filepath.Join(root, docsDir, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		if _, ok := files[docsDir+"/"+filepath.Base(page)]; !ok {
			t.Errorf("%s belongs to no code", page)
		}
	}
}

// TestMessageIDs pins the derivation: a changed namespace or formula would
// silently orphan every installed catalog.
func TestMessageIDs(t *testing.T) {
	t.Parallel()
	tab := read(t)
	// Python: uuid.uuid5(uuid.UUID(namespace), "NP-NET-105").hex
	if got, want := tab.messageID("NP-NET-105"), net105; got != want {
		t.Errorf("MESSAGE_ID of NP-NET-105 is %s, was %s", got, want)
	}
}

func TestCheckFindsMistakes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*table)
		want   string
	}{
		"twice":      {func(t *table) { t.Codes = append(t.Codes, t.Codes[0]) }, "CFG-101: listed twice"},
		"order":      {func(t *table) { t.Codes[0], t.Codes[1] = t.Codes[1], t.Codes[0] }, "CFG-101: after CFG-102"},
		"form":       {func(t *table) { t.Codes[0].Code = "CFG-1" }, "not of the form"},
		"title":      {func(t *table) { t.Codes[0].Title = strings.Repeat("x", 61) }, "61 characters"},
		"empty":      {func(t *table) { t.Codes[0].Signal = " " }, "signal is empty"},
		"lines":      {func(t *table) { t.Codes[0].Cause = "a\nb" }, "cause is not one trimmed line"},
		"field":      {func(t *table) { t.Codes[0].Remedy = "do {a b}" }, "bad field {a b}"},
		"severity":   {func(t *table) { t.Codes[0].Severity = "bad" }, `severity "bad"`},
		"confidence": {func(t *table) { t.Codes[0].Confidence = "sure" }, `confidence "sure"`},
		"guess":      {func(t *table) { t.Codes[0].Verified = "guess" }, "never more than possible"},
		"exit":       {func(t *table) { t.Codes[0].Exit = 11 }, "exit 11"},
		"version":    {func(t *table) { t.Codes[0].Since = "1" }, `since "1"`},
		"unknown":    {func(t *table) { t.Codes[0].Suppresses = []string{"CFG-999"} }, `unknown code "CFG-999"`},
		"circle": {func(t *table) {
			t.Codes[0].Suppresses = []string{"CFG-102"}
			t.Codes[1].Suppresses = []string{"CFG-101"}
		}, "circular: CFG-101 > CFG-102 > CFG-101"},
		"self":          {func(t *table) { t.Codes[0].Suppresses = []string{"CFG-101"} }, "circular: CFG-101 > CFG-101"},
		"namespace":     {func(t *table) { t.Namespace = "x" }, "no UUID"},
		"message":       {func(t *table) { t.Messages[0].About = "" }, "name and about"},
		"message twice": {func(t *table) { t.Messages[1] = t.Messages[0] }, "same message id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tab := read(t)
			tt.change(&tab)
			if err := tab.check(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestParseRefusesUnknownColumns(t *testing.T) {
	t.Parallel()
	if _, err := parse([]byte("namespace: 0b6a3a0e-6c1f-4a6d-9d0e-5f2c8b7741d3\ncodes: [{code: CFG-101, colour: red}]\n")); err == nil || !strings.Contains(err.Error(), "colour") {
		t.Errorf("got %v", err)
	}
}

func TestCatalogFitsJournald(t *testing.T) {
	t.Parallel()
	for i, line := range strings.Split(string(catalog(read(t))), "\n") {
		if strings.HasPrefix(line, "-- ") && len(line) != len("-- ")+32 {
			t.Errorf("line %d: bad id %q", i+1, line)
		}
		// journald replaces @NAME@; any other @ could begin one by mistake.
		rest := line
		for _, f := range []string{"TARGET", "EVIDENCE", "REMEDY", "CONSEQUENCE"} {
			rest = strings.ReplaceAll(rest, "@NODEPREP_"+f+"@", "")
		}
		if strings.Contains(rest, "@") {
			t.Errorf("line %d: an @ that is no field: %q", i+1, line)
		}
	}
}
