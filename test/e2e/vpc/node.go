package vpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

var errClosed = errors.New("the VPC is closed")

// A place is a thread that lives in the node's network namespace and in a
// mount namespace of the node's own. What is forked from it is on the node.
type place struct {
	calls  chan func()
	quit   chan struct{}
	ended  chan struct{}
	mounts *os.File
	// reaper ends what is left on the node when lifeline is closed, which the
	// kernel does when this process dies.
	reaper   *exec.Cmd
	lifeline io.Closer
}

// reaperScript kills every process in its network namespace but itself. The
// parent-death signal would not do for that: it comes when the thread ends that
// forked, and here threads end all the time. When /proc is not that of the
// shell's process ids it kills nobody.
const reaperScript = `
trap "" HUP INT TERM
net=$(readlink /proc/self/ns/net)
[ -n "$net" ] && [ "$net" = "$(readlink /proc/$$/ns/net)" ] || exit 1
inode=${net#net:[}
inode=${inode%]}
read -r line
for pid in $(ls -l /proc/[0-9]*/ns/net 2>/dev/null | sed -n "s,.* /proc/\\([0-9]*\\)/ns/net -> net:.${inode}.\$,\\1,p"); do
	[ "$pid" = "$$" ] || kill -9 "$pid" 2>/dev/null
done
exit 0
`

// A placeOnce makes the place when it is first needed: most of the time of a
// VPC's tests passes without one.
type placeOnce struct {
	mu     sync.Mutex
	place  *place
	err    error
	closed bool
}

func (p *placeOnce) get(v *VPC) (*place, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	if p.place == nil && p.err == nil {
		p.place, p.err = newPlace(v)
	}
	return p.place, p.err
}

func (p *placeOnce) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.place != nil {
		_ = p.place.lifeline.Close()
		// It has nothing to say; what it kills ends before or after.
		_ = p.place.reaper.Wait()
		close(p.place.quit)
		<-p.place.ended
		_ = p.place.mounts.Close()
		p.place = nil
	}
}

func newPlace(v *VPC) (*place, error) {
	p := &place{calls: make(chan func()), quit: make(chan struct{}), ended: make(chan struct{})}
	ready := make(chan error, 1)
	go func() {
		defer close(p.ended)
		// onThread waits for its function, which serves calls until the end.
		_ = onThread(func() error {
			err := p.enter(v)
			ready <- err
			if err != nil {
				return err
			}
			for {
				select {
				case f := <-p.calls:
					f()
				case <-p.quit:
					return nil
				}
			}
		})
	}()
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("prepare the node's mounts: %w", err)
	}
	if err := p.startReaper(); err != nil {
		close(p.quit)
		<-p.ended
		return nil, errors.Join(fmt.Errorf("start the node's reaper: %w", err), p.mounts.Close())
	}
	return p, nil
}

func (p *place) startReaper() error {
	path, err := exec.LookPath("sh")
	if err != nil {
		return err
	}
	// It has no context because it ends when lifeline does.
	p.reaper = &exec.Cmd{Path: path, Args: []string{"sh", "-c", reaperScript}}
	if p.lifeline, err = p.reaper.StdinPipe(); err != nil {
		return err
	}
	return p.do(p.reaper.Start)
}

// enter moves the calling thread to the node.
func (p *place) enter(v *VPC) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("new mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := errors.Join(bind(v.ResolvConf(), "/etc/resolv.conf"), bind(v.hostsFile(), "/etc/hosts")); err != nil {
		return err
	}
	if _, err := os.Stat(unitDir); err == nil {
		if err := bind(v.units(), unitDir); err != nil {
			return err
		}
	}
	if err := netns.Set(v.node); err != nil {
		return fmt.Errorf("enter the node's network: %w", err)
	}
	var err error
	p.mounts, err = os.Open("/proc/thread-self/ns/mnt")
	return err
}

// do calls f on the place's thread.
func (p *place) do(f func() error) error {
	err := make(chan error, 1)
	select {
	case p.calls <- func() { err <- f() }:
		return <-err
	case <-p.ended:
		return errClosed
	}
}

// bind mounts source over target, which must exist. What a symbolic link at
// target points to is what programs will read, so that is covered.
func bind(source, target string) error {
	real, err := filepath.EvalSymlinks(target)
	if err != nil {
		return fmt.Errorf("bind over %s: %w", target, err)
	}
	if err := unix.Mount(source, real, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s over %s: %w", source, target, err)
	}
	return nil
}

// Bind shows the file or directory source in place of target to every program
// on the node, also to those that run already. Both must exist.
func (v *VPC) Bind(source, target string) error {
	p, err := v.place.get(v)
	if err != nil {
		return err
	}
	return p.do(func() error { return bind(source, target) })
}

// NodeNS returns a file descriptor of the node's network namespace. It is valid
// until Close; /proc/PID/fd/N with this process's id names it for other programs.
func (v *VPC) NodeNS() int { return int(v.node) }

// Exec calls f on a thread of its own in the node's network namespace. Only
// what f does itself is in there: goroutines are not, and so neither is Go's
// resolver or a dial to more than one address.
func (v *VPC) Exec(f func() error) error { return in(v.node, f) }

// Command returns a command that runs a program on the node: in its network
// namespace, with its resolv.conf and hosts file, with the lab's root as the only one, and
// killed when this process ends. The environment holds nothing that leads
// elsewhere: no proxy, no AWS settings. The command passes through nsenter(1),
// which costs a millisecond; Start avoids that.
func (v *VPC) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	path, err := absolute(name)
	p, placeErr := v.place.get(v)
	if err = errors.Join(err, placeErr); err != nil {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Err = err
		return cmd
	}
	self := fmt.Sprintf("/proc/%d/fd/", os.Getpid())
	enter := []string{
		fmt.Sprintf("--mount=%s%d", self, p.mounts.Fd()), fmt.Sprintf("--net=%s%d", self, v.NodeNS()), "--wd=.", "--", path,
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = v.Environ()
	return cmd
}

// Start starts an ordinary command on the node, forked straight into it, for
// measurements. It sets the environment when there is none. Wait as usual.
func (v *VPC) Start(cmd *exec.Cmd) error {
	p, err := v.place.get(v)
	if err != nil {
		return err
	}
	if cmd.Env == nil {
		cmd.Env = v.Environ()
	}
	return p.do(cmd.Start)
}

// Environ returns the environment of programs on the node.
func (v *VPC) Environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		name = strings.ToUpper(name)
		return strings.HasSuffix(name, "_PROXY") || strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "SSL_CERT_")
	})
	for _, m := range v.environment.All() {
		for name, value := range m {
			env = append(env, name+"="+value)
		}
	}
	return append(env, "SSL_CERT_FILE="+v.RootsFile(), "SSL_CERT_DIR="+filepath.Join(v.dir, "certs"))
}

func absolute(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}
