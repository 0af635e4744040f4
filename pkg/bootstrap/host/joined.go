package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// JoinedPath is where a node keeps the marker that it joined its cluster. Unlike the
// gate it outlives reboots.
const JoinedPath = "/var/lib/nodeprep/joined.json"

// maxJoined bounds what is read of it; a marker has 200 bytes.
const maxJoined = 64 << 10

// ReadJoined reads the marker below root, "" or "/" for the machine itself. No file is no
// marker; a damaged one is none either, and an error.
func ReadJoined(root string) (bootstrap.Marker, error) {
	data, err := readLimited(filepath.Join("/", root, JoinedPath), maxJoined)
	if errors.Is(err, fs.ErrNotExist) {
		return bootstrap.Marker{}, nil
	}
	var m bootstrap.Marker
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err == nil && (m.InstanceID == "" || m.Cluster == "" || m.CASHA256 == "" || m.At.IsZero()) {
		err = errors.New("incomplete marker")
	}
	if err != nil {
		return bootstrap.Marker{}, fmt.Errorf("read %s: %w", JoinedPath, err)
	}
	return m, nil
}

// WriteJoined replaces the marker below root atomically, readable by all. One that is
// as it should be is not touched.
func WriteJoined(root string, m bootstrap.Marker) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write %s: %w", JoinedPath, err)
	}
	if _, err := replace(filepath.Join("/", root, JoinedPath), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", JoinedPath, err)
	}
	return nil
}
