package host

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// SourceLimit is the greatest size of one configuration file in bytes.
const SourceLimit = 1 << 20

// vendorDir holds what the builder of the image decided; user data comes after it.
const vendorDir = "/usr/lib/nodeprep/conf.d"

// sourceDirs returns the directories that come after the user data, lowest
// precedence first. /var/lib/nodeprep/conf.d joins them, in the first place,
// together with the bootstrap.sh shim that writes it: its files are only valid
// for the instance that recorded them.
func sourceDirs() []string {
	return []string{
		"/etc/eks/nodeadm.d",
		"/etc/nodeprep/conf.d",
	}
}

// ReadSources reads the configuration directories below root ("" or "/" for the
// machine itself), lowest precedence first, and puts userData, when not nil,
// in its place: after the vendor's, before this machine's.
//
// Of each directory the files *.yaml, *.yml and *.json (in any case) are read in
// the order of their names, but no hidden ones and no directories. An absent
// directory is empty. A file that cannot be read, or is larger than SourceLimit,
// is an error that names it; the other sources are returned beside the errors.
//
// The files that the configuration names come last, as Referenced: one that cannot be
// read has its error with it.
func ReadSources(root string, userData *bootstrap.Source) ([]bootstrap.Source, error) {
	sources, err := readDir(root, vendorDir)
	errs := []error{err}
	if userData != nil {
		sources = append(sources, *userData)
	}
	for _, dir := range sourceDirs() {
		more, err := readDir(root, dir)
		sources = append(sources, more...)
		errs = append(errs, err)
	}
	return append(sources, ReadReferenced(root, sources)...), errors.Join(errs...)
}

// FileSource is a file, given by its path anywhere, as a source of configuration. One
// whose directory is a configuration directory, below whatever root, has the name and
// form that it has on a node; any other is user data.
func FileSource(file string, data []byte) bootstrap.Source {
	if abs, err := filepath.Abs(file); err == nil { // the working directory may be gone
		for _, dir := range append([]string{vendorDir}, sourceDirs()...) {
			if strings.HasSuffix(filepath.Dir(abs), dir) {
				return bootstrap.Source{Name: filepath.Join(dir, filepath.Base(abs)), Data: data}
			}
		}
	}
	return bootstrap.Source{Name: file, UserData: true, Data: data}
}

// SortSources puts sources in the order of ReadSources: the image's, user data, this
// machine's. Those of one directory, and several user data, keep their order.
func SortSources(sources []bootstrap.Source) {
	rank := func(s bootstrap.Source) int {
		if s.UserData {
			return 0
		}
		return slices.Index(sourceDirs(), filepath.Dir(s.Name))*2 + 1 // -1 for the image's
	}
	slices.SortStableFunc(sources, func(a, b bootstrap.Source) int { return cmp.Compare(rank(a), rank(b)) })
}

// ReadReferenced reads the files below root that the sources name.
func ReadReferenced(root string, sources []bootstrap.Source) []bootstrap.Source {
	var out []bootstrap.Source
	for _, name := range bootstrap.ReferencedFiles(sources) {
		data, err := readLimited(filepath.Join("/", root, name), SourceLimit)
		out = append(out, bootstrap.Source{Name: name, Referenced: true, Data: data, Err: err})
	}
	return out
}

func readDir(root, dir string) ([]bootstrap.Source, error) {
	entries, err := os.ReadDir(filepath.Join("/", root, dir)) // sorted by name
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	var (
		sources []bootstrap.Source
		errs    []error
	)
	for _, e := range entries {
		ext := strings.ToLower(filepath.Ext(e.Name()))
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || !slices.Contains([]string{".yaml", ".yml", ".json"}, ext) {
			continue
		}
		name := filepath.Join(dir, e.Name())
		data, err := readLimited(filepath.Join("/", root, name), SourceLimit)
		if err != nil {
			errs = append(errs, fmt.Errorf("read configuration %s: %w", name, err))
			continue
		}
		sources = append(sources, bootstrap.Source{Name: name, Data: data})
	}
	return sources, errors.Join(errs...)
}

// errTooLarge is the error of a file beyond its limit.
var errTooLarge = errors.New("file is too large")

// readLimited reads a regular file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	// O_NONBLOCK: a FIFO must not hold up the boot.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("not a regular file but %v", info.Mode().Type())
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", errTooLarge, limit)
	}
	return data, nil
}
