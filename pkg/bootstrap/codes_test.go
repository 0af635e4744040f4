package bootstrap_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// TestCodesAreTheTable compares the generated Go with codes.yaml, so that a
// forgotten make generate shows in this package's own tests.
func TestCodesAreTheTable(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("codes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		Codes []struct {
			Code, Title, Cause, Signal, Remedy, Consequence, Check string
			Severity                                               bootstrap.Severity
			Confidence                                             bootstrap.Confidence
			Exit                                                   int
			Suppresses                                             []string
			TakesEffect                                            string `yaml:"takesEffect"`
			Verified, Since, Retired                               string
		}
	}
	if err := yaml.Unmarshal(data, &table); err != nil {
		t.Fatal(err)
	}
	var want []bootstrap.CodeInfo
	for _, r := range table.Codes {
		info := bootstrap.CodeInfo{
			Code: bootstrap.Code("NP-" + r.Code), Title: r.Title, Cause: r.Cause, Signal: r.Signal, Remedy: r.Remedy,
			Consequence: r.Consequence, Check: r.Check, Severity: r.Severity, Confidence: r.Confidence, Exit: r.Exit,
			TakesEffect: r.TakesEffect, Verified: r.Verified, Since: r.Since, Retired: r.Retired,
		}
		for _, s := range r.Suppresses {
			info.Suppresses = append(info.Suppresses, bootstrap.Code("NP-"+s))
		}
		want = append(want, info)
	}
	got := bootstrap.Codes()
	for i := range got {
		if len(got[i].MessageID) != 32 || strings.Trim(got[i].MessageID, "0123456789abcdef") != "" {
			t.Errorf("%s: bad MESSAGE_ID %q", got[i].Code, got[i].MessageID)
		}
		got[i].MessageID = ""
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("codes_gen.go is not what codes.yaml gives, run make generate (-yaml +go):\n%s", diff)
	}
}

func TestCodeInfo(t *testing.T) {
	t.Parallel()
	for _, want := range bootstrap.Codes() {
		got, ok := want.Code.Info()
		if !ok || got.Code != want.Code {
			t.Errorf("%s: %v, %v", want.Code, got.Code, ok)
		}
	}
	for _, c := range []bootstrap.Code{"", "NP-NET-999", "NP-AAA-000", "NP-ZZZ-999", "NET-105"} {
		if info, ok := c.Info(); ok {
			t.Errorf("%q has the row of %s", c, info.Code)
		}
	}
	if got := bootstrap.NET105.Area(); got != "NET" {
		t.Errorf("area %q", got)
	}
	if got := bootstrap.Code("x").Area(); got != "" {
		t.Errorf("area %q of no code", got)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]bootstrap.Code{
		"NP-NET-105": bootstrap.NET105, "np-net-105": bootstrap.NET105, "NET-105": bootstrap.NET105, " net105 ": bootstrap.NET105, "NPNET105": bootstrap.NET105,
	} {
		if got, ok := bootstrap.Explain(in); !ok || got.Code != want {
			t.Errorf("%q: %v %v", in, got.Code, ok)
		}
	}
	for _, in := range []string{"", "NET", "105", "NP-", "NET-1050", "NP-NP-NET-105", "é"} {
		if got, ok := bootstrap.Explain(in); ok {
			t.Errorf("%q: %v", in, got.Code)
		}
	}
}

// TestSuppressesIsAcyclic protects the judge, which follows the edges.
func TestSuppressesIsAcyclic(t *testing.T) {
	t.Parallel()
	var visit func(c bootstrap.Code, path []bootstrap.Code)
	visit = func(c bootstrap.Code, path []bootstrap.Code) {
		if slices.Contains(path, c) {
			t.Fatalf("circle: %v", append(path, c))
		}
		info, ok := c.Info()
		if !ok {
			t.Errorf("%v suppresses unknown %s", path, c)
		}
		for _, s := range info.Suppresses {
			visit(s, append(slices.Clone(path), c))
		}
	}
	for _, info := range bootstrap.Codes() {
		visit(info.Code, nil)
	}
}
