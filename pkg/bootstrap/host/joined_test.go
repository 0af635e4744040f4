package host_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
)

func TestJoined(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if m, err := host.ReadJoined(root); err != nil || m != (bootstrap.Marker{}) {
		t.Errorf("no file: %+v, %v", m, err)
	}
	at := time.Date(2026, 9, 1, 12, 0, 0, 123, time.UTC)
	first := bootstrap.Marker{InstanceID: "i-0", Cluster: "a", CASHA256: strings.Repeat("0", 64), At: at}
	second := bootstrap.Marker{InstanceID: "i-0", Cluster: "b", CASHA256: strings.Repeat("f", 64), At: at.Add(time.Hour)}
	path := filepath.Join(root, host.JoinedPath)
	var before os.FileInfo
	for i, m := range []bootstrap.Marker{first, first, second} {
		if err := host.WriteJoined(root, m); err != nil {
			t.Fatal(err)
		}
		got, err := host.ReadJoined(root)
		if diff := cmp.Diff(m, got); diff != "" || err != nil {
			t.Errorf("%v -written +read:\n%s", err, diff)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != 0o644 {
			t.Fatalf("%v, %v", info.Mode(), err)
		}
		if same := os.SameFile(before, info); same != (i == 1) {
			t.Errorf("writing %d: the same file: %v", i, same)
		}
		before = info
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestJoinedErrors(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty": "", "cut short": `{"instanceID": "i-0", "clus`, "incomplete": `{"instanceID": "i-0", "cluster": "a"}`,
		"null": "null", "other types": `{"instanceID": 1}`, "no time": `{"instanceID": "i", "cluster": "a", "caSHA256": "0"}`,
		"too large": `{"instanceID": "` + strings.Repeat("i", 70_000) + `"}`,
	} {
		root := tree(t, map[string]string{host.JoinedPath: text})
		if m, err := host.ReadJoined(root); err == nil || m != (bootstrap.Marker{}) || !strings.Contains(err.Error(), host.JoinedPath) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
		// A damaged file is no obstacle to a good one.
		m := bootstrap.Marker{InstanceID: "i-0", Cluster: "a", CASHA256: "0", At: time.Unix(1, 0).UTC()}
		if err := host.WriteJoined(root, m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := host.ReadJoined(root); got != m || err != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	root := tree(t, map[string]string{"/var/lib/nodeprep": "a file"})
	if err := host.WriteJoined(root, bootstrap.Marker{InstanceID: "i-0"}); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file in place of the directory: %v", err)
	}
	if _, err := host.ReadJoined(root); err == nil {
		t.Error("a file in place of the directory: no error")
	}
}
