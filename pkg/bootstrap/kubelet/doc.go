// Package kubelet renders the files a kubelet on an EKS node reads: its
// configuration and drop-in, kubeconfig, CA, the ECR credential provider's
// configuration and the environment file with its arguments.
//
// It is pure: Render maps Params to Files, identical input gives identical
// bytes, nothing is read or written. The paths are those of the EKS-optimized
// images, so that a stock kubelet.service reads them.
package kubelet
