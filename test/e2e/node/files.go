package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrExit is what Exec wraps when the command ended with another status than 0;
// errors.As with *exec.ExitError gives the status.
var ErrExit = errors.New("command failed")

// Exec runs a command in the node, in all of its namespaces, as root. It returns
// what the command wrote to standard output and standard error.
func (n *Node) Exec(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{fmt.Sprintf("--target=%d", n.leader), "--all", "--"}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"}
	cmd.WaitDelay = haltTime
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return string(out), nil
	case ctx.Err() != nil:
		return string(out), fmt.Errorf("%s in the node: %w", args[0], context.Cause(ctx))
	case errors.As(err, &exit):
		return string(out), fmt.Errorf("%s in the node: %w: %w: %s", args[0], ErrExit, err, strings.TrimSpace(string(out)))
	default:
		return string(out), fmt.Errorf("%s in the node: %w", args[0], err)
	}
}

// ReadFile reads a file of the running node, /run and other mounts included.
func (n *Node) ReadFile(name string) ([]byte, error) {
	f, err := n.open(name, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(f)
}

// WriteFile writes a file of the running node. Its directory must exist. The file
// appears under its name complete, as path units and readers expect.
func (n *Node) WriteFile(name string, content []byte, mode fs.FileMode) error {
	dir, err := n.open(path.Dir(name), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	base, temp := path.Base(name), "."+path.Base(name)+".new"
	fd, err := unix.Openat(int(dir.Fd()), temp, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC|unix.O_NOFOLLOW, uint32(mode.Perm()))
	if err != nil {
		return &fs.PathError{Op: "create", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), temp)
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := unix.Renameat(int(dir.Fd()), temp, int(dir.Fd()), base); err != nil {
		return &fs.PathError{Op: "rename", Path: name, Err: err}
	}
	return nil
}

// open opens a path as the node's processes would: links, absolute ones too, end
// in the node.
func (n *Node) open(name string, flags int, mode fs.FileMode) (*os.File, error) {
	root, err := os.OpenFile(fmt.Sprintf("/proc/%d/root", n.leader), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	fd, err := unix.Openat2(int(root.Fd()), strings.TrimPrefix(name, "/"), &unix.OpenHow{
		Flags: uint64(flags | unix.O_CLOEXEC), Mode: uint64(mode), Resolve: unix.RESOLVE_IN_ROOT,
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// put installs one file below root, before the node runs. Unlike an instance the
// image is trusted: its directory links (/bin, /lib) are relative ones.
func put(root, name string, f File) error {
	if !path.IsAbs(name) {
		return errors.New("not an absolute path")
	}
	name = filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if f.Link != "" {
		return os.Symlink(f.Link, name)
	}
	var from io.Reader = bytes.NewReader(f.Content)
	mode := f.Mode
	if f.Source != "" {
		src, err := os.Open(f.Source)
		if err != nil {
			return err
		}
		defer func() { _ = src.Close() }()
		from = src
		if info, err := src.Stat(); err == nil && mode == 0 && info.Mode()&0o100 != 0 {
			mode = 0o755
		}
	}
	if mode == 0 {
		mode = 0o644
	}
	dst, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, from)
	return errors.Join(err, dst.Close(), os.Chmod(name, mode))
}
