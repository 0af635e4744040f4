package kubelet

import (
	"fmt"
	"slices"
	"strings"
)

// A kubelet exits on a label of Kubernetes' own that nodes may not set on
// themselves. Source: Kubernetes 1.36.3 cmd/kubelet/app/options,
// ValidateKubeletFlags, and k8s.io/kubelet/pkg/apis/well_known_labels.go.
func allowedLabels() []string {
	return []string{
		"beta.kubernetes.io/arch", "beta.kubernetes.io/instance-type", "beta.kubernetes.io/os",
		"failure-domain.beta.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone",
		"kubernetes.io/arch", "kubernetes.io/hostname", "kubernetes.io/os",
		"node.kubernetes.io/instance-type", "topology.kubernetes.io/region", "topology.kubernetes.io/zone",
	}
}

// refusedLabel says why the kubelet would exit on a value of --node-labels,
// empty when it would not. It names labels by their keys only.
func refusedLabel(value string) (reason, remedy string) {
	for pair := range strings.SplitSeq(value, ",") {
		key, text, ok := strings.Cut(pair, "=")
		key, text = strings.TrimSpace(key), strings.TrimSpace(text)
		namespace, name, qualified := strings.Cut(key, "/")
		if !qualified {
			namespace, name = "", key
		}
		switch {
		case pair == "":
		case !ok:
			return "--node-labels has an entry without =", "Write --node-labels=KEY=VALUE,KEY=VALUE."
		case !isLabelText(name) || qualified && (namespace == "" || strings.Contains(name, "/")):
			return fmt.Sprintf("--node-labels has the key %q, which is no label key; the kubelet exits on it", key),
				"Use letters, digits, - _ and ., at most 63, after an optional DNS name and a slash."
		case text != "" && !isLabelText(text):
			return fmt.Sprintf("--node-labels gives %s a value that is no label value; the kubelet exits on it", key),
				"Use letters, digits, - _ and ., at most 63, with a letter or digit at both ends."
		case (within(namespace, "kubernetes.io") || within(namespace, "k8s.io")) &&
			!within(namespace, "kubelet.kubernetes.io") && !within(namespace, "node.kubernetes.io") &&
			!slices.Contains(allowedLabels(), key):
			return fmt.Sprintf("a node may not give itself the label %s; the kubelet exits on it", key),
				fmt.Sprintf("Remove %s, or use a key below node.kubernetes.io or a domain of your own.", key)
		}
	}
	return "", ""
}

// within reports whether a DNS name is domain or below it.
func within(name, domain string) bool {
	return name == domain || strings.HasSuffix(name, "."+domain)
}

// isLabelText checks the name part of a label key, or a label value.
func isLabelText(s string) bool {
	alphanumeric := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	if s == "" || len(s) > 63 || !alphanumeric(rune(s[0])) || !alphanumeric(rune(s[len(s)-1])) {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return !alphanumeric(r) && !strings.ContainsRune("-_.", r) }) < 0
}
