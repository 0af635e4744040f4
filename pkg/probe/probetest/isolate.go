package probetest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// isolatedEnv is set in the re-executed test process. Its value is the network
// namespace that was left, so that a marker set by hand isolates nothing by mistake.
const isolatedEnv = "NODEPREP_TEST_LEFT_NETNS"

// Isolate runs the tests of m in a network and mount namespace of their own:
//
//	func TestMain(m *testing.M) { os.Exit(probetest.Isolate(m)) }
//
// It re-executes the test binary, because a Go process cannot move all of its
// threads into another namespace. In there lo is up, there is no way out, the
// process has CAP_NET_ADMIN, and mounts do not propagate back. An ordinary user
// gets a user namespace too. Where the kernel forbids that, Isolate says so and
// returns 0 without running a test; with CI=true it returns 1.
func Isolate(m *testing.M) int {
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return notIsolated(err)
	}
	left := os.Getenv(isolatedEnv)
	if left == "" {
		code, err := Reexec(0, isolatedEnv+"="+here)
		if err != nil {
			return notIsolated(err)
		}
		return code
	}
	if left == here {
		fmt.Fprintf(os.Stderr, "probetest: %s is set, but this process still is in %s\n", isolatedEnv, here)
		return 1
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "probetest: prepare the namespace:", err)
		return 1
	}
	return m.Run()
}

// Reexec runs this program again, with the same arguments, in network and mount
// namespaces of its own, as an ordinary user in a user namespace too, and in those
// that flags add (CLONE_NEWPID, say). env is added to the environment. It returns
// the program's exit code, or an error when the kernel allows no such namespaces.
func Reexec(flags uintptr, env ...string) (int, error) {
	// The child must not outlive this process, and the parent-death signal
	// belongs to the thread that forked.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd := &exec.Cmd{
		Path:   "/proc/self/exe",
		Args:   os.Args,
		Env:    append(os.Environ(), env...),
		Stdin:  os.Stdin,
		Stdout: os.Stdout,
		Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | flags,
			Pdeathsig:  unix.SIGKILL,
		},
	}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	// go test asks for goroutine dumps with SIGQUIT; the child has the goroutines.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGQUIT, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	defer signal.Stop(signals)

	if err := cmd.Start(); err != nil {
		return 0, err
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				// The child may have ended just now; then Wait returns.
				_ = cmd.Process.Signal(s)
			case <-done:
				return
			}
		}
	}()
	err := cmd.Wait()
	close(done)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	default:
		fmt.Fprintln(os.Stderr, "isolated process:", err)
		return 1, nil
	}
}

func notIsolated(err error) int {
	if os.Getenv("CI") == "true" {
		fmt.Fprintln(os.Stderr, "probetest: tests need a network namespace of their own:", err)
		return 1
	}
	fmt.Fprintln(os.Stderr, "probetest: SKIPPED, no network namespace to test in:", err)
	return 0
}

// prepare brings lo up and keeps mounts from propagating out.
func prepare() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return LinkUp("lo")
}

// LinkUp brings a link up if it is not. It sets IFF_UP by ioctl, so that
// this package needs no netlink library.
func LinkUp(name string) error {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	if link.Flags&net.FlagUp != 0 {
		return nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(ifr))); errno != 0 {
		return fmt.Errorf("bring %s up: %w", name, errno)
	}
	return nil
}
