package node

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// cgroupEnv names the control group of an isolated process, below each root.
const cgroupEnv = "NODEPREP_E2E_CGROUP"

const cgroupPrefix = "nodeprep-e2e-"

// A cgroup is the control group of one isolated process. Every node needs one of
// its own: nspawn always calls its subgroup "payload", and two systemds in one
// group would manage, and kill, each other's units.
type cgroup struct{ name string }

// newCgroup makes the group wherever systemd keeps track of processes: cgroup v2,
// and the v1 hierarchy name=systemd of a hybrid machine. It also removes what
// processes that were killed have left. A machine without either gives an empty
// group; nspawn then says what it misses. Isolated inside an isolated process gets
// a group below that one's.
func newCgroup() cgroup {
	var g cgroup
	above := os.Getenv(cgroupEnv)
	for _, root := range cgroupRoots() {
		sweep(filepath.Join(root, above))
		// Missing rights show at nspawn's own attempt, with its words.
		if g.name != "" {
			_ = os.Mkdir(filepath.Join(root, g.name), 0o755)
		} else if dir, err := os.MkdirTemp(filepath.Join(root, above), cgroupPrefix+"*"); err == nil {
			g.name = filepath.Join(above, filepath.Base(dir))
		}
	}
	return g
}

// sweep removes the groups of processes that were killed. A group of a living one
// is not empty, but for the moment between its making and its first member.
func sweep(root string) {
	old, err := filepath.Glob(filepath.Join(root, cgroupPrefix+"*"))
	if err != nil {
		return // the pattern is a good one
	}
	for _, dir := range old {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > time.Minute {
			removeTree(dir)
		}
	}
}

func (g cgroup) remove() {
	if g.name == "" {
		return
	}
	for _, root := range cgroupRoots() {
		removeTree(filepath.Join(root, g.name))
	}
}

// joinCgroup moves this process into the group.
func joinCgroup(name string) {
	if name == "" {
		return
	}
	for _, root := range cgroupRoots() {
		_ = os.WriteFile(filepath.Join(root, name, "cgroup.procs"), []byte("0"), 0)
	}
}

// unifiedRoot is where cgroup v2 is mounted, "" for nowhere.
func unifiedRoot() string {
	for _, root := range cgroupRoots() {
		if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
			return root
		}
	}
	return ""
}

// cgroupRoots are the mount points of cgroup v2 and of v1's name=systemd.
func cgroupRoots() []string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	var roots []string
	for s := bufio.NewScanner(f); s.Scan(); {
		// 36 35 98:0 /root /mount options - type source superoptions
		before, after, ok := strings.Cut(s.Text(), " - ")
		mount, super := strings.Fields(before), strings.Fields(after)
		if !ok || len(mount) < 5 || len(super) < 3 {
			continue
		}
		if super[0] == "cgroup2" || super[0] == "cgroup" && strings.Contains(super[2], "name=systemd") {
			roots = append(roots, mount[4])
		}
	}
	return roots
}

// removeTree removes an empty hierarchy of groups, the deepest first. Groups that
// still have processes stay.
func removeTree(dir string) {
	var dirs []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for _, dir := range slices.Backward(dirs) {
		_ = os.Remove(dir)
	}
}
