package bootstrap

const (
	nodeConfigGroup = "node.eks.aws/"
	prepConfigGroup = "nodeprep.io/"
)

// nodeConfigKind is the node configuration of the EKS images
// (awslabs/amazon-eks-ami, nodeadm API v1alpha1), every field of it.
func nodeConfigKind() *documentKind {
	return &documentKind{
		apiVersion: nodeConfigGroup + "v1alpha1", kind: "NodeConfig", lenient: true,
		fields: documentFields(
			fieldSpec{name: "cluster", fields: []fieldSpec{
				{name: "name", shape: shapeText, effect: true, aka: []string{"clusterName"}},
				{name: "apiServerEndpoint", shape: shapeText, effect: true, aka: []string{"endpoint", "apiServer", "apiServerURL", "server"}},
				{
					name: "certificateAuthority", shape: shapeText, effect: true, secret: true,
					aka: []string{"certificateAuthorityData", "ca", "caData", "caBundle", "b64ClusterCA"},
				},
				{
					name: "cidr", shape: shapeText, effect: true,
					aka: []string{"serviceCidr", "serviceIpv4Cidr", "serviceIpv6Cidr", "clusterCidr"},
				},
				{name: "enableOutpost", shape: shapeBool},
				{name: "id", shape: shapeText},
			}},
			fieldSpec{name: "containerd", fields: []fieldSpec{
				{name: "config", shape: shapeText, secret: true},
				{name: "baseRuntimeSpec", shape: shapeFree},
			}},
			fieldSpec{name: "instance", fields: []fieldSpec{
				{name: "localStorage", fields: []fieldSpec{
					{name: "strategy", shape: shapeText, words: []string{"RAID0", "RAID10", "Mount"}},
					{name: "mountPath", shape: shapeText, def: "/mnt/k8s-disks/"},
					{name: "disabledMounts", shape: shapeTexts, words: []string{"Containerd", "PodLogs", "SOCI"}},
				}},
				{name: "environment", shape: shapeTextMaps, secret: true},
				{name: "network", fields: []fieldSpec{
					{name: "nameservers", shape: shapeTexts},
					{name: "domains", shape: shapeTexts},
				}},
			}},
			fieldSpec{name: "kubelet", fields: []fieldSpec{
				{name: "config", shape: shapeFree, effect: true},
				{name: "flags", shape: shapeTexts, effect: true, appends: true},
				{name: "maxPodsExpression", shape: shapeText},
			}},
			fieldSpec{name: "featureGates", fields: []fieldSpec{
				{name: "InstanceIdNodeName", shape: shapeBool},
				{name: "FastImagePull", shape: shapeBool},
			}},
		),
	}
}

// documentFields are the top-level fields every kind has, around its spec.
func documentFields(spec ...fieldSpec) []fieldSpec {
	return []fieldSpec{
		{name: "apiVersion", shape: shapeIgnored},
		{name: "kind", shape: shapeIgnored},
		{name: "metadata", shape: shapeIgnored},
		{name: "spec", fields: spec},
	}
}
