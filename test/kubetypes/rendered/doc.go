// Package rendered holds the Params whose renderings the modules beside it
// decode with the official types of one Kubernetes minor each.
//
// They are modules of their own because a module can require only one version
// of k8s.io/kubelet; this package, in the main module, is what they share.
package rendered
