package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"k8s.io/klog/v2"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
)

// The kubelet's own times (pkg/kubelet 1.36): pauses between attempts to
// register, node status and lease.
const (
	firstPause     = 100 * time.Millisecond
	longestPause   = 7 * time.Second
	statusEvery    = 10 * time.Second
	leaseSeconds   = 40
	defaultMaxPods = 110
)

const (
	nodesPath  = "/api/v1/nodes"
	leasesPath = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"

	plainJSON  = "application/json"
	mergePatch = "application/merge-patch+json"
)

// object is a JSON object.
type object map[string]any

// A node is the Node object of this machine.
type node struct {
	name    string
	labels  map[string]string
	addr    string // first of --node-ip
	options options
	config  *kubeletv1beta1.KubeletConfiguration
	pods    int32
	every   time.Duration
}

func newNode(o options, c *kubeletv1beta1.KubeletConfiguration) (*node, error) {
	name := o.hostnameOverride
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("failed to get hostname: %w", err)
		}
		name = host
	}
	name = strings.ToLower(strings.TrimSpace(name))
	if name == "" {
		return nil, errors.New("empty hostname is invalid")
	}
	n := &node{name: name, options: o, config: c, pods: c.MaxPods, every: c.NodeStatusUpdateFrequency.Duration}
	n.addr, _, _ = strings.Cut(o.nodeIP, ",")
	if o.maxPods > 0 {
		n.pods = o.maxPods
	}
	if n.pods == 0 {
		n.pods = defaultMaxPods
	}
	if n.every <= 0 {
		n.every = statusEvery
	}
	n.labels = map[string]string{
		"kubernetes.io/hostname": name,
		"kubernetes.io/os":       runtime.GOOS,
		"kubernetes.io/arch":     runtime.GOARCH,
	}
	maps.Copy(n.labels, o.labels)
	return n, nil
}

// registration is the object that is created.
func (n *node) registration() object {
	annotations := object{"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
	taints := []any{}
	for _, t := range n.config.RegisterWithTaints {
		taints = append(taints, t)
	}
	if n.options.cloudProvider == "external" {
		if n.addr != "" {
			annotations["alpha.kubernetes.io/provided-node-ip"] = n.options.nodeIP
		}
		taints = append(taints, object{"key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true", "effect": "NoSchedule"})
	}
	spec := object{"taints": taints}
	id := n.config.ProviderID
	if n.options.providerID != "" {
		id = n.options.providerID
	}
	if id != "" {
		spec["providerID"] = id
	}
	return object{
		"apiVersion": "v1",
		"kind":       "Node",
		"metadata":   object{"name": n.name, "labels": n.labels, "annotations": annotations},
		"spec":       spec,
		"status":     n.status(time.Now()),
	}
}

// status is what a kubelet reports that has no CNI plugin.
func (n *node) status(now time.Time) object {
	addresses := []any{}
	for text := range strings.SplitSeq(n.options.nodeIP, ",") {
		if text != "" {
			addresses = append(addresses, object{"type": "InternalIP", "address": text})
		}
	}
	addresses = append(addresses, object{"type": "Hostname", "address": n.name})
	amounts := object{"cpu": strconv.Itoa(runtime.NumCPU()), "pods": strconv.Itoa(int(n.pods))}
	return object{
		"addresses":   addresses,
		"capacity":    amounts,
		"allocatable": amounts,
		"conditions": []any{object{
			"type": "Ready", "status": "False", "reason": "KubeletNotReady",
			"message":           "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized",
			"lastHeartbeatTime": now.UTC().Format(time.RFC3339),
		}},
		"daemonEndpoints": object{"kubeletEndpoint": object{"Port": 10250}},
		"nodeInfo": object{
			"kubeletVersion": version, "operatingSystem": runtime.GOOS, "architecture": runtime.GOARCH,
			"containerRuntimeVersion": "none://stand-in",
		},
	}
}

// join registers the node and keeps it alive until the context ends.
func (n *node) join(ctx context.Context, api *client) error {
	klog.InfoS("Attempting to register node", "node", n.name)
	for pause := firstPause; !n.registered(ctx, api); pause = min(2*pause, longestPause) {
		if !wait(ctx, pause) {
			return nil
		}
	}
	klog.InfoS("Successfully registered node", "node", n.name)
	for {
		if err := n.renewLease(ctx, api); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Failed to update lease", "node", n.name)
		}
		if !wait(ctx, n.every) {
			return nil
		}
		err := api.do(ctx, http.MethodPatch, nodesPath+"/"+n.name+"/status", mergePatch, object{"status": n.status(time.Now())})
		if err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Error updating node status, will retry", "node", n.name)
		}
	}
}

// registered tries once to register, and logs why it could not.
func (n *node) registered(ctx context.Context, api *client) bool {
	err := n.register(ctx, api)
	if err != nil && ctx.Err() == nil {
		klog.ErrorS(err, "Unable to register node with API server", "node", n.name)
	}
	return err == nil
}

// register creates the node, or takes over the one of that name.
func (n *node) register(ctx context.Context, api *client) error {
	err := api.do(ctx, http.MethodPost, nodesPath, plainJSON, n.registration())
	if !isStatus(err, http.StatusConflict) {
		return err
	}
	klog.InfoS("Node was previously registered", "node", n.name)
	return api.do(ctx, http.MethodPatch, nodesPath+"/"+n.name, mergePatch, n.registration())
}

// renewLease writes the node's lease, and makes it when it is not there.
func (n *node) renewLease(ctx context.Context, api *client) error {
	lease := object{
		"apiVersion": "coordination.k8s.io/v1",
		"kind":       "Lease",
		"metadata":   object{"name": n.name, "namespace": "kube-node-lease"},
		"spec": object{
			"holderIdentity": n.name, "leaseDurationSeconds": leaseSeconds,
			"renewTime": time.Now().UTC().Format("2006-01-02T15:04:05.000000Z07:00"),
		},
	}
	err := api.do(ctx, http.MethodPatch, leasesPath+"/"+n.name, mergePatch, lease)
	if isStatus(err, http.StatusNotFound) {
		return api.do(ctx, http.MethodPost, leasesPath, plainJSON, lease)
	}
	return err
}

func isStatus(err error, code int) bool {
	var s *statusError
	return errors.As(err, &s) && s.code == code
}
