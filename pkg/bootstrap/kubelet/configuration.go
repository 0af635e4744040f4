package kubelet

import (
	"fmt"
	"maps"
)

const (
	configAPIVersion = "kubelet.config.k8s.io/v1beta1"
	configKind       = "KubeletConfiguration"

	// runtimeEndpoint is containerd's socket on every supported image.
	runtimeEndpoint = "unix:///run/containerd/containerd.sock"
)

// object is a JSON object; encoding/json writes its keys sorted.
type object map[string]any

// configuration is the KubeletConfiguration with the defaults of the EKS
// images (nodeadm, July 2026) and their changes by version.
func configuration(p Params) object {
	c := object{
		"apiVersion": configAPIVersion,
		"kind":       configKind,
		// Go listens on both families for the IPv4 wildcard (net.Listen, "tcp"),
		// so IPv6 clusters have the same value.
		"address": "0.0.0.0",
		"authentication": object{
			"anonymous": object{"enabled": false},
			"webhook":   object{"enabled": true, "cacheTTL": "2m0s"},
			"x509":      object{"clientCAFile": CAPath},
		},
		"authorization": object{
			"mode":    "Webhook",
			"webhook": object{"cacheAuthorizedTTL": "5m0s", "cacheUnauthorizedTTL": "30s"},
		},
		"cgroupDriver":             "systemd",
		"cgroupRoot":               "/",
		"clusterDNS":               p.ClusterDNS,
		"clusterDomain":            "cluster.local",
		"containerRuntimeEndpoint": runtimeEndpoint,
		"evictionHard": object{
			"memory.available":  "100Mi",
			"nodefs.available":  "10%",
			"nodefs.inodesFree": "5%",
		},
		"featureGates": featureGates(p.Version),
		"hairpinMode":  "hairpin-veth",
		"kubeReserved": object{
			"cpu":               fmt.Sprintf("%dm", ReservedMilliCPU(p.MilliCPU)),
			"ephemeral-storage": "1Gi",
			"memory":            fmt.Sprintf("%dMi", ReservedMemoryMiB(p.reservedPods())),
		},
		"kubeReservedCgroup":    "/runtime",
		"systemReservedCgroup":  "/system",
		"logging":               object{"verbosity": 2},
		"maxPods":               p.MaxPods,
		"protectKernelDefaults": true,
		"providerID":            p.ProviderID,
		"readOnlyPort":          0,
		"serializeImagePulls":   false,
		"serverTLSBootstrap":    true,
		"tlsCipherSuites": []string{
			"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
			"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
			"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
			"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
			"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
			"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
			"TLS_RSA_WITH_AES_128_GCM_SHA256",
			"TLS_RSA_WITH_AES_256_GCM_SHA384",
		},
	}
	if p.Version.AtLeast(1, 34) {
		c["shutdownGracePeriod"] = "2m30s"
		c["shutdownGracePeriodCriticalPods"] = "30s"
	}
	return c
}

// featureGates names only gates that the version knows: the kubelet exits on
// an unknown one.
func featureGates(v Version) object {
	gates := object{"RotateKubeletServerCertificate": true}
	if v.AtLeast(1, 33) {
		gates["DynamicResourceAllocation"] = true
	}
	if v.AtLeast(1, 34) {
		gates["MutableCSINodeAllocatableCount"] = true
	}
	return gates
}

// dropIn is the user's configuration as a drop-in file, which has to name its
// kind. The kubelet merges it over the configuration: objects by key, lists as
// a whole.
func dropIn(user map[string]any) object {
	d := object{}
	maps.Copy(d, user)
	d["apiVersion"] = configAPIVersion
	d["kind"] = configKind
	return d
}

func (p Params) reservedPods() int {
	if p.ReservedPods > 0 {
		return p.ReservedPods
	}
	return p.MaxPods
}

// ReservedMemoryMiB is kubeReserved.memory for a number of pods:
// 11 MiB per pod and 255 MiB. The formula is that of the EKS images.
func ReservedMemoryMiB(pods int) int { return 11*pods + 255 }

// ReservedMilliCPU is kubeReserved.cpu for a capacity in thousandths of a CPU:
// 6 % of the first CPU, 1 % of the second, 0.5 % of the third and fourth,
// 0.25 % of the rest. The formula is that of the EKS images.
func ReservedMilliCPU(capacity int) int {
	reserved := 0
	for _, r := range [...]struct{ from, to, perTenThousand int }{
		{0, 1000, 600},
		{1000, 2000, 100},
		{2000, 4000, 50},
		{4000, capacity, 25},
	} {
		if capacity > r.from {
			reserved += (min(capacity, r.to) - r.from) * r.perTenThousand / 10000
		}
	}
	return reserved
}
