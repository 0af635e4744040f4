package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"
)

// tick is how often Boot and the Wait methods look again. A look over D-Bus takes
// about a millisecond.
const tick = 25 * time.Millisecond

// haltTime is how long a node may take to stop in order. An idle one takes 0.1 s.
const haltTime = 15 * time.Second

// Options say what to boot.
type Options struct {
	// Image is the root tree that image.sh built. It is never written to.
	Image string
	// NetNS is an open descriptor of the network namespace that the node gets as
	// its own, links and addresses included.
	NetNS int
	// Hostname of the node; empty is "node".
	Hostname string
	// Files are added to the image before the boot, by absolute path.
	Files map[string]File
	// Preset are units that get enabled or disabled as the preset files among
	// Files say, which is what installing a package does.
	Preset []string
	// Console, when not nil, gets what the node prints on its console, as it comes.
	Console io.Writer
}

// A File is one file of the node.
type File struct {
	// Content of the file, or
	Content []byte
	// Source, a file outside to copy, or
	Source string
	// Link, the target of a symbolic link.
	Link string
	// Mode of the file; 0 is 0644, and 0755 for a copy of an executable.
	Mode fs.FileMode
}

// A Node is a booted system. Its methods may be used from several goroutines,
// but for Reboot and Close.
type Node struct {
	opts Options
	dir  string // root, upper, work
	root string // the overlay: what the node sees, without its tmpfs mounts

	nspawn  *exec.Cmd
	exited  chan struct{} // closed when nspawn has ended
	leader  int           // PID 1 of the node, in this process's numbering
	bus     *dbus.Conn
	hangUp  context.CancelFunc // closes bus
	console *console
	boots   int
	booted  time.Duration
}

// Boot starts a node and returns when its multi-user.target is active; nodeprep
// may be blocking then, so the system's state may still be "starting". When ctx
// ends first, what was started is stopped again and the error has the console's
// last lines. The node does not depend on ctx afterwards: Close it.
func Boot(ctx context.Context, opts Options) (*Node, error) {
	if opts.Hostname == "" {
		opts.Hostname = "node"
	}
	if _, err := os.Stat(filepath.Join(opts.Image, "usr/lib/systemd/systemd")); err != nil {
		return nil, fmt.Errorf("no image (make image builds it): %w", err)
	}
	dir, err := os.MkdirTemp("", "node-")
	if err != nil {
		return nil, err
	}
	n := &Node{opts: opts, dir: dir, root: filepath.Join(dir, "root"), console: &console{copy: opts.Console}}
	if err := n.lay(ctx); err != nil {
		return nil, errors.Join(err, n.Shutdown(context.WithoutCancel(ctx)))
	}
	if err := n.start(ctx); err != nil {
		return nil, errors.Join(err, n.Shutdown(context.WithoutCancel(ctx)))
	}
	return n, nil
}

// lay mounts the overlay and puts the files in.
func (n *Node) lay(ctx context.Context) error {
	upper, work := filepath.Join(n.dir, "upper"), filepath.Join(n.dir, "work")
	for _, d := range []string{n.root, upper, work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	data := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", n.opts.Image, upper, work)
	if err := unix.Mount("overlay", n.root, "overlay", 0, data); err != nil {
		return fmt.Errorf("mount the node's overlay: %w", err)
	}
	for path, f := range n.opts.Files {
		if err := put(n.root, path, f); err != nil {
			return fmt.Errorf("install %s: %w", path, err)
		}
	}
	if len(n.opts.Preset) > 0 {
		args := append([]string{"--root=" + n.root, "preset"}, n.opts.Preset...)
		if out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("systemctl preset: %w: %s", err, out)
		}
	}
	if out, err := exec.CommandContext(ctx, "journalctl", "--root="+n.root, "--update-catalog").CombinedOutput(); err != nil {
		return fmt.Errorf("journalctl --update-catalog: %w: %s", err, out)
	}
	return nil
}

// start runs nspawn on the overlay and waits for multi-user.target.
func (n *Node) start(ctx context.Context) error {
	began := time.Now()
	// Not CommandContext: the node outlives ctx, and its end is an orderly one.
	//nolint:noctx // see above
	cmd := exec.Command("systemd-nspawn", "--quiet", "--directory="+n.root, "--boot",
		"--machine="+filepath.Base(n.dir), "--hostname="+n.opts.Hostname,
		// There is no machined here, and no systemd that could give it a unit.
		"--register=no", "--keep-unit", "--link-journal=no",
		fmt.Sprintf("--network-namespace-path=/proc/%d/fd/%d", os.Getpid(), n.opts.NetNS),
		// A machine of its own may set its links' MTU.
		"--capability=CAP_NET_ADMIN",
		"--resolv-conf=off", "--timezone=off", "--console=read-only")
	cmd.Env = append(os.Environ(), "UNIFIED_CGROUP_HIERARCHY=1")
	cmd.Stdout, cmd.Stderr = n.console, n.console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is the caller's to handle
	if group, err := n.cgroup(); err == nil {
		defer func() { _ = group.Close() }()
		cmd.SysProcAttr.UseCgroupFD = true
		cmd.SysProcAttr.CgroupFD = int(group.Fd())
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start systemd-nspawn: %w", err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // its words are in the console
	}()
	n.nspawn, n.exited = cmd, exited

	if err := n.attach(ctx); err != nil {
		return fmt.Errorf("boot the node: %w; console ends with:\n%s", err, n.console.tail(20))
	}
	n.boots++
	n.booted = time.Since(began)
	return nil
}

// attach finds PID 1, its bus, and waits for multi-user.target.
func (n *Node) attach(ctx context.Context) error {
	if err := n.poll(ctx, "PID 1 of the node", func(context.Context) bool { n.leader = leader(n.nspawn.Process.Pid); return n.leader != 0 }); err != nil {
		return err
	}
	sock := fmt.Sprintf("/proc/%d/root/run/dbus/system_bus_socket", n.leader)
	var last error
	err := n.poll(ctx, "the node's system bus", func(ctx context.Context) bool {
		// Until dbus.socket listens, what lies there belongs to the image.
		if _, err := os.Stat(sock); err != nil {
			last = err
			return false
		}
		last = n.dial(ctx, sock)
		return last == nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	_, err = n.WaitUnit(ctx, "multi-user.target", func(u Unit) bool { return u.ActiveState == "active" })
	return err
}

// poll calls ready until it says so, ctx ends, or nspawn does.
func (n *Node) poll(ctx context.Context, what string, ready func(context.Context) bool) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		if ready(ctx) {
			return nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		case <-n.exited:
			return fmt.Errorf("wait for %s: systemd-nspawn ended", what)
		}
	}
}

// leader is the child of nspawn that is PID 1 in its own PID namespace, 0 before
// there is one.
func leader(nspawn int) int {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", nspawn, nspawn))
	if err != nil {
		return 0
	}
	for f := range strings.FieldsSeq(string(children)) {
		status, err := os.ReadFile("/proc/" + f + "/status")
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			ids := strings.Fields(line)
			if len(ids) > 2 && ids[0] == "NSpid:" && ids[len(ids)-1] == "1" {
				pid, err := strconv.Atoi(f)
				if err != nil {
					return 0
				}
				return pid
			}
		}
	}
	return 0
}

// cgroup makes and opens the node's own control group.
func (n *Node) cgroup() (*os.File, error) {
	dir, err := n.cgroupDir()
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.Open(dir)
}

func (n *Node) cgroupDir() (string, error) {
	root, own := unifiedRoot(), os.Getenv(cgroupEnv)
	if root == "" || own == "" {
		return "", errors.ErrUnsupported
	}
	return filepath.Join(root, own, filepath.Base(n.dir)), nil
}

// Booted is how long the last boot took, from starting nspawn to multi-user.target.
func (n *Node) Booted() time.Duration { return n.booted }

// Leader is the process ID of the node's PID 1 as this process sees it.
func (n *Node) Leader() int { return n.leader }

// Root is the node's root folder from outside, without what the node mounts on it
// (/run, /tmp). It is empty after Close.
func (n *Node) Root() string { return n.root }

// Console is all that the node has printed on its console since the first boot,
// without colours.
func (n *Node) Console() string { return n.console.String() }

// Reboot restarts the node in order, on the same overlay: files, machine ID and
// journal stay, /run is empty. It returns as Boot does.
func (n *Node) Reboot(ctx context.Context) error {
	if err := n.halt(ctx, true); err != nil {
		return err
	}
	return n.start(ctx)
}

// Close is Shutdown for callers without a context.
func (n *Node) Close() error { return n.Shutdown(context.Background()) }

// Shutdown stops the node, in order while ctx and haltTime allow, and removes
// everything of it. Calling it again is harmless.
func (n *Node) Shutdown(ctx context.Context) error {
	var errs []error
	if n.nspawn != nil {
		ctx, cancel := context.WithTimeout(ctx, haltTime)
		defer cancel()
		errs = append(errs, n.halt(ctx, false))
	}
	if err := unix.Unmount(n.root, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("unmount the node's overlay: %w", err))
	}
	if dir, err := n.cgroupDir(); err == nil {
		removeTree(dir)
	}
	return errors.Join(append(errs, os.RemoveAll(n.dir))...)
}

// halt stops nspawn's system and waits for its end; when ctx ends first, it kills.
func (n *Node) halt(ctx context.Context, reboot bool) error {
	select {
	case <-n.exited:
		return nil
	default:
	}
	var err error
	if reboot {
		err = n.manager(ctx, "Reboot")
	} else {
		// nspawn asks its PID 1 to halt.
		err = n.nspawn.Process.Signal(unix.SIGTERM)
	}
	if n.hangUp != nil {
		defer n.hangUp()
	}
	if err == nil {
		select {
		case <-n.exited:
			return nil
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if n.leader != 0 {
		_ = unix.Kill(n.leader, unix.SIGKILL)
	}
	_ = n.nspawn.Process.Kill()
	<-n.exited
	return fmt.Errorf("the node did not stop in order and was killed: %w; console ends with:\n%s", err, n.console.tail(20))
}
