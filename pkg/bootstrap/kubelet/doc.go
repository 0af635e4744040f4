// Package kubelet renders the files a kubelet on an EKS node reads: its
// configuration and drop-in, kubeconfig, CA, the ECR credential provider's
// configuration and the environment file with its arguments.
//
// It is pure: Render maps Params to Files, identical input gives identical
// bytes, nothing is read or written. Check says which of the user's settings
// decide what the node will be, and with which the kubelet would not start.
// The paths are those of the EKS-optimized images, so that a stock
// kubelet.service reads them.
package kubelet
