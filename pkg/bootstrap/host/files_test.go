package host_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
)

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func TestWriteFiles(t *testing.T) {
	// The umask is the process's: not parallel.
	old := syscall.Umask(0o077)
	t.Cleanup(func() { syscall.Umask(old) })
	root := t.TempDir()
	files := []bootstrap.File{
		{Path: "/etc/kubernetes/kubelet/config.json", Mode: 0o644, Data: []byte("{}")},
		{Path: "/var/lib/kubelet/kubeconfig", Mode: 0o600, Data: []byte("secret")},
		{Path: "/etc/empty", Mode: 0o640},
	}
	want := []bootstrap.WrittenFile{
		{Path: files[0].Path, SHA256: sum("{}"), Changed: true},
		{Path: files[1].Path, SHA256: sum("secret"), Changed: true},
		{Path: files[2].Path, SHA256: sum(""), Changed: true},
	}
	got, err := host.WriteFiles(root, files)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("first (-want +got):\n%s", diff)
	}
	before := map[string]os.FileInfo{}
	for _, f := range files {
		info, err := os.Lstat(filepath.Join(root, f.Path))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != f.Mode {
			t.Errorf("%s: mode %v, want %v", f.Path, info.Mode(), f.Mode)
		}
		if b, err := os.ReadFile(filepath.Join(root, f.Path)); err != nil || string(b) != string(f.Data) {
			t.Errorf("%s: %q, %v", f.Path, b, err)
		}
		before[f.Path] = info
	}
	for _, dir := range []string{"/etc", "/etc/kubernetes/kubelet", "/var/lib/kubelet"} {
		info, err := os.Stat(filepath.Join(root, dir))
		if err != nil || info.Mode().Perm() != host.DirMode {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
	}

	// A second run touches nothing, not even after one file has changed.
	files[2].Data = []byte("now")
	got, err = host.WriteFiles(root, files)
	if err != nil {
		t.Fatal(err)
	}
	want[0].Changed, want[1].Changed, want[2].SHA256 = false, false, sum("now")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("second (-want +got):\n%s", diff)
	}
	for i, f := range files {
		info, err := os.Lstat(filepath.Join(root, f.Path))
		if err != nil {
			t.Fatal(err)
		}
		same := os.SameFile(info, before[f.Path]) && info.ModTime().Equal(before[f.Path].ModTime())
		if same == want[i].Changed {
			t.Errorf("%s: same file %v, want %v", f.Path, same, !want[i].Changed)
		}
	}
	noTemporaries(t, root)
}

// noTemporaries fails when something was left beside the files.
func noTemporaries(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if strings.HasPrefix(d.Name(), ".") && path != root {
			t.Errorf("left behind: %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestWriteFilesReplaces(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(path string) error{
		"other bytes":  func(p string) error { return os.WriteFile(p, []byte("neu"), 0o600) },
		"other length": func(p string) error { return os.WriteFile(p, []byte("new and more"), 0o600) },
		"other mode":   func(p string) error { return os.WriteFile(p, []byte("new"), 0o644) },
		"set-uid bit": func(p string) error {
			return errors.Join(os.WriteFile(p, []byte("new"), 0o600), os.Chmod(p, 0o600|fs.ModeSetuid))
		},
		"dangling symlink": func(p string) error { return os.Symlink("nowhere", p) },
		"symlink to the same bytes": func(p string) error {
			return errors.Join(os.WriteFile(p+".target", []byte("new"), 0o600), os.Symlink(p+".target", p))
		},
		"symlink to others": func(p string) error {
			return errors.Join(os.WriteFile(p+".target", []byte("theirs"), 0o600), os.Symlink(p+".target", p))
		},
		"fifo": func(p string) error { return syscall.Mkfifo(p, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			path := filepath.Join(root, "file")
			if err := prepare(path); err != nil {
				t.Fatal(err)
			}
			theirs, _ := os.ReadFile(path + ".target")
			got, err := host.WriteFiles(root, []bootstrap.File{{Path: "/file", Mode: 0o600, Data: []byte("new")}})
			if err != nil || len(got) != 1 || !got[0].Changed {
				t.Fatalf("got %v, %v", got, err)
			}
			info, err := os.Lstat(path)
			if err != nil || info.Mode() != 0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			if b, err := os.ReadFile(path); err != nil || string(b) != "new" {
				t.Errorf("%q, %v", b, err)
			}
			if now, _ := os.ReadFile(path + ".target"); string(now) != string(theirs) {
				t.Errorf("the link was followed: %q became %q", theirs, now)
			}
		})
	}
}

func TestWriteFilesFollowsDirectoryLinks(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(root, "real"), 0o755), os.Symlink("real", filepath.Join(root, "link"))); err != nil {
		t.Fatal(err)
	}
	if _, err := host.WriteFiles(root, []bootstrap.File{{Path: "/link/sub/f", Mode: 0o600, Data: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(root, "real/sub/f")); err != nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestWriteFilesErrors(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := errors.Join(
		os.Mkdir(filepath.Join(root, "dir"), 0o755),
		os.WriteFile(filepath.Join(root, "file"), nil, 0o600),
	); err != nil {
		t.Fatal(err)
	}
	got, err := host.WriteFiles(root, []bootstrap.File{
		{Path: "/dir", Mode: 0o600},
		{Path: "/file/below", Mode: 0o600},
		{Path: "relative", Mode: 0o600},
		{Path: "/a/../../b", Mode: 0o600},
		{Path: "/suid", Mode: 0o755 | fs.ModeSetuid},
		{Path: "/good", Mode: 0o600, Data: []byte("x")},
		{Path: "/good", Mode: 0o644, Data: []byte("y")},
	})
	if !errors.Is(err, syscall.EISDIR) || !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("want EISDIR and ENOTDIR in: %v", err)
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 6 {
		t.Errorf("want 6 joined errors: %v", err)
	}
	want := []bootstrap.WrittenFile{{Path: "/good", SHA256: sum("x"), Changed: true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	noTemporaries(t, root)
}

func TestGate(t *testing.T) {
	t.Parallel()
	g := host.Gate{Path: filepath.Join(t.TempDir(), "run/nodeprep/kubelet.allowed")}
	check := func(when string, open, own bool) {
		t.Helper()
		gotOpen, err1 := g.IsOpen()
		gotOwn, err2 := g.Own()
		if gotOpen != open || gotOwn != own || err1 != nil || err2 != nil {
			t.Errorf("%s: open %v own %v (%v, %v), want %v %v", when, gotOpen, gotOwn, err1, err2, open, own)
		}
	}
	check("at first", false, false)
	if err := g.Open(); err != nil {
		t.Fatal(err)
	}
	check("opened", true, true)
	before, err := os.Stat(g.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Open(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(g.Path); err != nil || !os.SameFile(before, after) {
		t.Errorf("opening an open gate replaced it: %v", err)
	}
	if err := os.WriteFile(g.Path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	check("made by hand", true, false)
	if err := g.Open(); err != nil {
		t.Fatal(err)
	}
	check("opened after a hand", true, false)

	broken := host.Gate{Path: filepath.Join(g.Path, "below")}
	if open, err := broken.IsOpen(); open || !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a file in the way: %v, %v", open, err)
	}
	if err := broken.Open(); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a file in the way: %v", err)
	}
}
