package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/pflag"
)

// options are the flags that the stand-in obeys.
type options struct {
	config, configDir        string
	kubeconfig               string
	hostnameOverride, nodeIP string
	cloudProvider            string
	providerID               string
	providerConfig           string // of the image credential provider
	providerBinDir           string
	maxPods                  int32
	labels                   map[string]string
	version                  string
}

// ignoredStrings and ignoredBools are the other flags of kubelet 1.36.3 on
// Linux (cmd/kubelet/app/options, component-base, cAdvisor). They are accepted
// and have no effect.
const (
	ignoredStrings = `
address allowed-unsafe-sysctls application-metrics-count-limit authentication-token-webhook-cache-ttl
authorization-mode authorization-webhook-cache-authorized-ttl authorization-webhook-cache-unauthorized-ttl
boot-id-file bootstrap-kubeconfig cert-dir cgroup-driver cgroup-root client-ca-file cluster-dns cluster-domain
container-hints container-log-max-files container-log-max-size container-runtime-endpoint containerd
containerd-namespace cpu-cfs-quota-period cpu-manager-policy cpu-manager-policy-options
cpu-manager-reconcile-period enforce-node-allocatable event-burst event-qps event-storage-age-limit
event-storage-event-limit eviction-hard eviction-max-pod-grace-period eviction-minimum-reclaim
eviction-pressure-transition-period eviction-soft eviction-soft-grace-period experimental-mounter-path
feature-gates file-check-frequency global-housekeeping-interval hairpin-mode healthz-bind-address healthz-port
housekeeping-interval http-check-frequency image-gc-high-threshold image-gc-low-threshold image-service-endpoint
kube-api-burst kube-api-content-type kube-api-qps kube-reserved kube-reserved-cgroup kubelet-cgroups lock-file
log-flush-frequency log-json-info-buffer-size log-text-info-buffer-size logging-format machine-id-file manifest-url
manifest-url-header max-open-files maximum-dead-containers maximum-dead-containers-per-container
memory-manager-policy minimum-container-ttl-duration minimum-image-ttl-duration node-status-max-images
node-status-update-frequency oom-score-adj pod-cidr pod-manifest-path pod-max-pids pods-per-core port qos-reserved
read-only-port register-with-taints registry-burst registry-qps reserved-cpus reserved-memory resolv-conf root-dir
runtime-cgroups runtime-request-timeout storage-driver-buffer-duration storage-driver-db storage-driver-host
storage-driver-password storage-driver-table storage-driver-user streaming-connection-idle-timeout sync-frequency
system-cgroups system-reserved system-reserved-cgroup tls-cert-file tls-cipher-suites tls-min-version
tls-private-key-file topology-manager-policy topology-manager-policy-options topology-manager-scope vmodule
volume-plugin-dir volume-stats-agg-period`
	ignoredBools = `
anonymous-auth authentication-token-webhook cgroups-per-qos contention-profiling cpu-cfs-quota
enable-controller-attach-detach enable-debugging-handlers enable-load-reader enable-server exit-on-lock-contention
experimental-allocatable-ignore-eviction fail-cgroupv1 fail-swap-on kernel-memcg-notification
local-storage-capacity-isolation log-cadvisor-usage log-json-split-stream log-text-split-stream
make-iptables-util-chains protect-kernel-defaults register-node rotate-certificates rotate-server-certificates
runonce seccomp-default serialize-image-pulls storage-driver-secure`
)

// parseFlags reads the command line as the kubelet does: an unknown flag and
// an argument beside flags are errors, _ counts as -, the last value wins and
// labels add up.
func parseFlags(args []string) (options, error) {
	var o options
	fs := pflag.NewFlagSet("kubelet", pflag.ContinueOnError)
	fs.Usage = func() {}
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
	})
	fs.StringVar(&o.config, "config", "", "")
	fs.StringVar(&o.configDir, "config-dir", "", "")
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "")
	fs.StringVar(&o.hostnameOverride, "hostname-override", "", "")
	fs.StringVar(&o.nodeIP, "node-ip", "", "")
	fs.StringVar(&o.cloudProvider, "cloud-provider", "", "")
	fs.StringVar(&o.providerID, "provider-id", "", "")
	fs.StringVar(&o.providerConfig, "image-credential-provider-config", "", "")
	fs.StringVar(&o.providerBinDir, "image-credential-provider-bin-dir", "", "")
	fs.Int32Var(&o.maxPods, "max-pods", 0, "")
	fs.StringToStringVar(&o.labels, "node-labels", nil, "")
	fs.StringVar(&o.version, "version", "false", "")
	fs.Lookup("version").NoOptDefVal = "true"
	fs.StringP("v", "v", "", "")
	for name := range strings.FieldsSeq(ignoredStrings) {
		fs.String(name, "", "")
	}
	for name := range strings.FieldsSeq(ignoredBools) {
		fs.Bool(name, false, "")
	}
	if err := fs.Parse(args); err != nil {
		return options{}, fmt.Errorf("failed to parse kubelet flag: %w", err)
	}
	if rest := fs.Args(); len(rest) > 0 {
		return options{}, fmt.Errorf("unknown command %s", rest[0])
	}
	for text := range strings.SplitSeq(o.nodeIP, ",") {
		if text == "" {
			continue
		}
		if _, err := netip.ParseAddr(text); err != nil {
			return options{}, fmt.Errorf("bad --node-ip: %w", err)
		}
	}
	if p := o.cloudProvider; p != "" && p != "external" {
		return options{}, fmt.Errorf("unsupported value for --cloud-provider %q", p)
	}
	return o, nil
}
