// Package apiserver is as much of an EKS cluster's API server as a node meets
// until it has registered: the anonymous health endpoints, Status bodies,
// authentication by a signed GetCallerIdentity URL, Node and Lease objects.
//
// [Verifier] checks such a token the way aws-iam-authenticator and STS do
// together, signature included, without any network.
package apiserver
