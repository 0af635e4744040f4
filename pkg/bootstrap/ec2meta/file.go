package ec2meta

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// ReadFile reads a file that stands in for the metadata service; see Parse.
func ReadFile(path string) (bootstrap.Metadata, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return bootstrap.Metadata{}, fmt.Errorf("read metadata file: %w", err)
	}
	m, err := Parse(data)
	if err != nil {
		return bootstrap.Metadata{}, &fileError{path: path, err: err}
	}
	return m, nil
}

// A fileError says of a file what an error of Parse says of a service: which
// paths it lacks, and which have the wrong form.
type fileError struct {
	path string
	err  error
}

// Error is one line.
func (e *fileError) Error() string {
	failures := []error{e.err}
	if list, ok := e.err.(interface{ Unwrap() []error }); ok {
		failures = list.Unwrap()
	}
	var missing, wrong []string
	for _, err := range failures {
		m, ok := errors.AsType[*bootstrap.MetadataError](err)
		switch {
		case !ok:
			wrong = append(wrong, err.Error())
		case m.Status == http.StatusNotFound:
			missing = append(missing, name(m))
		default:
			wrong = append(wrong, fmt.Sprintf("%s: %v", name(m), m.Err))
		}
	}
	if len(missing) > 0 {
		wrong = append(wrong, "missing: "+strings.Join(missing, ", "))
	}
	return "metadata file " + e.path + ": " + strings.Join(wrong, "; ")
}

// Unwrap returns the error of Parse.
func (e *fileError) Unwrap() error { return e.err }

// name is how a file calls the path of a request.
func name(e *bootstrap.MetadataError) string { return strings.TrimPrefix(e.Path, "/latest/") }

// Parse reads one JSON object of metadata paths and their text, with the paths
// below /latest/ as the service has them:
//
//	{"meta-data/mac": "02:29:96:8f:6a:2d", "user-data": "…"}
//
// A path that is not there is one for which the service would answer 404. Paths that
// Read does not ask for are passed over. A value that the service may not lack
// or that has the wrong form is a *bootstrap.MetadataError, as from Read.
func Parse(data []byte) (bootstrap.Metadata, error) {
	var texts map[string]string
	if err := json.Unmarshal(data, &texts); err != nil {
		return bootstrap.Metadata{}, fmt.Errorf("not one JSON object of texts: %w", err)
	}
	got := make(answers)
	load := func(paths []string) {
		for _, path := range paths {
			a := answer{exchange: exchange{method: http.MethodGet, path: "/latest/" + path, status: http.StatusNotFound}}
			if text, ok := texts[path]; ok {
				a.status, a.body = http.StatusOK, []byte(text)
			}
			got[path] = a
		}
	}
	load(instancePaths())
	p := &parser{got: got}
	m := p.instance()
	if m.Instance.MAC != "" {
		load(interfacePaths(m.Instance.MAC))
		p.network(&m.Instance)
	}
	if m.Instance.Role != "" {
		load([]string{pathRole + m.Instance.Role})
		p.credentials(&m.Instance)
	}
	if len(p.failures) > 0 {
		return bootstrap.Metadata{}, join(p.failures)
	}
	return m, nil
}
