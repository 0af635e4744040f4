// Package kubetypes decodes what nodeprep renders with the official types of
// one Kubernetes minor, strictly: an unknown field or a wrong type fails.
//
// decode_test.go is one file for all modules beside this one (a symbolic
// link); version_test.go says which minor the module's go.mod requires.
package kubetypes
