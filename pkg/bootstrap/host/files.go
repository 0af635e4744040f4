package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/google/renameio/v2"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// DirMode is the mode of directories that have to be made for a file, whatever
// the umask is.
const DirMode fs.FileMode = 0o755

// WriteFiles makes the files of a plan exist below root, "" or "/" for the
// machine itself, with exactly the given bytes and permissions.
//
// Each file is replaced atomically: written beside its final place, synced and
// renamed over it, so that no reader and no crash ever sees half of one. A file
// that already is as wanted is not touched. A symbolic link in a file's place is
// replaced and not followed, because its target belongs to somebody else;
// directories on the way may be links.
//
// The result has one entry for each file that is now on disk as wanted, in the
// order of files. All errors are joined; one bad file does not stop the others.
func WriteFiles(root string, files []bootstrap.File) ([]bootstrap.WrittenFile, error) {
	written := make([]bootstrap.WrittenFile, len(files))
	errs := make([]error, len(files))
	seen := make(map[string]bool, len(files))
	var wg sync.WaitGroup
	for i, f := range files {
		switch {
		case !filepath.IsAbs(f.Path) || filepath.Clean(f.Path) != f.Path:
			errs[i] = fmt.Errorf("write %q: not a clean absolute path", f.Path)
		case f.Mode&^fs.ModePerm != 0:
			errs[i] = fmt.Errorf("write %s: mode %v is more than permissions", f.Path, f.Mode)
		case seen[f.Path]:
			errs[i] = fmt.Errorf("write %s: the plan has this file twice", f.Path)
		default:
			seen[f.Path] = true
			// Side by side, because each waits for its own fsync.
			wg.Go(func() {
				changed, err := replace(filepath.Join("/", root, f.Path), f.Data, f.Mode)
				if err != nil {
					errs[i] = fmt.Errorf("write %s: %w", f.Path, err)
					return
				}
				sum := sha256.Sum256(f.Data)
				written[i] = bootstrap.WrittenFile{Path: f.Path, SHA256: hex.EncodeToString(sum[:]), Changed: changed}
			})
		}
	}
	wg.Wait()
	done := make([]bootstrap.WrittenFile, 0, len(files))
	for i, w := range written {
		if errs[i] == nil {
			done = append(done, w)
		}
	}
	return done, errors.Join(errs...)
}

// replace makes path a regular file of this process's user with the given data
// and permissions, and reports whether it had to change anything.
func replace(path string, data []byte, mode fs.FileMode) (bool, error) {
	same, err := isFile(path, data, mode)
	if err != nil || same {
		return false, err
	}
	if err := makeDir(filepath.Dir(path)); err != nil {
		return false, err
	}
	return true, writeAtomic(path, data, mode)
}

// writeAtomic replaces path. Each of prepare sees the new file before it gets its name.
func writeAtomic(path string, data []byte, mode fs.FileMode, prepare ...func(*os.File) error) error {
	f, err := renameio.NewPendingFile(path,
		renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(mode))
	if err != nil {
		return err
	}
	// After the rename this does nothing; before it, the first error is the one to tell.
	defer func() { _ = f.Cleanup() }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	for _, p := range prepare {
		if err := p(f.File); err != nil {
			return err
		}
	}
	return f.CloseAtomicallyReplace()
}

// isFile reports whether path already is a regular file with these bytes and
// permissions that nobody but this process's user owns. An unreadable file is
// one that has to be replaced; only a failure that replacing would meet too is
// an error.
func isFile(path string, data []byte, mode fs.FileMode) (bool, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case info.IsDir():
		return false, &fs.PathError{Op: "replace", Path: path, Err: syscall.EISDIR}
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.Mode().IsRegular() || info.Mode() != mode || info.Size() != int64(len(data)) ||
		!ok || int(owner.Uid) != os.Geteuid() {
		return false, nil
	}
	// O_NOFOLLOW: what was a file a moment ago may have become a link.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false, nil // unreadable: replace it
	}
	defer func() { _ = f.Close() }()
	old, err := io.ReadAll(io.LimitReader(f, int64(len(data))+1))
	if err != nil {
		return false, nil // unreadable: replace it
	}
	return bytes.Equal(old, data), nil
}

// makeDir makes dir and its missing parents with DirMode. Existing directories
// keep their mode.
func makeDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && !info.IsDir():
		return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	case !errors.Is(err, fs.ErrNotExist):
		return err // nil: it exists
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := makeDir(parent); err != nil {
			return err
		}
	}
	switch err := os.Mkdir(dir, DirMode); {
	case errors.Is(err, fs.ErrExist):
		return nil // made beside us for another file; or else the file's own error will tell
	case err != nil:
		return err
	}
	// The umask may have taken bits that other programs need.
	return os.Chmod(dir, DirMode)
}
