package node

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// EKS are the parts of a worker node: what an EKS image has, and what the build of
// an image with nodeprep adds to it.
type EKS struct {
	// Nodeprep and Kubelet are the programs, as paths outside.
	Nodeprep, Kubelet string
	// Units is the project's folder systemd.
	Units string
	// ResolvConf and Roots are files outside: the node's /etc/resolv.conf, and the
	// certificate authorities it trusts.
	ResolvConf, Roots string
	// Config are files of configuration by their path on the node.
	Config map[string][]byte
}

// Presets are the units whose preset an installation of nodeprep applies.
func (EKS) Presets() []string {
	return []string{"nodeprep.service", "nodeprep-gate.path", "kubelet.service"}
}

// vendorDirs is where a package puts the folders of the project's systemd folder.
var vendorDirs = map[string]string{
	"system":       "/usr/lib/systemd/system",
	"preset":       "/usr/lib/systemd/system-preset",
	"catalog":      "/usr/lib/systemd/catalog",
	"tmpfiles":     "/usr/lib/tmpfiles.d",
	"sysctl":       "/usr/lib/sysctl.d",
	"modules-load": "/usr/lib/modules-load.d",
}

// kubeletService has the directives of an EKS image's unit that matter for its
// start. Left out is the ExecStartPre that opens iptables' FORWARD chain: nothing
// here forwards.
const kubeletService = `[Unit]
Description=Kubernetes Kubelet
Documentation=https://github.com/kubernetes/kubernetes
After=containerd.service
Wants=containerd.service

[Service]
Slice=runtime.slice
EnvironmentFile=/etc/eks/kubelet/environment
ExecStart=/usr/bin/kubelet $NODEADM_KUBELET_ARGS
Restart=on-failure
RestartForceExitStatus=SIGPIPE
RestartSec=5
KillMode=process
CPUAccounting=true
MemoryAccounting=true

[Install]
WantedBy=multi-user.target
`

// containerdService only has to be there and to run.
const containerdService = `[Unit]
Description=containerd container runtime

[Service]
ExecStart=/usr/bin/sleep infinity
`

// Files are the parts as files of a node, for Options.
func (e EKS) Files() (map[string]File, error) {
	files := map[string]File{
		"/usr/bin/nodeprep":                      {Source: e.Nodeprep, Mode: 0o755},
		"/usr/bin/kubelet":                       {Source: e.Kubelet, Mode: 0o755},
		"/etc/systemd/system/kubelet.service":    {Content: []byte(kubeletService)},
		"/etc/systemd/system/containerd.service": {Content: []byte(containerdService)},
		// The kubelet wants the plugin to be there; nothing here pulls an image.
		"/etc/eks/image-credential-provider/ecr-credential-provider": {Content: []byte("#!/bin/sh\nexit 1\n"), Mode: 0o755},
		// The build of the image says that nodeprep does nodeadm's work.
		"/etc/nodeprep/replace-nodeadm":      {},
		"/etc/resolv.conf":                   {Source: e.ResolvConf},
		"/etc/ssl/certs/ca-certificates.crt": {Source: e.Roots},
	}
	for path, content := range e.Config {
		files[path] = File{Content: content}
	}
	for folder, dir := range vendorDirs {
		src := filepath.Join(e.Units, folder)
		err := filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(src, path)
			if err != nil {
				return err
			}
			files[filepath.Join(dir, rel)] = File{Source: path, Mode: 0o644}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("units of nodeprep: %w", err)
		}
	}
	entries, err := os.ReadDir(e.Units)
	if err != nil {
		return nil, fmt.Errorf("units of nodeprep: %w", err)
	}
	for _, d := range entries {
		if _, known := vendorDirs[d.Name()]; d.IsDir() && !known {
			return nil, fmt.Errorf("units of nodeprep: no place for %s, only for %v", d.Name(), slices.Sorted(maps.Keys(vendorDirs)))
		}
	}
	return files, nil
}
