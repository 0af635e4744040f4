package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// GatePath is where the gate file is on a node. It is in /run, so that every
// boot begins with a closed gate.
const GatePath = "/run/nodeprep/kubelet.allowed"

// gateMark is how a gate file says that nodeprep made it; one made by hand is
// usually empty.
const gateMark = "nodeprep\n"

// A Gate is the file that the drop-in of kubelet.service asks for
// (ConditionPathExists=).
type Gate struct {
	Path string // "" for GatePath
}

func (g Gate) path() string {
	if g.Path == "" {
		return GatePath
	}
	return g.Path
}

// Open creates the gate file and its directory. An open gate is left as it is,
// so that it keeps saying who made it.
func (g Gate) Open() error {
	open, err := g.IsOpen()
	if err != nil || open {
		return err
	}
	if err := makeDir(filepath.Dir(g.path())); err != nil {
		return fmt.Errorf("open the gate: %w", err)
	}
	// Atomic, so that nodeprep-gate.path sees one event: a complete file.
	if err := writeAtomic(g.path(), []byte(gateMark), 0o644); err != nil {
		return fmt.Errorf("open the gate: %w", err)
	}
	return nil
}

// IsOpen reports whether the gate file exists, whoever made it and whatever it
// is: systemd's condition asks for no more, and follows links as this does.
func (g Gate) IsOpen() (bool, error) {
	_, err := os.Stat(g.path())
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, fmt.Errorf("look at the gate: %w", err)
	}
}

// Own reports whether the gate is open and nodeprep itself opened it, perhaps in
// an earlier run of the same boot.
func (g Gate) Own() (bool, error) {
	f, err := os.Open(g.path())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look at the gate: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return false, fmt.Errorf("look at the gate: %w", err)
	}
	return strings.HasPrefix(string(b), gateMark), nil
}
