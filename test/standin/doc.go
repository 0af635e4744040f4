// Standin stands in for the kubelet in the lab: installed as /usr/bin/kubelet
// of a node under a real systemd, it takes the kubelet's place where only the
// join matters.
//
// It does with nodeprep's files what a kubelet 1.36 does, using the official
// types and client code:
//
//   - it knows the kubelet's flags and exits on others;
//   - it decodes --config, the drop-ins of --config-dir and the credential
//     provider's configuration with the official types, strictly (the kubelet
//     warns about unknown fields; here they are fatal, because they are
//     mistakes of ours), merges them as the kubelet does and exits on values
//     that it could not use;
//   - it loads the kubeconfig with clientcmd, whose exec plugin makes the
//     tokens, registers a Node object, and then renews status and lease;
//   - it serves /healthz, and answers --version.
//
// It runs no containers, serves no API on port 10250, asks for no serving
// certificate, and its node never becomes Ready: no CNI plugin is ever there.
// Errors of the API server are logged and retried for ever.
//
// Build it with CGO_ENABLED=0: the node's image has no C library to match.
package main
