package vpc

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// writeFiles makes the files a process on the node sees.
func (v *VPC) writeFiles() error {
	dir, err := os.MkdirTemp("", "vpc-")
	if err != nil {
		return err
	}
	v.dir = dir
	for _, d := range []string{filepath.Join(dir, "certs"), v.units()} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	var b strings.Builder
	for _, s := range v.options.DNSServers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	fmt.Fprintf(&b, "search %s\n", privateDomain(v.options.Region))
	// Other users' processes in the node read these too.
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(v.ResolvConf(), []byte(b.String()), 0o644); err != nil {
		return err
	}
	const hosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"
	if err := os.WriteFile(v.hostsFile(), []byte(hosts), 0o644); err != nil {
		return err
	}
	return os.WriteFile(v.RootsFile(), v.RootsPEM(), 0o644)
}

// unitDir is where the node's programs see the units in v.units, if the
// machine has such a directory at all.
const unitDir = "/etc/systemd/system"

func (v *VPC) units() string { return filepath.Join(v.dir, "units") }

func (v *VPC) hostsFile() string { return filepath.Join(v.dir, "hosts") }

// LabConfigPath is where an image has LabConfig.
const LabConfigPath = "/usr/lib/nodeprep/conf.d/00-lab.yaml"

// LabConfig is configuration of the image that names the root of the AWS endpoints
// here: nobody but AWS can have that of the real ones.
func (v *VPC) LabConfig() []byte {
	return []byte("apiVersion: nodeprep.io/v1alpha1\nkind: PrepConfig\nspec:\n  anchors: [" + v.aws.keySHA256() + "]\n")
}

// Prepare writes below root, the directory that programs on the node take for /,
// what belongs to this VPC: the root of its AWS endpoints as the one to expect,
// and the files of faults that are there.
func (v *VPC) Prepare(root string) error {
	files := map[string]string{LabConfigPath: string(v.LabConfig())}
	for _, m := range v.files.All() {
		maps.Copy(files, m)
	}
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
