package kubelet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
)

// fileMode is that of the EKS images. None of the files holds a secret: the
// kubeconfig names a program that makes tokens.
const fileMode = 0o644

// Render makes the kubelet's files, in the order of their paths. Equal Params
// give equal bytes.
//
// The error joins everything that Params lack and, as *SettingError, every
// user setting with which the kubelet would not start.
func Render(p Params) ([]File, error) {
	_, problems := Check(p.UserConfig, p.UserFlags, p.Version)
	errs := p.missing()
	for _, e := range problems {
		errs = append(errs, e)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}

	environment, err := renderEnvironment(p)
	if err != nil {
		return nil, err
	}
	type document struct {
		path  string
		value any
	}
	documents := []document{
		{CredentialProviderConfigPath, credentialProviderConfig(p.Version)},
		{ConfigPath, configuration(p)},
	}
	if len(p.UserConfig) > 0 {
		documents = append(documents, document{DropInPath, dropIn(p.UserConfig)})
	}
	files := make([]File, 0, len(documents)+3)
	for _, d := range documents {
		data, err := marshal(d.value)
		if err != nil {
			return nil, fmt.Errorf("render %s: %w", d.path, err)
		}
		files = append(files, File{Path: d.path, Mode: fileMode, Data: data})
	}
	kubeconfig, err := marshal(kubeconfig(p))
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", KubeconfigPath, err)
	}
	// EnvironmentPath sorts between the provider's directory and the rest.
	files = append(files[:1], append([]File{{Path: EnvironmentPath, Mode: fileMode, Data: environment}}, files[1:]...)...)
	return append(files,
		File{Path: CAPath, Mode: fileMode, Data: withNewline(p.CA)},
		File{Path: KubeconfigPath, Mode: fileMode, Data: kubeconfig},
	), nil
}

// missing lists the Params without which no kubelet can join.
func (p Params) missing() []error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, fmt.Errorf("kubelet files need %s", what))
		}
	}
	need(p.ClusterName != "", "the cluster's name")
	need(p.Region != "", "the region")
	need(p.APIServer != "", "the API server's endpoint")
	need(len(p.CA) > 0, "the cluster's certificate authority")
	need(len(p.ClusterDNS) > 0, "the cluster DNS address")
	need(p.NodeIP.IsValid(), "the node's IP address")
	need(p.NodeName != "", "the node's name")
	need(p.ProviderID != "", "the provider ID")
	need(p.MaxPods >= 1, "max pods of at least 1")
	need(path.IsAbs(p.TokenBinary), "the absolute path of the token program")
	return errs
}

// marshal writes JSON with sorted keys, indented for people. HTML escapes are
// off: the text is read by no browser, and &, < and > stay legible.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func withNewline(b []byte) []byte {
	return append(bytes.TrimRight(b, "\n"), '\n')
}
