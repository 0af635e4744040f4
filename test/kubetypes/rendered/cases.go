package rendered

import (
	"net/netip"

	"github.com/nodeprep/nodeprep/pkg/bootstrap/kubelet"
)

// Cases returns Params for a kubelet of the given version 1.MINOR, by a name
// for people. Together they render every field that nodeprep knows.
func Cases(minor int) map[string]kubelet.Params {
	base := kubelet.Params{
		Version:     kubelet.Version{Major: 1, Minor: minor},
		ClusterName: "blue",
		Region:      "us-west-2",
		APIServer:   "https://0123456789ABCDEF0123456789ABCDEF.gr7.us-west-2.eks.amazonaws.com",
		CA:          []byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
		ClusterDNS:  []netip.Addr{netip.MustParseAddr("172.20.0.10")},
		NodeIP:      netip.MustParseAddr("10.0.1.23"),
		NodeName:    "ip-10-0-1-23.us-west-2.compute.internal",
		ProviderID:  "aws:///us-west-2a/i-0123456789abcdef0",
		MaxPods:     29,
		MilliCPU:    2000,
		TokenBinary: "/usr/bin/nodeprep",
		NVIDIA:      true,
	}
	unknown := base
	unknown.Version, unknown.MilliCPU = kubelet.Version{}, 0

	ipv6 := base
	ipv6.NodeIP = netip.MustParseAddr("2600:1f14:abcd:1::17")
	ipv6.ClusterDNS = []netip.Addr{netip.MustParseAddr("fd40:6404:f93b::a")}

	user := base
	user.MaxPods = 110
	user.UserConfig = map[string]any{
		"maxPods":             float64(110),
		"registerWithTaints":  []any{map[string]any{"key": "team", "value": "a", "effect": "NoSchedule"}},
		"evictionSoft":        map[string]any{"memory.available": "500Mi"},
		"imageMaximumGCAge":   "72h",
		"systemReserved":      map[string]any{"cpu": "100m"},
		"featureGates":        map[string]any{"RotateKubeletServerCertificate": true},
		"shutdownGracePeriod": "1m",
	}
	user.UserFlags = []string{`--node-labels="team=a,x=y"`, "--v=4"}
	return map[string]kubelet.Params{"plain": base, "unknown version": unknown, "IPv6": ipv6, "user settings": user}
}
