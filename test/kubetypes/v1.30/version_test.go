package kubetypes_test

// minor is the Kubernetes minor version of the types that go.mod requires.
const minor = 30
