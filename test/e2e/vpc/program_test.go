package vpc_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// fetchEnv turns this test binary into a program that fetches a URL with what
// its machine offers: the system's resolver configuration and roots.
const fetchEnv = "VPC_TEST_FETCH"

func fetch(url string) int {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err == nil {
		var res *http.Response
		res, err = http.DefaultTransport.RoundTrip(req)
		if err == nil {
			_ = res.Body.Close()
			fmt.Fprintln(os.Stdout, res.Proto, res.StatusCode)
			return 0
		}
	}
	fmt.Fprintln(os.Stdout, err)
	return 1
}

// A program on the node resolves names with the lab's servers and trusts the
// lab's root, however it is started.
func TestProgram(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{})
	env := append(v.Environ(), fetchEnv+"=https://"+v.Host(vpc.EC2)+"/", "GODEBUG=netdns=go")
	for name, run := range map[string]func(*exec.Cmd) error{
		"Command": func(cmd *exec.Cmd) error {
			on := v.Command(t.Context(), cmd.Path)
			on.Env, on.Stdout, on.Stderr = env, cmd.Stdout, cmd.Stderr
			return on.Run()
		},
		"Start": func(cmd *exec.Cmd) error {
			cmd.Env = env
			if err := v.Start(cmd); err != nil {
				return err
			}
			return cmd.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Path, cmd.Stdout, cmd.Stderr = exe, &out, &out
			if err := run(cmd); err != nil {
				t.Fatalf("%v: %s", err, &out)
			}
			if got := strings.TrimSpace(out.String()); got != "HTTP/2.0 403" {
				t.Errorf("fetched: %s", got)
			}
		})
	}
}

func TestCommandFiles(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://proxy.example:3128")
	t.Setenv("AWS_REGION", "eu-west-1")
	before, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Fatal(err)
	}
	v := newVPC(t, vpc.Options{Region: "us-east-1", CustomDNS: true})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "motd"), []byte("bound\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := v.Bind(filepath.Join(dir, "motd"), target); err != nil {
		t.Fatal(err)
	}
	cmd := v.Command(t.Context(), "sh", "-c", `cat /etc/resolv.conf "$1"; pwd; echo "proxy=$HTTPS_PROXY region=$AWS_REGION certs=$SSL_CERT_DIR"; ls "$SSL_CERT_DIR"`, "sh", target)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := "nameserver 10.20.0.53\nsearch ec2.internal\nbound\n" + dir + "\nproxy= region= certs=" + filepath.Dir(v.RootsFile()) + "/certs\n"
	if string(out) != want {
		t.Errorf("got %q\nwant %q", out, want)
	}
	if b, err := os.ReadFile(target); err != nil || len(b) != 0 {
		t.Errorf("the bound file shows outside of the node: %q, %v", b, err)
	}
	if after, err := os.ReadFile("/etc/resolv.conf"); err != nil || !bytes.Equal(before, after) {
		t.Errorf("resolv.conf changed outside of the node: %q, %v", after, err)
	}
	if err := v.Command(t.Context(), "no-such-program-here").Run(); err == nil {
		t.Error("a program that does not exist could be run")
	}
	if err := v.Bind(dir, "/no/such/place"); err == nil {
		t.Error("a bind over nothing worked")
	}
}

// The namespace's descriptor works for programs outside, as nspawn needs it.
func TestNodeNS(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{})
	ns := fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), v.NodeNS())
	out, err := exec.CommandContext(t.Context(), "nsenter", ns, "cat", "/proc/net/dev").Output()
	if err != nil || !strings.Contains(string(out), "eth0:") {
		t.Errorf("%s, %v", out, err)
	}
}

// What runs on the node lives while threads of this process come and go, and
// does not outlive the VPC.
func TestProgramLife(t *testing.T) {
	t.Parallel()
	v, err := vpc.New(t.Context(), vpc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var cmds []*exec.Cmd
	for range 4 {
		cmd := v.Command(t.Context(), "sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
		for range 20 {
			if err := v.Exec(func() error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
	<-time.After(100 * time.Millisecond)
	for _, cmd := range cmds {
		if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
			t.Errorf("a program ended before the VPC: %v", err)
		}
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))
		if err != nil || string(comm) != "sleep\n" {
			t.Errorf("the command's process is %q, %v", comm, err)
		}
	}
	outside := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := outside.Start(); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	for _, cmd := range cmds {
		_ = cmd.Wait()
		if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGKILL {
			t.Errorf("a program on the node ended with %v", cmd.ProcessState)
		}
	}
	if err := outside.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("a program outside of the node is gone: %v", err)
	}
	_ = outside.Process.Kill()
	if err := outside.Wait(); err == nil {
		t.Error("the program outside ended by itself")
	}
}

// Programs on the node die with the process that made the VPC, however it dies.
func TestOrphans(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), orphanEnv+"=1", "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	deadline := time.Now().Add(20 * time.Second)
	for running(pid) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d survived its VPC", pid)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// running reports whether a process is there and not just waiting to be reaped.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// orphanEnv turns this test binary into a program that starts another one on a
// node, prints its process id and waits for its own end.
const orphanEnv = "VPC_TEST_ORPHAN"

func orphan() int {
	v, err := vpc.New(context.Background(), vpc.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cmd := v.Command(context.Background(), "sleep", "1000")
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintln(os.Stdout, cmd.Process.Pid)
	<-time.After(time.Minute)
	return 1
}
