package ec2meta

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

const (
	execGroup = "client.authentication.k8s.io/"
	execKind  = "ExecCredential"
	execV1    = execGroup + "v1"
	execBeta  = execGroup + "v1beta1"
)

// ErrExecInfo says that KUBERNETES_EXEC_INFO asks for a form that there is not.
var ErrExecInfo = errors.New("unsupported KUBERNETES_EXEC_INFO")

// ExecCredential returns what an exec credential plugin prints: one JSON
// document and a newline. execInfo is the value of KUBERNETES_EXEC_INFO, whose
// apiVersion the answer has to have; client-go 1.24 and later know v1 and v1beta1. Empty,
// as when a person runs the plugin, means v1. The error is ErrExecInfo.
func ExecCredential(execInfo string, t Token) ([]byte, error) {
	version := execV1
	if execInfo != "" {
		var asked struct {
			Kind       string `json:"kind"`
			APIVersion string `json:"apiVersion"`
		}
		if err := json.Unmarshal([]byte(execInfo), &asked); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrExecInfo, err)
		}
		if asked.Kind != execKind {
			return nil, fmt.Errorf("%w: kind %.60q, not %s", ErrExecInfo, asked.Kind, execKind)
		}
		if asked.APIVersion != execV1 && asked.APIVersion != execBeta {
			return nil, fmt.Errorf("%w: apiVersion %.60q, neither %s nor %s", ErrExecInfo, asked.APIVersion, execV1, execBeta)
		}
		version = asked.APIVersion
	}
	type status struct {
		ExpirationTimestamp string `json:"expirationTimestamp"`
		Token               string `json:"token"`
	}
	out, err := json.Marshal(struct {
		Kind       string   `json:"kind"`
		APIVersion string   `json:"apiVersion"`
		Spec       struct{} `json:"spec"`
		Status     status   `json:"status"`
	}{
		Kind:       execKind,
		APIVersion: version,
		Status:     status{ExpirationTimestamp: t.Expires.UTC().Format(time.RFC3339), Token: t.Value},
	})
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", execKind, err)
	}
	return append(out, '\n'), nil
}
