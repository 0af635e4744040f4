package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/test/e2e/node"
)

// programsEnv is the folder of the programs under test.
const programsEnv = "NODEPREP_E2E_PROGRAMS"

// root is the project's folder, from this package's.
const root = "../.."

func TestMain(m *testing.M) { os.Exit(node.Isolated(buildPrograms, m.Run)) }

// buildPrograms builds what is tested, while there is a network to get modules
// from. The go command's cache makes it a matter of a second.
func buildPrograms() ([]string, error) {
	dir, err := filepath.Abs(filepath.Join(root, "bin", "e2e"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	programs := map[string][]string{"nodeprep": {root, "./cmd/nodeprep"}}
	if os.Geteuid() == 0 {
		programs["kubelet"] = []string{filepath.Join(root, "test/standin"), "."}
	}
	for name, from := range programs {
		// Another test process may use the file: it is replaced, never rewritten.
		temp := filepath.Join(dir, fmt.Sprintf(".%s-%d", name, os.Getpid()))
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", temp, from[1])
		cmd.Dir = from[0]
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
		if err := os.Rename(temp, filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	return []string{programsEnv + "=" + dir}, nil
}

// program is the path of a program under test.
func program(name string) string { return filepath.Join(os.Getenv(programsEnv), name) }
