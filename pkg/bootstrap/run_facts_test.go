package bootstrap_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/kubelet"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// What cannot be read of the machine is said, and what can be read is used.
func TestRunOnAMachineThatTellsLittle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := healthyMachine(t)
		m.broken["ec2"] = probe.TCPTimeout
		d := m.deps()
		facts := bootstrap.Machine{CPUs: 2, MemoryMiB: 8192, Binary: "/usr/bin/nodeprep", BootID: "boot"}
		mute, denied := true, errors.New("kubelet --version: permission denied\nand more")
		time.AfterFunc(30*time.Second, func() { m.set(func() { mute = false; delete(m.broken, "ec2") }) })
		d.Machine = func(context.Context) (bootstrap.Machine, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if mute {
				return facts, denied
			}
			return facts, nil
		}
		read := d.Network
		d.Network = func(ctx context.Context) (netcfg.State, error) {
			m.mu.Lock()
			broken := mute && m.read > 0
			m.mu.Unlock()
			if broken {
				return netcfg.State{}, errors.New("netlink: no buffer space")
			}
			return read(ctx)
		}
		d.Write = func(files []bootstrap.File) ([]bootstrap.WrittenFile, error) {
			for _, f := range files {
				if f.Path == kubelet.ConfigPath && !strings.Contains(string(f.Data), `"cpu": "70m"`) {
					t.Errorf("the CPUs are not used:\n%s", f.Data)
				}
			}
			return nil, nil
		}
		o := bootstrap.Run(t.Context(), d, bootstrap.Options{Settle: time.Second})
		if o.Exit != 0 || len(o.Verdict.Findings) != 0 || o.BootID != "boot" {
			t.Errorf("in the end: exit %d, boot %q, %v", o.Exit, o.BootID, o.Verdict.Findings)
		}
		var told []string
		for _, f := range m.published[len(m.published)/2].Verdict.Findings {
			if f.Code == bootstrap.HST102 {
				told = append(told, f.Because+" / "+f.Remedy)
			}
		}
		all := strings.Join(told, "\n")
		if len(told) != 2 || !strings.Contains(all, "permission denied; and more") || !strings.Contains(all, "no buffer space") || strings.Contains(all, "{") {
			t.Errorf("meanwhile:\n%s", all)
		}
	})
}
