package bootstrap_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// schema is docs/report.schema.json.
func schema(t *testing.T) *jsonschema.Resolved {
	t.Helper()
	b, err := os.ReadFile("../../docs/report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	r, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// instance is v as a reader of its JSON sees it.
func instance(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSchema holds reports against the schema that their readers rely on.
func TestSchema(t *testing.T) {
	t.Parallel()
	resolved := schema(t)
	for name, spoil := range map[string]func(*machine){
		"healthy": func(*machine) {},
		"blocked": func(m *machine) { m.broken["ecr.api"] = probe.TCPTimeout },
		"no metadata": func(m *machine) {
			m.metadata = func() (bootstrap.Metadata, error) {
				return bootstrap.Metadata{}, &bootstrap.MetadataError{Method: "PUT", Path: "/latest/api/token", Phase: probe.PhaseConnect}
			}
		},
		"no user data": func(m *machine) {
			m.metadata = func() (bootstrap.Metadata, error) { return bootstrap.Metadata{Instance: testInstance()}, nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := healthyMachine(t)
			spoil(m)
			synctest.Test(t, func(t *testing.T) {
				o := quick
				o.Once = true
				out := bootstrap.Run(t.Context(), m.deps(), o)
				if err := resolved.Validate(instance(t, out.ForReport())); err != nil {
					t.Error(err)
				}
			})
		})
	}
	files, err := filepath.Glob("testdata/incidents/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		if err := resolved.Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSchemaRefuses shows that the schema can refuse.
func TestSchemaRefuses(t *testing.T) {
	t.Parallel()
	resolved := schema(t)
	good := bootstrap.Outcome{Schema: bootstrap.Schema, Stage: bootstrap.StageDone}
	good.Plan.Policy.Mode = bootstrap.ModeQuorum
	good.Verdict.Findings = []bootstrap.Finding{{Code: bootstrap.NET105, Severity: bootstrap.Fatal, Confidence: bootstrap.Likely}}
	if err := resolved.Validate(instance(t, good.ForReport())); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*bootstrap.Outcome){
		"a code that no table has": func(o *bootstrap.Outcome) { o.Verdict.Findings[0].Code = "NP-NET-999" },
		"an unknown severity":      func(o *bootstrap.Outcome) { o.Verdict.Findings[0].Severity = "grave" },
		"an unknown stage":         func(o *bootstrap.Outcome) { o.Stage = "lunch" },
	} {
		o := good
		o.Verdict.Findings = append([]bootstrap.Finding(nil), good.Verdict.Findings...)
		spoil(&o)
		if err := resolved.Validate(instance(t, o.ForReport())); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	b, err := os.ReadFile("../../docs/report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range bootstrap.Codes() {
		if !strings.Contains(string(b), `"`+string(c.Code)+`"`) {
			t.Errorf("%s is not in the schema: make generate", c.Code)
		}
	}
}
