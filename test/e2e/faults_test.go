package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// lab builds a VPC that lives as long as the test.
func lab(t *testing.T, o vpc.Options) *vpc.VPC {
	t.Helper()
	v, err := vpc.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// prepared is a directory that stands for the node's /.
func prepared(t *testing.T, v *vpc.VPC) string {
	t.Helper()
	root := t.TempDir()
	if err := v.Prepare(root); err != nil {
		t.Fatal(err)
	}
	return root
}

// check runs `nodeprep check` on the node and returns its outcome and exit code.
func check(t *testing.T, v *vpc.VPC, args ...string) (bootstrap.Outcome, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := v.Command(ctx, program("nodeprep"), append([]string{"check", "-o", "json", "--root", prepared(t, v)}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	capture, err := v.Capture()
	if err != nil {
		t.Fatal(err)
	}
	err = cmd.Run()
	flows, lost := capture.Stop()
	if lost != nil {
		t.Error(lost)
	}
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	var o bootstrap.Outcome
	if err := json.Unmarshal(out.Bytes(), &o); err != nil {
		t.Fatalf("%v: %q\n%s", err, out.String(), errs.String())
	}
	withinPlan(t, o, flows)
	judgedAlike(t, o)
	return o, cmd.ProcessState.ExitCode()
}

// atOnce is how many faults TestFaults looks at side by side. Their runs are waiting
// for packets that do not come, most of the time.
const atOnce = 10

// TestFaults injects every fault of the lab and expects exactly the cause that
// the fault's row names, with a remedy that can be acted on.
func TestFaults(t *testing.T) {
	t.Parallel()
	faults := make(chan vpc.Fault)
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for f := range faults {
				t.Run(f.Name, func(t *testing.T) { testFault(t, f) })
			}
		})
	}
	for _, f := range vpc.Faults() {
		faults <- f
	}
	close(faults)
	wg.Wait()
}

func testFault(t *testing.T, f vpc.Fault) {
	t.Helper()
	if f.Code != "" && !known(f.Code) {
		t.Logf("%s belongs to a later version", f.Code)
		return
	}
	v := lab(t, f.Options(vpc.Options{}))
	if _, err := v.Inject(f.Name); err != nil {
		t.Fatal(err)
	}
	o, exit := check(t, v)
	var blocking, warnings []string
	for _, finding := range o.Verdict.Findings {
		line := fmt.Sprintf("%s %v %v: %s | fix: %s", finding.Code, finding.Targets, finding.Addresses, finding.Because, finding.Remedy)
		if finding.Blocks {
			blocking = append(blocking, line)
		} else {
			warnings = append(warnings, line)
		}
		if finding.Remedy == "" || strings.ContainsAny(finding.Remedy, "{}") || finding.Because == "" {
			t.Errorf("a finding nobody can act on: %s", line)
		}
		named := slices.ContainsFunc(finding.Addresses, func(a netip.Addr) bool { return strings.Contains(finding.Remedy, a.String()) })
		area := finding.Code.Area()
		host := v.Host(f.Service)
		if f.Service != "" && !strings.Contains(strings.ToLower(finding.Remedy), strings.ToLower(host)) && (area != "MTU" || !named) {
			t.Errorf("the remedy does not name %s: %s", host, line)
		}
		// These are about all addresses, or a subnet.
		all := slices.Contains([]bootstrap.Code{bootstrap.NET106, bootstrap.NET108, bootstrap.NET109, bootstrap.NET119}, finding.Code)
		if (area == "NET" && !all || area == "DNS" && f.Service == "" && len(finding.Addresses) > 0) && !named {
			t.Errorf("the remedy names none of the addresses: %s", line)
		}
	}
	t.Logf("exit %d after %s\nblocking %s\nwarnings %s", exit, o.Updated.Sub(o.Started), strings.Join(blocking, "\n         "), strings.Join(warnings, "\n         "))
	if n := v.Counts().AWSRequests; n != 0 {
		t.Errorf("%d AWS API requests before the kubelet started", n)
	}
	if f.Code == "" {
		if f.Name != "imds-late" && (exit != 0 || len(o.Verdict.Findings) != 0) {
			t.Error("want a pass without findings")
		}
		return
	}
	if f.Warning {
		if exit != 0 || len(blocking) != 0 || len(o.Verdict.Findings) != 1 || string(o.Verdict.Findings[0].Code) != f.Code {
			t.Errorf("want the warning %s alone", f.Code)
		}
		return
	}
	if len(blocking) != 1 || len(warnings) != 0 || !strings.HasPrefix(blocking[0], f.Code+" ") {
		t.Errorf("want %s and nothing else", f.Code)
	}
	if info, _ := bootstrap.Code(f.Code).Info(); exit != info.Exit {
		t.Errorf("exit %d, want %d", exit, info.Exit)
	}
}

// known reports whether this version has a code.
func known(code string) bool {
	_, ok := bootstrap.Code(code).Info()
	return ok
}

// TestHeals starts a bootstrap in a broken VPC, sees it blocked, repairs the
// VPC and expects the bootstrap to pass within one backoff step.
func TestHeals(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"ecr-api-drop", "dns-servfail", "wrong-ca", "imds-off", "no-default-route", "s3-route", "apiserver-portal"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, ok := vpc.FaultNamed(name)
			if !ok {
				t.Fatalf("the lab has no fault %s", name)
			}
			v := lab(t, f.Options(vpc.Options{}))
			repair, err := v.Inject(name)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			root := prepared(t, v)
			cmd := v.Command(ctx, program("nodeprep"), "bootstrap", "--no-start", "--root", root)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			report := filepath.Join(root, "run/nodeprep/report.json")
			blocked := wait(ctx, t, func() bool {
				o := readReport(report)
				return slices.ContainsFunc(o.Verdict.Blocking(), func(b bootstrap.Finding) bool { return string(b.Code) == f.Code })
			})
			if !blocked {
				t.Fatalf("never blocked by %s:\n%s", f.Code, out.String())
			}
			if _, err := os.Stat(filepath.Join(root, "run/nodeprep/kubelet.allowed")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the gate while blocked: %v", err)
			}
			if err := repair(); err != nil {
				t.Fatal(err)
			}
			repaired := time.Now()
			if err := cmd.Wait(); err != nil {
				t.Fatalf("after the repair: %v\n%s", err, out.String())
			}
			// One backoff step is at most 5 s here, the round before it at most 6 s.
			if took := time.Since(repaired); took > 12*time.Second {
				t.Errorf("passed %s after the repair", took)
			}
		})
	}
}

// readReport reads a report that may not be there yet.
func readReport(path string) (o bootstrap.Outcome) {
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &o)
	}
	if err != nil {
		return bootstrap.Outcome{}
	}
	return o
}

// wait polls until something holds or ctx ends.
func wait(ctx context.Context, t *testing.T, holds func() bool) bool {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// TestHealthy bootstraps in a healthy VPC of each kind of region.
func TestHealthy(t *testing.T) {
	t.Parallel()
	for _, o := range []vpc.Options{
		{Region: "us-west-2"},
		{Region: "us-east-1"},
		{Region: "cn-north-1"},
		{Region: "us-gov-west-1"},
		{Region: "us-west-2", IPv6: true},
		{Region: "us-west-2", CustomDNS: true},
	} {
		t.Run(fmt.Sprintf("%s v6=%v customDNS=%v", o.Region, o.IPv6, o.CustomDNS), func(t *testing.T) {
			t.Parallel()
			v := lab(t, o)
			root := prepared(t, v)
			run := func() bootstrap.Outcome {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				out, err := v.Command(ctx, program("nodeprep"), "bootstrap", "--no-start", "--root", root).CombinedOutput()
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				return readReport(filepath.Join(root, "run/nodeprep/report.json"))
			}
			first := run()
			if len(first.Verdict.Findings) != 0 || !first.Verdict.Pass {
				t.Errorf("findings %+v", first.Verdict.Findings)
			}
			counts := v.Counts()
			if counts.TokenRequests != 1 || counts.MetadataRequests > 16 || counts.MetadataConnections > 8 || counts.AWSRequests != 0 {
				t.Errorf("counts %+v", counts)
			}
			files := snapshot(t, root)
			for _, want := range []string{
				"etc/kubernetes/kubelet/config.json", "var/lib/kubelet/kubeconfig", "etc/kubernetes/pki/ca.crt",
				"etc/eks/image-credential-provider/config.json", "etc/eks/kubelet/environment",
			} {
				if files[want] == "" {
					t.Errorf("%s was not written", want)
				}
			}
			second := run()
			if after := snapshot(t, root); fmt.Sprint(after) != fmt.Sprint(files) {
				t.Error("the second run changed files")
			}
			for _, f := range second.Files {
				if f.Changed {
					t.Errorf("the second run says it changed %s", f.Path)
				}
			}
		})
	}
}

// snapshot maps the files below etc and var to their inode, time and content.
func snapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, dir := range []string{"etc", "var"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			b, err := os.ReadFile(path)
			rel, _ := filepath.Rel(root, path)
			files[rel] = fmt.Sprint(info.ModTime(), info.Mode(), string(b))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}
