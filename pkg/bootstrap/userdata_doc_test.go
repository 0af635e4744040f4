package bootstrap_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

var (
	docExample = regexp.MustCompile("(?ms)^```(?:yaml|mime) (ok|refused)([^\n]*)\n(.*?)^```$")
	docRow     = regexp.MustCompile("(?m)^\\| `(spec\\.[A-Za-z.\\[\\]]+)` \\|[^|]*\\| (supported|refused)")
)

func readDoc(t *testing.T) string {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "userdata.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

// TestUserDataDocExamples reads the marked examples of docs/userdata.md. An
// example of PrepConfig alone is read beside a valid NodeConfig.
func TestUserDataDocExamples(t *testing.T) {
	t.Parallel()
	examples := docExample.FindAllStringSubmatch(readDoc(t), -1)
	if len(examples) < 5 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, e := range examples {
		kind, expect, text := e[1], strings.Fields(e[2]), e[3]
		text = strings.ReplaceAll(text, "LS0tLS1CRUdJTi…", string(expand(t, []byte("@CA valid@"))))
		sources := []bootstrap.Source{{Name: "user data", UserData: true, Data: []byte(text)}}
		if !strings.Contains(text, "NodeConfig") {
			sources = append(sources, bootstrap.Source{Name: "file", Data: []byte(validNodeConfig(t, ""))})
		}
		_, problems := bootstrap.ReadConfig(sources, bootstrap.Instance{Region: "us-west-2", DNSSuffix: "amazonaws.com"}, testMachine())
		switch {
		case kind == "ok" && len(problems) > 0:
			t.Errorf("%s\n%s", text, describeProblems(problems))
		case kind == "refused" && (len(problems) != 1 || problems[0].Warning || string(problems[0].Code) != expect[0] || problems[0].Path != expect[1]):
			t.Errorf("want %v:\n%s\n%s", expect, text, describeProblems(problems))
		}
	}
}

// TestUserDataDocFields holds that the tables list exactly the fields there
// are, each with what this version does.
func TestUserDataDocFields(t *testing.T) {
	t.Parallel()
	_, sections, _ := strings.Cut(readDoc(t), "\n## NodeConfig\n")
	nodeConfig, prepConfig, _ := strings.Cut(sections, "\n## PrepConfig\n")
	for kind, section := range map[string]string{"NodeConfig": nodeConfig, "PrepConfig": prepConfig} {
		documented := map[string]bool{}
		for _, row := range docRow.FindAllStringSubmatch(section, -1) {
			documented[row[1]] = row[2] == "supported"
		}
		if diff := cmp.Diff(bootstrap.FieldPaths()[kind], documented); diff != "" {
			t.Errorf("%s: code (-) and docs/userdata.md (+) differ:\n%s", kind, diff)
		}
	}
}

// TestUserDataDocTables holds that the tables of needs and of locked fields are the code's.
func TestUserDataDocTables(t *testing.T) {
	t.Parallel()
	doc := readDoc(t)
	column := func(heading string) (rows [][]string) {
		_, section, _ := strings.Cut(doc, "\n### "+heading+"\n")
		section, _, _ = strings.Cut(section, "\n### ")
		for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*) \\|$").FindAllStringSubmatch(section, -1) {
			rows = append(rows, row[1:])
		}
		return rows
	}
	var needs, locked [][]string
	for _, n := range bootstrap.KnownNeeds() {
		effect := "warns"
		if n.Name == "vpc-cni" || n.Name == "image-pull" {
			effect = "holds the node"
		}
		needs = append(needs, []string{n.Name, "`" + strings.Join(n.Services, "`, `") + "` | " + effect})
	}
	if diff := cmp.Diff(needs, column("Needs")); diff != "" {
		t.Errorf("needs (-code +doc):\n%s", diff)
	}
	for i, path := range bootstrap.LockRulePaths() {
		rows := column("What the image locks")
		if i >= len(rows) || "spec."+rows[i][0] != path {
			t.Fatalf("row %d is not of %s: %v", i, path, rows)
		}
		locked = append(locked, rows[i])
	}
	if extra := len(column("What the image locks")) - len(locked); extra != 0 {
		t.Errorf("%d more rows than rules", extra)
	}
}

// TestFieldPathsAreDistinct holds what merging by path relies on: no two kinds
// share a field.
func TestFieldPathsAreDistinct(t *testing.T) {
	t.Parallel()
	var all []string
	for _, paths := range bootstrap.FieldPaths() {
		for p := range paths {
			if slices.Contains(all, p) {
				t.Errorf("%s is a field of two kinds", p)
			}
			all = append(all, p)
		}
	}
}
