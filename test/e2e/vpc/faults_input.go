package vpc

import (
	"encoding/base64"
	"net/http"
	"net/netip"
	"strings"

	"github.com/nodeprep/nodeprep/test/e2e/vpc/apiserver"
	"github.com/nodeprep/nodeprep/test/e2e/vpc/imds"
)

func inputFaults() []Fault {
	const elsewhere = "lunar-base-1"
	ca := func(v *VPC) string { return base64.StdEncoding.EncodeToString(v.ClusterCA()) }
	config := func(make func(v *VPC, endpoint, ca, cidr string) []byte) func(*VPC, string) (undo, error) {
		return userData(func(v *VPC) []byte { return make(v, "https://"+v.apiHost(), ca(v), v.options.ServiceCIDR.String()) })
	}
	return []Fault{
		{Name: "no-userdata", Title: "the instance has no user data", Code: "NP-CFG-101", apply: userData(func(*VPC) []byte { return nil })},
		{Name: "bad-userdata", Title: "the user data is not valid YAML", Code: "NP-CFG-102", apply: userData(func(*VPC) []byte {
			return []byte("---\napiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  cluster: {name: lab\n")
		})},
		{Name: "missing-field", Title: "the user data has no API server endpoint", Code: "NP-CFG-103", apply: config(func(v *VPC, _, ca, cidr string) []byte {
			return v.nodeConfig("", ca, cidr, "")
		})},
		{Name: "bad-endpoint", Title: "the API server endpoint is not a URL", Code: "NP-CFG-104", apply: config(func(v *VPC, _, ca, cidr string) []byte {
			return v.nodeConfig("not a url at all", ca, cidr, "")
		})},
		{Name: "bad-ca", Title: "the certificate authority is not a certificate", Code: "NP-CFG-105", apply: config(func(v *VPC, endpoint, _, cidr string) []byte {
			return v.nodeConfig(endpoint, "Y2VydGlmaWNhdGVBdXRob3JpdHk=", cidr, "")
		})},
		{Name: "bad-cidr", Title: "the service CIDR is not a CIDR", Code: "NP-CFG-106", apply: config(func(v *VPC, endpoint, ca, _ string) []byte {
			return v.nodeConfig(endpoint, ca, "not-a-cidr", "")
		})},
		{Name: "other-region", Title: "the user data is for a cluster in another region", Code: "NP-CFG-107", apply: config(func(v *VPC, _, ca, cidr string) []byte {
			return v.nodeConfig("https://"+apiHostIn(otherRegion(v.options.Region), v.partition, v.options.IPv6), ca, cidr, "")
		})},
		{
			Name: "unknown-region", Title: "the instance is in a region of a partition nobody knows", Code: "NP-CFG-108",
			apply: instance(func(v *VPC, i *imds.Instance) {
				p := partition{id: "aws-lunar", suffix: "amazonaws.moon", dualStack: "api.aws.moon"}
				i.Region, i.Zone, i.ZoneID, i.Domain, i.Partition = elsewhere, elsewhere+"a", "lunb1-az1", p.suffix, p.id
				i.UserData = v.nodeConfig("https://"+apiHostIn(elsewhere, p, v.options.IPv6), ca(v), v.options.ServiceCIDR.String(), "")
			}),
		},
		{Name: "unknown-key", Title: "the user data has a field of a newer API", Code: "NP-CFG-109", Warning: true, apply: config(func(v *VPC, endpoint, ca, cidr string) []byte {
			return v.nodeConfig(endpoint, ca, cidr, "    quantumEntanglement: enabled\n")
		})},
	}
}

// otherRegion is another region of the same partition.
func otherRegion(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "cn-northwest-1"
	case strings.HasPrefix(region, "us-gov-"):
		return "us-gov-east-1"
	default:
		return "eu-central-1"
	}
}

// prepConfig adds a document of nodeprep's own kind to the user data; spec are
// the lines of its spec.
func prepConfig(spec string) func(*VPC, string) (undo, error) {
	return userData(func(v *VPC) []byte {
		return append(v.NodeConfig(), "---\napiVersion: nodeprep.io/v1alpha1\nkind: PrepConfig\nspec:\n"+spec...)
	})
}

// rangeFaults are those of address ranges and names that contradict the owner's intent.
func rangeFaults() []Fault {
	cidr := func(cidr string) func(*VPC, string) (undo, error) {
		return userData(func(v *VPC) []byte {
			return v.nodeConfig("https://"+v.apiHost(), base64.StdEncoding.EncodeToString(v.ClusterCA()), cidr, "")
		})
	}
	return []Fault{
		{
			Name: "loosened", Title: "the user data loosens what the image locked", Code: "NP-CFG-110", Local: true,
			apply: all(
				files(func(*VPC) map[string]string {
					return map[string]string{"/usr/lib/nodeprep/conf.d/10-ami.yaml": "apiVersion: nodeprep.io/v1alpha1\nkind: PrepConfig\nspec: {mode: strict, locked: [mode]}\n"}
				}),
				prepConfig("  mode: observe\n"),
			),
		},
		{
			Name: "waiver-over", Title: "a waiver ended in 2020", Code: "NP-CFG-111", Warning: true,
			apply: prepConfig("  waive:\n    - {code: NP-NET-117, reason: the path is repaired in March, until: 2020-03-31}\n"),
		},
		{
			Name: "public-name", Title: "private names are demanded, and ec2 has public ones", Code: "NP-DNS-122", Service: EC2, Needs: Options{NAT: true},
			apply: all(isPublic(EC2), prepConfig("  privateOnly: true\n")),
		},
		{
			Name: "small-subnet", Title: "the subnet has fewer addresses than max-pods", Code: "NP-NOD-105", Warning: true,
			apply: instance(func(_ *VPC, i *imds.Instance) { i.Subnet = []netip.Prefix{netip.MustParsePrefix("10.20.1.48/28")} }),
		},
		{Name: "service-cidr-vpc", Title: "the service CIDR is a part of the VPC's block that nothing uses", Code: "NP-NOD-101", Warning: true, apply: cidr("10.20.192.0/18")},
		{Name: "service-cidr-used", Title: "the service CIDR contains the API server's and the endpoints' addresses", Code: "NP-NOD-102", apply: cidr("10.20.0.0/20")},
		{
			Name: "service-cidr-peering", Title: "the service CIDR contains the endpoints' addresses in another VPC", Code: "NP-NOD-102",
			Needs: Options{SharedEndpoints: true}, apply: cidr(sharedBlock),
		},
	}
}

func apiFaults() []Fault {
	silent := func(*VPC, *endpoint) (mode, error) { return mode{silent: true}, nil }
	var apis []func(*VPC, string) (undo, error)
	for _, s := range []string{EC2, ECRAPI, ECRDKR, S3, "sts", "eks"} {
		apis = append(apis, answers(s, silent))
	}
	return []Fault{
		{Name: "apiserver-html", Title: "a web server answers 404 for the API server", Code: "NP-API-101", Service: APIServer, apply: api(apiserver.Behaviour{HTML: http.StatusNotFound})},
		{
			Name: "apiserver-portal", Title: "a web page answers 200 to every path of the API server", Code: "NP-API-101",
			Service: APIServer, apply: api(apiserver.Behaviour{HTML: http.StatusOK}),
		},
		{
			Name: "apiserver-busy", Title: "the API server answers 429 to everything", Code: "NP-API-102",
			Service: APIServer, Warning: true, apply: api(apiserver.Behaviour{Busy: true}),
		},
		{
			Name: "apiserver-401", Title: "the node's role has no access entry in the cluster", Code: "NP-AUT-101",
			Service: APIServer, apply: api(apiserver.Behaviour{Unmapped: true}),
		},
		{Name: "apiserver-mute", Title: "what answers for the API server takes requests and never answers", Code: "NP-API-104", Service: APIServer, apply: answers(APIServer, silent)},
		{Name: "anonymous-401", Title: "the API server's health endpoints want authentication", Service: APIServer, apply: api(apiserver.Behaviour{Anonymous: http.StatusUnauthorized})},
		{Name: "anonymous-403", Title: "the API server forbids everything to anonymous", Service: APIServer, apply: api(apiserver.Behaviour{Anonymous: http.StatusForbidden})},
		{Name: "aws-apis-silent", Title: "no AWS API answers a request; connections and TLS work", apply: all(apis...)},
	}
}
