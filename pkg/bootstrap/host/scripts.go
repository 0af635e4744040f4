package host

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// ScriptsUnit is cloud-init's last stage, which runs the user's scripts.
const ScriptsUnit = "cloud-final.service"

// CloudFinal says whether user scripts run or will run. It asks systemd and is
// no ordering between units: since cloud-init 24.4 cloud-final.service is
// ordered after multi-user.target, and a unit of that target that waits for it
// closes a cycle. https://github.com/canonical/cloud-init/releases/tag/24.4
//
// Without a systemd to ask nothing is pending and the state is "no systemd".
func (u *Units) CloudFinal(ctx context.Context) (bootstrap.ScriptState, error) {
	s := bootstrap.ScriptState{Unit: ScriptsUnit}
	props, err := u.properties(ctx, ScriptsUnit)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		s.State = "no systemd"
		return s, nil
	case err != nil:
		return s, err
	}
	s.State = text(props, "ActiveState")
	switch s.State {
	case "active", "failed":
		// It ran, also when it is about to run once more by hand.
	case "inactive":
		if load := text(props, "LoadState"); load != "loaded" {
			s.State = load // not-found, masked
			break
		}
		s.Pending = queued(props)
	default: // activating, reloading, deactivating
		s.Pending = true
	}
	return s, nil
}

// queued reports whether a job waits for the unit. The property Job is a
// structure (id, object path); id 0 means none.
func queued(props map[string]any) bool {
	job, ok := props["Job"].([]any)
	if !ok || len(job) == 0 {
		return false
	}
	id, ok := job[0].(uint32)
	return ok && id != 0
}
