package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

// isolatedEnv marks the re-executed process. Its value is the network namespace
// that was left, so that a marker set by hand isolates nothing by mistake.
const isolatedEnv = "NODEPREP_E2E_LEFT_NETNS"

// instances is where an isolated process keeps its nodes: on a tmpfs of its own
// mount namespace, which goes away with it however it ends.
const instances = "/run/nodes"

// Isolated runs run in network, mount and (as root) PID namespaces of its own
// and returns its exit code:
//
//	func TestMain(m *testing.M) { os.Exit(node.Isolated(nil, m.Run)) }
//
// The program re-executes itself, so everything before the call runs twice.
// prepare, when not nil, runs outside and first, where there still is a network:
// it builds what the tests need and returns environment variables for run.
//
// Inside, lo is up and there is no uplink, /run is empty, TMPDIR lies in it, and
// this process is PID 1: when it ends, or its parent does, by whatever signal,
// the kernel ends every process and mount below it. An ordinary user gets a user
// namespace and no PID namespace, enough for namespace tests, not for Boot.
func Isolated(prepare func() ([]string, error), run func() int) int {
	here, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return refuse(err)
	}
	switch os.Getenv(isolatedEnv) {
	case "":
		var env []string
		if prepare != nil {
			if env, err = prepare(); err != nil {
				fmt.Fprintln(os.Stderr, "node: prepare:", err)
				return 1
			}
		}
		return reexec(here, env)
	case here:
		fmt.Fprintf(os.Stderr, "node: %s is set, but this process still is in %s\n", isolatedEnv, here)
		return 1
	}
	if err := enter(); err != nil {
		fmt.Fprintln(os.Stderr, "node: prepare the namespaces:", err)
		return 1
	}
	return run()
}

func refuse(err error) int {
	if os.Getenv("CI") == "true" {
		fmt.Fprintln(os.Stderr, "node: namespaces are needed:", err)
		return 1
	}
	fmt.Fprintln(os.Stderr, "node: SKIPPED, no namespaces to be had:", err)
	return 0
}

func reexec(here string, env []string) int {
	env = append(env, isolatedEnv+"="+here)
	flags := uintptr(0)
	if os.Geteuid() == 0 {
		flags = unix.CLONE_NEWPID
		group := newCgroup()
		defer group.remove()
		env = append(env, cgroupEnv+"="+group.name)
	}
	code, err := probetest.Reexec(flags, env...)
	if err != nil {
		return refuse(err)
	}
	return code
}

// enter makes the new namespaces usable.
func enter() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if os.Getpid() == 1 {
		if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("mount /proc: %w", err)
		}
		joinCgroup(os.Getenv(cgroupEnv))
	}
	// Where systemd-resolved runs, resolv.conf is a link into /run. The lab mounts
	// files of its own over what it leads to, which must exist for that.
	resolver, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		resolver = ""
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	// nspawn wants /run/systemd, and nothing else of a host's systemd.
	for _, dir := range []string{"/run/systemd", instances} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if strings.HasPrefix(resolver, "/run/") {
		if err := os.MkdirAll(filepath.Dir(resolver), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(resolver, nil, 0o644); err != nil {
			return err
		}
	}
	if err := os.Setenv("TMPDIR", instances); err != nil {
		return err
	}
	return probetest.LinkUp("lo")
}
