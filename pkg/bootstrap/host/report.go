package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// ReportPath is where the report of the last run is on a node.
const ReportPath = "/run/nodeprep/report.json"

// reportGroup may read the report: who reads the journal may know as much.
const reportGroup = "systemd-journal"

// reportLimit is far above the report of a thousand targets.
const reportLimit = 64 << 20

// ErrSchema is the error of a report that this version cannot read.
var ErrSchema = errors.New("not a report that this nodeprep can read")

// WriteReport replaces the report at path with o. It is readable for root and
// the group systemd-journal, where that exists and this process may give files to it.
func WriteReport(path string, o bootstrap.Outcome) error {
	if err := makeDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	// Without indentation, which would double the memory of the largest thing
	// this program makes; nodeprep report -o json prints it for people.
	encode := func(f *os.File) error {
		e := json.NewEncoder(f)
		e.SetEscapeHTML(false) // people read it, browsers do not
		return e.Encode(o.ForReport())
	}
	if err := writeAtomic(path, nil, 0o640, encode, giveToGroup(reportGroup)); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// giveToGroup changes a file's group. A missing group or permission leaves the
// file to its owner alone, which is no reason to have no report.
func giveToGroup(name string) func(*os.File) error {
	return func(f *os.File) error {
		var unknown user.UnknownGroupError
		group, err := user.LookupGroup(name)
		if errors.As(err, &unknown) || errors.Is(err, os.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		gid, err := strconv.Atoi(group.Gid)
		if err != nil {
			return err
		}
		err = f.Chown(-1, gid)
		if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EINVAL) { // EINVAL: not in this user namespace
			return nil
		}
		return err
	}
}

// ReadReport reads a report. It fails with fs.ErrNotExist when there is none and
// with ErrSchema when it is of another kind. Fields that this version does not
// know are ignored: within one schema reports only grow.
func ReadReport(path string) (bootstrap.Outcome, error) {
	b, err := readLimited(path, reportLimit)
	if err != nil {
		return bootstrap.Outcome{}, fmt.Errorf("read report: %w", err)
	}
	var o bootstrap.Outcome
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&o); err != nil {
		return bootstrap.Outcome{}, fmt.Errorf("read report %s: %w: %w", path, ErrSchema, err)
	}
	if o.Schema != bootstrap.Schema {
		return bootstrap.Outcome{}, fmt.Errorf("read report %s: %w: schema %q, want %q", path, ErrSchema, o.Schema, bootstrap.Schema)
	}
	return o, nil
}
