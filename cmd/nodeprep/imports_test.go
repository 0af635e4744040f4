package main_test

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/nodeprep/nodeprep"

// forbidden says what a package must not import, directly. Patterns that end
// in / match everything below. docs/architecture.md draws the same directions.
var forbidden = map[string][]string{
	"pkg/netcfg":            {module + "/", "net/http", "os/exec", "go.uber.org/zap", "github.com/aws/", "github.com/coreos/go-systemd/"},
	"pkg/probe":             {module + "/", "os/exec", "go.uber.org/zap", "github.com/aws/", "github.com/coreos/go-systemd/", "github.com/vishvananda/"},
	"pkg/bootstrap/kubelet": {module + "/", "os", "os/exec", "net/http", "go.uber.org/zap", "github.com/aws/", "github.com/coreos/go-systemd/"},
	"pkg/bootstrap": {
		module + "/pkg/bootstrap/ec2meta", module + "/pkg/bootstrap/host", module + "/cmd/",
		"os/exec", "net/http", "github.com/vishvananda/", "github.com/aws/", "github.com/coreos/go-systemd/",
	},
	"pkg/bootstrap/ec2meta": {module + "/pkg/bootstrap/host", module + "/pkg/probe", module + "/pkg/netcfg", "github.com/coreos/go-systemd/", "os/exec"},
	"pkg/bootstrap/host":    {module + "/pkg/bootstrap/ec2meta", module + "/pkg/probe", module + "/pkg/netcfg", "github.com/aws/"},
	"cmd/nodeprep":          {"github.com/aws/", "github.com/coreos/go-systemd/", "github.com/vishvananda/"},
}

// neverLinked must not be in the product binary at all.
var neverLinked = []string{"k8s.io/", "github.com/aws/aws-sdk-go-v2/service/", "google.golang.org/grpc", "cel.dev/", "github.com/google/cel-go"}

func TestImportDirections(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/pkg/...", module+"/cmd/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		seen[name] = true
		for _, imp := range p.Imports {
			if slices.ContainsFunc(forbidden[name], func(pattern string) bool { return matches(imp, pattern) }) {
				t.Errorf("%s imports %s", name, imp)
			}
			if strings.HasPrefix(imp, module+"/cmd/") || strings.HasPrefix(imp, module+"/test/") {
				t.Errorf("%s imports %s: nothing in pkg or cmd may", name, imp)
			}
		}
	}
	for name := range forbidden {
		if !seen[name] {
			t.Errorf("package %s is gone: bring this table along", name)
		}
	}
}

func TestNeverLinked(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", module+"/cmd/nodeprep").Output()
	if err != nil {
		t.Fatal(err)
	}
	for imp := range strings.FieldsSeq(string(out)) {
		if slices.ContainsFunc(neverLinked, func(pattern string) bool { return matches(imp, pattern) }) {
			t.Errorf("the binary links %s", imp)
		}
	}
}

// matches reports whether an import path is a pattern or below it.
func matches(imp, pattern string) bool {
	return imp == strings.TrimSuffix(pattern, "/") || strings.HasSuffix(pattern, "/") && strings.HasPrefix(imp, pattern)
}
