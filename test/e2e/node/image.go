package node

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Image returns the path of the root tree to boot: $NODEPREP_IMAGE, or what the
// recipe image.sh in the folder dir calls it. The tree must be there; make image
// builds it.
func Image(ctx context.Context, dir string) (string, error) {
	tree := os.Getenv("NODEPREP_IMAGE")
	if tree == "" {
		out, err := exec.CommandContext(ctx, "sh", filepath.Join(dir, "image.sh"), "--path").Output()
		if err != nil {
			return "", fmt.Errorf("name of the node's image: %w", err)
		}
		tree = strings.TrimSpace(string(out))
	}
	if _, err := os.Stat(tree); err != nil {
		return "", fmt.Errorf("the node's image is missing, make image builds it: %w", err)
	}
	return tree, nil
}
