package kubelet

import (
	"fmt"
	"strings"
)

// renderEnvironment writes the file that kubelet.service reads its arguments
// from. The user's flags come last, as given, because the last flag wins.
//
// systemd takes the value up to the end of the line (a quote is special only
// at its beginning, where ours has none) and splits it when the unit expands
// the variable; see Words. % and $ are literal in both steps.
func renderEnvironment(p Params) ([]byte, error) {
	args := generatedFlags(p)
	for _, arg := range args {
		// Our own values need no quotes: names, addresses, paths. One that
		// does came in through Params and must not become two arguments.
		if words, err := Words(arg); err != nil || len(words) != 1 || words[0] != arg {
			return nil, fmt.Errorf("render %s: the argument %q needs quotes", EnvironmentPath, arg)
		}
	}
	args = append(args, p.UserFlags...)
	var b strings.Builder
	if p.Version.Below(1, 30) && len(p.UserConfig) > 0 {
		// The drop-in directory was alpha until 1.29 (KEP-3983).
		b.WriteString("KUBELET_CONFIG_DROPIN_DIR_ALPHA=on\n")
	}
	b.WriteString(ArgsVariable + "=" + strings.Join(args, " ") + "\n")
	return []byte(b.String()), nil
}

// generatedFlags are nodeprep's own flags, sorted: those that exist only as
// flags. Everything else is in the configuration file.
func generatedFlags(p Params) []string {
	args := []string{
		"--cloud-provider=external",
		"--config=" + ConfigPath,
	}
	if len(p.UserConfig) > 0 {
		args = append(args, "--config-dir="+ConfigDir)
	}
	args = append(args,
		"--hostname-override="+p.NodeName,
		"--image-credential-provider-bin-dir="+CredentialProviderDir,
		"--image-credential-provider-config="+CredentialProviderConfigPath,
		"--kubeconfig="+KubeconfigPath,
		"--node-ip="+p.NodeIP.String(),
	)
	if p.NVIDIA && p.Version.AtLeast(1, 35) {
		args = append(args, "--node-labels=nvidia.com/gpu.present=true")
	}
	return append(args, "--runtime-cgroups=/runtime.slice/containerd.service")
}
