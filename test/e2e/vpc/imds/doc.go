// Package imds is an EC2 instance metadata service, version 2, for tests.
//
// A [Service] is an http.Handler that behaves as 169.254.169.254 does: session
// tokens with a time to live, 401 without one, 404 for what the instance does
// not have, directory listings, dated paths. What it serves follows from an
// [Instance]; what goes wrong follows from a [Behaviour]. Both can be changed
// while it serves, and every change returns the function that takes it back.
//
// Facts about the service are from the Amazon EC2 User Guide, "Instance
// metadata", unless a comment names another source.
package imds
