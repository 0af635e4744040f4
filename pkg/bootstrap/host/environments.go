package host

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// unitDirs are where systemd's system manager looks for units, highest precedence
// first (systemd.unit(5), "Unit File Load Path").
func unitDirs() []string {
	return []string{
		"/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient",
		"/run/systemd/generator.early", "/etc/systemd/system", "/etc/systemd/system.attached",
		"/run/systemd/system", "/run/systemd/system.attached", "/run/systemd/generator",
		"/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
		"/run/systemd/generator.late",
	}
}

// confDirs are where it looks for its own configuration (systemd-system.conf(5)).
func confDirs() []string {
	return []string{"/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"}
}

// maxSymlinks bounds how many links one after the other are followed.
const maxSymlinks = 8

// ReadEnvironments reads which environment the kubelet and containerd get: from their
// units with all drop-ins, the environment files these name, and DefaultEnvironment of
// system.conf, below root ("" or "/" for the machine itself). The environment of nodeprep
// itself is environ, as from os.Environ. A unit that does not exist, or is masked, is absent.
//
// What lives in systemd's memory only (systemctl set-environment) is not seen. A file that
// exists and cannot be read is an error, which comes with all that was read.
func ReadEnvironments(root string, environ []string) (map[bootstrap.Consumer]bootstrap.Environment, error) {
	own := map[string]string{}
	for _, v := range environ {
		if name, value, ok := strings.Cut(v, "="); ok {
			own[name] = value
		}
	}
	out := map[bootstrap.Consumer]bootstrap.Environment{bootstrap.ConsumerAgent: bootstrap.NewEnvironment("", own)}
	r := &unitReader{root: filepath.Join("/", root)}
	base := r.defaults()
	for consumer, unit := range map[bootstrap.Consumer]string{
		bootstrap.ConsumerKubelet:    KubeletUnit,
		bootstrap.ConsumerContainerd: "containerd.service",
	} {
		if vars, ok := r.unit(unit, base); ok {
			out[consumer] = bootstrap.NewEnvironment(unit, vars)
		}
	}
	return out, errors.Join(r.errs...)
}

// A unitReader reads systemd's files and collects what it cannot read.
type unitReader struct {
	root string
	errs []error
}

// defaults is DefaultEnvironment of system.conf and its drop-ins.
func (r *unitReader) defaults() map[string]string {
	var files []string
	for _, dir := range confDirs() {
		name := filepath.Join(dir, "system.conf")
		if _, err := os.Lstat(filepath.Join(r.root, name)); err == nil {
			files = append(files, name) // the first hides the others
			break
		}
	}
	var dirs []string
	for _, dir := range confDirs() {
		dirs = append(dirs, filepath.Join(dir, "system.conf.d"))
	}
	env := map[string]string{}
	for _, name := range append(files, r.dropIns(dirs)...) {
		data, _ := r.read(name)
		for _, a := range assignments(data, "Manager") {
			if a.key == "DefaultEnvironment" {
				set(env, a.value, "")
			}
		}
	}
	return env
}

// unit is the environment of a service, beginning with base, and whether there is one.
func (r *unitReader) unit(unit string, base map[string]string) (map[string]string, bool) {
	var files []string
	for _, dir := range unitDirs() {
		name := filepath.Join(dir, unit)
		if _, err := os.Lstat(filepath.Join(r.root, name)); err == nil {
			if data, ok := r.read(name); !ok || len(data) == 0 {
				return nil, false // masked, or not to be read by systemd either
			}
			files = append(files, name)
			break
		}
	}
	if len(files) == 0 {
		return nil, false
	}
	var dirs []string
	for _, of := range []string{unit, "service"} {
		for _, dir := range unitDirs() {
			dirs = append(dirs, filepath.Join(dir, of+".d"))
		}
	}
	var (
		env     = map[string]string{}
		sources []string // environment files
		unset   []string
	)
	for _, name := range append(files, r.dropIns(dirs)...) {
		data, _ := r.read(name)
		for _, a := range assignments(data, "Service") {
			switch {
			case a.key == "Environment":
				set(env, a.value, unit)
			case a.key == "EnvironmentFile" && a.value == "":
				sources = nil
			case a.key == "EnvironmentFile":
				sources = append(sources, expand(a.value, unit))
			case a.key == "UnsetEnvironment" && a.value == "":
				unset = nil
			case a.key == "UnsetEnvironment":
				unset = append(unset, splitWords(a.value)...)
			}
		}
	}
	all := maps.Clone(base)
	maps.Copy(all, env)
	// Files come after all assignments, wherever they are named.
	for _, source := range sources {
		for _, name := range r.glob(strings.TrimPrefix(source, "-")) {
			data, _ := r.read(name)
			for _, a := range environmentFile(data) {
				all[a.key] = a.value
			}
		}
	}
	for _, u := range unset {
		name, value, both := strings.Cut(u, "=")
		if !both || all[name] == value {
			delete(all, name)
		}
	}
	return all, true
}

// set applies one line of Environment= or DefaultEnvironment=; an empty one takes all
// earlier ones back.
func set(env map[string]string, value, unit string) {
	if value == "" {
		clear(env)
		return
	}
	for _, word := range splitWords(value) {
		if name, text, ok := strings.Cut(expand(word, unit), "="); ok {
			env[name] = text
		}
	}
}

// dropIns are the files *.conf of directories, of which the first hides those of
// the same name in later ones, in the order of their names.
func (r *unitReader) dropIns(dirs []string) []string {
	byName := map[string]string{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(filepath.Join(r.root, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.errs = append(r.errs, fmt.Errorf("read units: %w", err))
		}
		for _, e := range entries {
			if name := e.Name(); !e.IsDir() && strings.HasSuffix(name, ".conf") && !strings.HasPrefix(name, ".") && byName[name] == "" {
				byName[name] = filepath.Join(dir, name)
			}
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, byName[name])
	}
	return out
}

// glob returns the files that a path with wildcards stands for (glob(7)), sorted. A
// path that is not absolute stands for none.
func (r *unitReader) glob(path string) []string {
	if !filepath.IsAbs(path) {
		return nil
	}
	if !strings.ContainsAny(path, "*?[") {
		return []string{path}
	}
	matches, err := filepath.Glob(filepath.Join(r.root, path))
	if err != nil {
		return nil // a pattern that is none matches nothing in systemd either
	}
	for i, m := range matches {
		matches[i] = filepath.Join("/", strings.TrimPrefix(m, r.root))
	}
	return matches
}

// read returns a file below the root and whether it could be read. A link to /dev/null
// reads as an empty file, which is how systemd masks; a missing file is no error.
func (r *unitReader) read(name string) ([]byte, bool) {
	path, err := resolve(r.root, name)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("read %s: %w", name, err))
		return nil, false
	}
	if path == os.DevNull {
		return nil, true
	}
	data, err := readLimited(filepath.Join(r.root, path), SourceLimit)
	switch {
	case err == nil:
		return data, true
	case errors.Is(err, fs.ErrNotExist):
		return nil, false
	}
	r.errs = append(r.errs, fmt.Errorf("read %s: %w", name, err))
	return nil, false
}

// resolve follows the links of a file as they would be with root as the root directory.
func resolve(root, name string) (string, error) {
	for range maxSymlinks {
		target, err := os.Readlink(filepath.Join(root, name))
		if err != nil {
			// Not a link, or nothing there: opening it will tell.
			return name, nil //nolint:nilerr // EINVAL is how readlink says that this is a file
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(name), target)
		}
		name = filepath.Clean(target)
	}
	return "", fmt.Errorf("more than %d symbolic links", maxSymlinks)
}
