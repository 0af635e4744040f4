package bootstrap

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// httpsPort is the port of the API server and of every AWS service.
const httpsPort = 443

// readyzBody is how much of the API server's answer is kept: "ok", or the
// Status object of a refusal.
const readyzBody = 1024

// apiServerTarget is the cluster's endpoint. The kubelet verifies it with the
// cluster's own CA only, and so does the probe. /readyz answers without
// credentials on every EKS version; a 401 or 403 with a Status body proves an
// API server as well.
func apiServerTarget(c Cluster) (Target, error) {
	u, err := url.Parse(c.APIServer)
	if err != nil {
		return Target{}, err
	}
	host, port := u.Hostname(), uint64(httpsPort)
	if u.Scheme != "https" || host == "" {
		return Target{}, fmt.Errorf("%q is not https://HOST", c.APIServer)
	}
	if p := u.Port(); p != "" {
		if port, err = strconv.ParseUint(p, 10, 16); err != nil || port == 0 {
			return Target{}, fmt.Errorf("%q has no port from 1 to 65535", c.APIServer)
		}
	}
	return Target{
		Target: probe.Target{
			Name: "apiserver", Host: host, Port: uint16(port), TLS: true, Roots: c.CA,
			Requests: []probe.Request{{Method: "GET", Path: "/readyz", BodyLimit: readyzBody}},
		},
		Service: "apiserver",
		Role:    RoleGate,
		Why:     "Without the API server the kubelet cannot register this node, and it never appears in the cluster.",
	}, nil
}

// defaultTargets are the needs vpc-cni and image-pull, which are assumed of
// every node that does not say otherwise.
//
// Sources: VPC CNI docs/iam-policy.md; ECR user guide, "Amazon ECR interface
// VPC endpoints"; EKS user guide, "Deploy private clusters".
func defaultTargets(p Partition, region, imageAccount string) []Target {
	service := func(name, host, why string) Target {
		return Target{
			Target:  probe.Target{Name: name, Host: host, Port: httpsPort, TLS: true},
			Service: name, Role: RoleReady, Why: why, Assumed: true,
		}
	}
	at := "." + region + "." + p.DNSSuffix
	s3 := service("s3", "prod-"+region+"-starport-layer-bucket.s3"+at,
		"Without S3, where ECR keeps the layers of its images, every pull hangs and the node stays NotReady.")
	s3.Pool = true
	return []Target{
		service("ec2", "ec2"+at,
			"Without the EC2 API the VPC CNI gets no addresses for pods, and the node stays NotReady."),
		service("ecr.api", "api.ecr"+at,
			"Without the ECR API the kubelet gets no credentials to pull images, those of the VPC CNI among them."),
		service("ecr.dkr", imageAccount+".dkr.ecr"+at,
			"Without the ECR registry that holds the EKS add-on images the VPC CNI is not pulled, and the node stays NotReady."),
		s3,
	}
}

// userTarget is an endpoint of the user's own.
func userTarget(e Endpoint) Target {
	t := Target{
		Target: probe.Target{Name: e.Name, Host: e.Host, Port: e.Port, TLS: e.TLS},
		Role:   e.Role,
		Why:    e.Why,
	}
	if t.Why == "" {
		t.Why = fmt.Sprintf("The configuration lists it as an endpoint with the role %s.", e.Role)
	}
	return t
}

// sortTargets orders by role, keeping the order within one.
func sortTargets(targets []Target) {
	rank := func(r Role) int {
		return slices.Index([]Role{RoleGate, RoleReady, RoleWorkload, RoleOptional}, r)
	}
	slices.SortStableFunc(targets, func(a, b Target) int { return cmp.Compare(rank(a.Role), rank(b.Role)) })
}
