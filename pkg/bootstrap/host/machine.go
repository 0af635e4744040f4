package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/kubelet"
)

// Files that ReadMachine reads.
const (
	onlineCPUs = "/sys/devices/system/cpu/online"
	memInfo    = "/proc/meminfo"
	bootID     = "/proc/sys/kernel/random/boot_id"
	pciDevices = "/sys/bus/pci/devices"
	// kubeletVersion is written by the build of EKS images.
	kubeletVersion = "/etc/eks/kubelet-version.txt"
)

// vendorNVIDIA is NVIDIA's number in the PCI ID repository, as sysfs prints it.
const vendorNVIDIA = "0x10de"

// kubeletDeadline is the time `kubelet --version` gets; it takes 0.1 s, or a
// second on a cold disk.
const kubeletDeadline = 5 * time.Second

// ReadMachine reads what the instance is and has, from files below root ("" or
// "/" for the running machine). What cannot be known stays zero; an error means
// that a file exists but could not be read or makes no sense, and comes with
// everything else that was read. A kubelet is only run when root is the machine itself.
// The files of its units, which say what environments programs get, are below units.
func ReadMachine(ctx context.Context, root, units string) (bootstrap.Machine, error) {
	m := bootstrap.Machine{CPUs: runtime.NumCPU()}
	var errs []error
	note := func(err error) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	in := func(path string) string { return filepath.Join("/", root, path) }

	if b, err := os.ReadFile(in(onlineCPUs)); err != nil {
		note(err)
	} else if n, err := countCPUs(string(b)); err != nil {
		note(fmt.Errorf("%s: %w", onlineCPUs, err))
	} else {
		m.CPUs = n
	}
	if b, err := os.ReadFile(in(memInfo)); err != nil {
		note(err)
	} else if m.MemoryMiB, err = memoryMiB(b); err != nil {
		note(fmt.Errorf("%s: %w", memInfo, err))
	}
	if b, err := os.ReadFile(in(bootID)); err != nil {
		note(err)
	} else {
		m.BootID = strings.TrimSpace(string(b))
	}
	var err error
	m.NVIDIA, err = hasPCIVendor(in(pciDevices), vendorNVIDIA)
	note(err)
	m.KubeletVersion, err = readKubeletVersion(ctx, in(kubeletVersion), in("/") == "/")
	note(err)
	m.Binary, err = os.Executable()
	note(err)
	m.Environments, err = ReadEnvironments(units, os.Environ())
	note(err)
	return m, errors.Join(errs...)
}

// readKubeletVersion reads the file, else asks the installed kubelet if run says
// so. No kubelet is no error.
func readKubeletVersion(ctx context.Context, file string, run bool) (kubelet.Version, error) {
	b, err := os.ReadFile(file)
	switch {
	case err == nil:
		return kubelet.ParseVersion(string(b))
	case !errors.Is(err, fs.ErrNotExist):
		return kubelet.Version{}, err
	case !run:
		return kubelet.Version{}, nil
	}
	path, err := exec.LookPath("kubelet")
	if err != nil {
		if path, err = exec.LookPath("/usr/bin/kubelet"); err != nil {
			return kubelet.Version{}, nil // none is installed yet
		}
	}
	ctx, cancel := context.WithTimeout(ctx, kubeletDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = time.Second // a child that keeps the pipe open
	out, err := cmd.Output()
	if err != nil {
		return kubelet.Version{}, fmt.Errorf("%s --version: %w", path, errors.Join(err, ctx.Err()))
	}
	return kubelet.ParseVersion(string(out))
}

// hasPCIVendor reports whether a device below dir is of the vendor.
func hasPCIVendor(dir, vendor string) (bool, error) {
	devices, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, d := range devices {
		b, err := os.ReadFile(filepath.Join(dir, d.Name(), "vendor"))
		switch {
		case errors.Is(err, fs.ErrNotExist): // unplugged meanwhile
		case err != nil:
			return false, err
		case strings.TrimSpace(string(b)) == vendor:
			return true, nil
		}
	}
	return false, nil
}

// countCPUs counts the CPUs of a list as the kernel prints it: 0-3,8,10-11.
func countCPUs(list string) (int, error) {
	n := 0
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		low, high, isRange := strings.Cut(part, "-")
		first, err := strconv.ParseUint(low, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is no list of CPUs: %w", list, err)
		}
		last := first
		if isRange {
			if last, err = strconv.ParseUint(high, 10, 16); err != nil || last < first {
				return 0, fmt.Errorf("%q is no list of CPUs", list)
			}
		}
		n += int(last-first) + 1
	}
	return n, nil
}

// memoryMiB reads MemTotal, which the kernel gives in KiB and calls kB (proc(5)).
func memoryMiB(meminfo []byte) (int, error) {
	lines := bufio.NewScanner(bytes.NewReader(meminfo))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			kib, err := strconv.ParseUint(fields[1], 10, 48)
			return int(kib / 1024), err
		}
	}
	return 0, errors.New("no MemTotal")
}
