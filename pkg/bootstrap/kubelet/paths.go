package kubelet

// Where the files go: the paths of the EKS-optimized images (nodeadm writes
// the same ones), so that their kubelet.service and their log collector find
// them. Only the drop-in has a name of its own.
const (
	// ConfigPath is the kubelet's --config.
	ConfigPath = "/etc/kubernetes/kubelet/config.json"
	// ConfigDir is the kubelet's --config-dir.
	ConfigDir = "/etc/kubernetes/kubelet/config.json.d"
	// DropInPath holds the user's spec.kubelet.config.
	DropInPath = ConfigDir + "/40-nodeprep.conf"
	// KubeconfigPath is the kubelet's --kubeconfig.
	KubeconfigPath = "/var/lib/kubelet/kubeconfig"
	// CAPath is the cluster's certificate authority, for the kubeconfig and for clients of the kubelet.
	CAPath = "/etc/kubernetes/pki/ca.crt"
	// CredentialProviderDir holds the ECR credential provider's binary on EKS images.
	CredentialProviderDir = "/etc/eks/image-credential-provider"
	// CredentialProviderConfigPath is the kubelet's --image-credential-provider-config.
	CredentialProviderConfigPath = CredentialProviderDir + "/config.json"
	// EnvironmentPath is the EnvironmentFile of kubelet.service.
	EnvironmentPath = "/etc/eks/kubelet/environment"
	// ArgsVariable is the variable in EnvironmentPath that kubelet.service expands.
	ArgsVariable = "NODEADM_KUBELET_ARGS"
)
