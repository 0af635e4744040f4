package host_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
)

func TestReport(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "run/nodeprep/report.json")
	if _, err := host.ReadReport(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no report: %v", err)
	}
	for _, o := range []bootstrap.Outcome{
		outcome(findings(securityGroup(), missingCA()), measured),
		outcome(findings(), measured, stage(bootstrap.StageDone), opened("nodeprep")),
	} {
		if err := host.WriteReport(path, o); err != nil {
			t.Fatal(err)
		}
		got, err := host.ReadReport(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(o, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o640 {
		t.Errorf("mode %v", info.Mode())
	}
	if group, err := user.LookupGroup("systemd-journal"); err == nil {
		gid, err := strconv.Atoi(group.Gid)
		if err != nil {
			t.Fatal(err)
		}
		// Where this process may give a file to the group, the report has it.
		if os.Chown(path, -1, gid) == nil {
			if err := host.WriteReport(path, outcome()); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Gid) != gid {
				t.Errorf("group %d, want %d", st.Gid, gid)
			}
		}
	}
	noTemporaries(t, filepath.Dir(path))
}

func TestReadReportErrors(t *testing.T) {
	t.Parallel()
	newer, err := json.Marshal(map[string]any{"schema": bootstrap.Schema, "newField": 1, "runID": "x"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text string
		err  error
	}{
		"newer":        {string(newer), nil},
		"other schema": {`{"schema":"nodeprep.report/2"}`, host.ErrSchema},
		"no schema":    {`{}`, host.ErrSchema},
		"cut off":      {string(newer[:20]), host.ErrSchema},
		"empty":        {"", host.ErrSchema},
	} {
		path := filepath.Join(t.TempDir(), "report.json")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := host.ReadReport(path)
		if !errors.Is(err, c.err) || c.err == nil && got.RunID != "x" {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("%s: the error does not name the file: %v", name, err)
		}
	}
	if err := host.WriteReport("/proc/nodeprep/report.json", outcome()); err == nil {
		t.Error("no error where nothing can be written")
	}
}
