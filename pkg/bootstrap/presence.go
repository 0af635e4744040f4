package bootstrap

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// configSkeleton is what an operator pastes into the launch template.
const configSkeleton = `apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  cluster:  # values: aws eks describe-cluster --name NAME
    name: NAME
    apiServerEndpoint: https://ENDPOINT  # cluster.endpoint
    certificateAuthority: BASE64  # cluster.certificateAuthority.data
    cidr: 10.100.0.0/16  # cluster.kubernetesNetworkConfig.serviceIpv4Cidr
`

// checkPresence reports that there is no NodeConfig at all, by what there is
// instead, and pieces of user data that were probably meant as one.
func (r *configReader) checkPresence(sources []Source) {
	for _, f := range r.foreign {
		if f.looksOurs > 0 {
			f.at.line = f.looksOurs
			r.add(f.at, Problem{
				Code: CFG102, Warning: true,
				Message: "this piece is " + f.what + " to whoever reads it, but it contains a node configuration; it is not read",
				Remedy:  "Give it a part of its own with Content-Type: " + nodeConfigMediaType + ".",
			})
		}
		if f.bootstrap > 0 && r.nodeConfigs > 0 {
			f.at.line = f.bootstrap
			r.add(f.at, Problem{
				Code: CFG102, Warning: true,
				Message: "the script calls /etc/eks/bootstrap.sh, whose arguments are not supported by this version yet; only the NodeConfig counts",
				Remedy:  "Remove the call, and say in the NodeConfig what its arguments said.",
			})
		}
	}
	if r.nodeConfigs > 0 || r.unreadable {
		return
	}
	p := Problem{
		Code: CFG101, Missing: true, Message: r.whatInstead(sources),
		Remedy: "Put a NodeConfig into the launch template's user data:\n" + configSkeleton,
	}
	i := slices.IndexFunc(r.foreign, func(f foreign) bool { return f.bootstrap > 0 })
	if i < 0 {
		r.addNowhere(p)
		if u := slices.IndexFunc(sources, func(s Source) bool { return s.UserData }); u >= 0 {
			r.problems[len(r.problems)-1].Origin = sources[u].Name
		}
		return
	}
	at := r.foreign[i].at
	at.line = r.foreign[i].bootstrap
	p.Message = "the user data configures the node by calling /etc/eks/bootstrap.sh; this form is not supported by this version yet"
	r.add(at, p)
}

// whatInstead says what the sources hold in place of a NodeConfig.
func (r *configReader) whatInstead(sources []Source) string {
	given := slices.ContainsFunc(sources, func(s Source) bool { return s.UserData && len(bytes.TrimSpace(s.Data)) > 0 })
	switch {
	case r.prepConfigs > 0 && len(r.foreign) == 0 && !given:
		return "there is no NodeConfig: the instance has no user data, and the configuration files hold only PrepConfig"
	case len(r.foreign) == 0 && !given:
		return "there is no configuration: the instance has no user data, and no configuration file has a document"
	case len(r.foreign) == 0 && r.prepConfigs > 0:
		return "the user data holds no NodeConfig, only PrepConfig"
	case len(r.foreign) == 0:
		return "the user data holds no NodeConfig"
	case len(r.foreign) == 1 && r.foreign[0].at.part == "":
		return "the user data is " + r.foreign[0].what + ", not a node configuration"
	}
	var parts []string
	for i, f := range r.foreign {
		if i == 5 {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, "part "+f.at.part+" is "+f.what)
	}
	if r.prepConfigs > 0 {
		parts = append(parts, "and a PrepConfig does not name the cluster")
	}
	return fmt.Sprintf("no part of the user data is a NodeConfig (Content-Type %s): %s", nodeConfigMediaType, strings.Join(parts, ", "))
}

// checkSupported refuses every field that asks for something this version does
// not do. A field left empty or at its default asks for nothing.
func (r *configReader) checkSupported() {
	for _, path := range r.merged.paths {
		if s := r.merged.settings[path]; !s.field.effect && !s.atDefault() {
			r.unsupported(s)
		}
	}
}

func (r *configReader) unsupported(s setting) {
	r.add(s.at, Problem{
		Code: CFG102, Path: s.path, Message: "is not supported by this version yet",
		Remedy: "Remove it, or use a version of nodeprep that supports it; docs/userdata.md lists every field.",
	})
}
