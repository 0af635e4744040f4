package vpc

import (
	"context"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/nodeprep/nodeprep/test/e2e/vpc/apiserver"
	"github.com/nodeprep/nodeprep/test/e2e/vpc/imds"
)

// A Shape is a VPC and a node of some kind in which everything works.
type Shape struct {
	// Name is unique among the shapes.
	Name string
	// Title says what is special about it.
	Title string
	// Options are those to build it with. What they do not say New adds.
	Options Options
	// Warnings are the codes of what an operator wants to hear of although the node
	// works, each with the reason.
	Warnings map[string]string
	// Late says why some step is late without a fault, so that a round makes its
	// experiments; empty when no step is.
	Late string
	// Extra is how many questions are asked beside one for each name, server and type.
	Extra int

	apply func(v *VPC, name string) (undo, error)
}

// New builds a VPC of the shape. Close it.
func (s Shape) New(ctx context.Context) (*VPC, error) {
	v, err := New(ctx, s.Options)
	if err != nil || s.apply == nil {
		return v, err
	}
	if _, err := s.apply(v, "shape-"+s.Name); err != nil {
		return nil, errors.Join(fmt.Errorf("shape %s: %w", s.Name, err), v.Close())
	}
	return v, nil
}

// Shapes lists the healthy shapes.
func Shapes() []Shape {
	return slices.Concat(endpointShapes(), regionShapes(), nameShapes(), proxyShapes(), machineShapes(), policyShapes())
}

// interfaces are the services of the interface endpoints that a node needs by default.
func interfaces() []string { return []string{EC2, ECRAPI, ECRDKR} }

// endpointShapes differ in where the endpoints and the node are.
func endpointShapes() []Shape {
	nat := Options{NAT: true}
	return []Shape{
		{Name: "private", Title: "no way to the internet: interface endpoints, and S3 by gateway"},
		{Name: "private-nat", Title: "a private subnet with a NAT gateway, and no interface endpoints", Options: nat, apply: isPublic(interfaces()...)},
		{
			Name: "public", Title: "a public subnet, a node with a public address, and a public API server", Options: nat,
			apply: all(isPublic(append(interfaces(), APIServer)...), instance(func(_ *VPC, i *imds.Instance) { i.PublicIPv4 = v4(35, 80, 12, 34) })),
		},
		{Name: "nat-and-endpoints", Title: "a NAT gateway beside the interface endpoints, but ec2 has none", Options: nat, apply: isPublic(EC2)},
		{Name: "shared-endpoints", Title: "the endpoints are a network team's, in another VPC behind a peering connection", Options: Options{SharedEndpoints: true}},
		{Name: "one-zone", Title: "the endpoints are in the node's zone alone", Options: Options{Zones: 1}},
		{Name: "three-zones", Title: "the endpoints are in three zones", Options: Options{Zones: 3}},
		{Name: "endpoint-subnets", Title: "the endpoints are in subnets of their own, none in the node's", Options: Options{EndpointSubnets: true}},
		{Name: "one-endpoint-subnet", Title: "the endpoints are in one subnet of their own", Options: Options{EndpointSubnets: true, Zones: 1}},
		{
			Name: "one-elsewhere", Title: "one endpoint has a single address, in another zone: it was made for the batch nodes there",
			apply: resolve(func(v *VPC) dnsRule {
				return dnsRule{name: v.hostOf(ECRAPI), record: &record{addresses: v.Addresses(ECRAPI)[1:]}}
			}),
		},
		{Name: "secondary-cidr", Title: "node and endpoints are in the VPC's second block, 100.64.0.0/16", Options: Options{SecondaryCIDR: true}},
		{Name: "s3-interface", Title: "S3 has an interface endpoint with private DNS", Options: Options{S3Interface: true}},
		{Name: "dual-stack-vpc", Title: "the VPC and the node have IPv6, the cluster is IPv4", Options: Options{IPv6: true, IPv4Cluster: true}},
		{Name: "ipv6-cluster", Title: "an IPv6 cluster", Options: Options{IPv6: true}},
		{
			Name: "service-cidr-10-100", Title: "the cluster's service range is 10.100.0.0/16, which EKS takes when the VPC has addresses of 172.16.0.0/12",
			Options: Options{ServiceCIDR: netip.MustParsePrefix("10.100.0.0/16")},
		},
		{
			Name: "all-needs", Title: "all needs are listed, and every service has its endpoint", Options: Options{AllEndpoints: true},
			apply: prepConfig("  needs: [vpc-cni, image-pull, irsa, pod-identity, cloudwatch, load-balancer-controller, cluster-autoscaler," +
				" ssm, xray, karpenter, ebs-csi, efs-csi, kms, cluster-discovery]\n"),
		},
		{
			Name: "slow-network", Title: "every packet takes 75 ms, as over a transit gateway to another continent",
			Options: Options{Latency: 75 * time.Millisecond, SharedEndpoints: true},
		},
		{Name: "busy-api", Title: "the API server answers 429 now and then", apply: api(apiserver.Behaviour{BusyEvery: 2})},
		{Name: "closed-api", Title: "the API server wants authentication for its health endpoints", apply: api(apiserver.Behaviour{Anonymous: http.StatusUnauthorized})},
		{Name: "ca-rotation", Title: "certificateAuthority has the cluster's next CA beside the one in use", apply: twoCAs},
	}
}

// regionShapes are private VPCs elsewhere.
func regionShapes() []Shape {
	var list []Shape
	for _, r := range [][2]string{
		{"us-east-1", "the region with names of its own"},
		{"cn-north-1", "China"},
		{"us-gov-west-1", "GovCloud"},
		{"us-iso-east-1", "a region without public names"},
		{"eusc-de-east-1", "the European Sovereign Cloud"},
	} {
		list = append(list, Shape{Name: r[0], Title: r[1], Options: Options{Region: r[0]}})
	}
	return list
}

// ProxyPassword is what a node of the shape proxy-lower tells its proxy, and nobody else.
const ProxyPassword = "hunter2"

// proxyShapes have an HTTP proxy.
func proxyShapes() []Shape {
	// What the documentation of EKS lists, and the endpoints' names.
	usual := func(v *VPC) map[string]string {
		_, eks, _ := strings.Cut(v.Host(APIServer), ".gr7.")
		except := strings.Join([]string{
			v.options.ServiceCIDR.String(), "localhost", "127.0.0.1", vpcBlock, "169.254.169.254", ".internal", "." + eks, v.Host(EC2),
		}, ",")
		return map[string]string{
			"HTTP_PROXY": ProxyURL(), "HTTPS_PROXY": ProxyURL(), "NO_PROXY": except,
			"http_proxy": ProxyURL(), "https_proxy": ProxyURL(), "no_proxy": except,
		}
	}
	everything := func(*VPC) map[string]string {
		return map[string]string{"HTTPS_PROXY": ProxyURL(), "NO_PROXY": "localhost,127.0.0.1,169.254.169.254"}
	}
	login := strings.Replace(ProxyURL(), proxyHost, "node:"+ProxyPassword+"@"+ProxyAddr().String(), 1)
	units := func(variables func(*VPC) map[string]string) func(*VPC, string) (undo, error) {
		return files(func(v *VPC) map[string]string {
			return units(map[string]map[string]string{"kubelet": variables(v), "containerd": variables(v)})
		})
	}
	noPublicNames := unknown(ECRAPI, ECRDKR, S3)
	return []Shape{
		{
			Name: "proxy", Title: "kubelet and containerd have a proxy and the right exceptions; DNS knows no public names",
			apply: all(noPublicNames, units(usual)),
		},
		{
			Name: "proxy-agent", Title: "nodeprep has the proxy of kubelet and containerd, too",
			apply: all(noPublicNames, units(usual), environment(usual)),
		},
		{
			Name: "proxy-everything", Title: "all programs of the machine reach everything through the proxy, the API server too",
			apply: all(noPublicNames, units(everything), environment(everything)),
		},
		{
			Name: "proxy-names", Title: "the API server is reached through the proxy, and DNS does not know it",
			apply: all(unknown(APIServer, ECRAPI, ECRDKR, S3), units(everything), environment(everything)),
		},
		{
			Name: "proxy-silence", Title: "the API server is reached through the proxy, and no answer comes for names that only the proxy resolves",
			Late: "the machine's own resolver waits for the API server's name",
			apply: all(
				resolve(func(v *VPC) dnsRule {
					return dnsRule{name: v.hostOf(APIServer, ECRAPI, ECRDKR, S3), silent: true}
				}),
				units(everything), environment(everything),
			),
		},
		{
			Name: "proxy-lower", Title: "the variables are in lower case, and the proxy is an address with a login",
			apply: all(noPublicNames, units(func(v *VPC) map[string]string {
				return map[string]string{"https_proxy": login, "http_proxy": login, "no_proxy": usual(v)["no_proxy"]}
			})),
		},
		{
			Name: "proxy-idle", Title: "a proxy whose exceptions cover all that a node needs",
			apply: units(func(v *VPC) map[string]string {
				m := maps.Clone(usual(v))
				m["NO_PROXY"] = v.noProxy(v.endpointNames()...)
				m["no_proxy"] = m["NO_PROXY"]
				return m
			}),
		},
	}
}

// machineShapes differ in what the machine has.
func machineShapes() []Shape {
	return []Shape{
		{Name: "several-enis", Title: "a second network interface with its own routing table, as AL2023 sets it up", apply: secondENI},
		{Name: "pods", Title: "pods run already: the VPC CNI's interface, rules and tables are there", apply: all(secondENI, podRoutes)},
		{Name: "efa", Title: "network cards for EFA alone, without addresses", apply: barePorts(2)},
		{Name: "slow-metadata", Title: "metadata takes 300 ms for each answer", Options: Options{IMDSDelay: 300 * time.Millisecond}},
		{Name: "clock-20s", Title: "the clock is 20 s behind", Options: Options{ClockOffset: 20 * time.Second}},
		{Name: "hop-limit", Title: "metadata's hop limit is 1", Options: Options{HopLimit: 1}},
	}
}

// policyShapes have configuration of nodeprep's own.
func policyShapes() []Shape {
	const registry = "registry.corp.example"
	const caFile = "/etc/pki/corp/ca.pem"
	return []Shape{
		{Name: "private-only", Title: "public addresses are forbidden, and only S3 by gateway has some", apply: prepConfig("  privateOnly: true\n")},
		{Name: "strict", Title: "strict mode", Options: Options{S3Interface: true, CustomDNS: true}, apply: prepConfig("  mode: strict\n")},
		{
			Name: "no-experiments", Title: "all experiments are switched off",
			apply: prepConfig("  experiments: {compareDNS: off, directPath: off, secondSNI: false, smallHello: false, mssClamp: false, udpTest: false, ntp: false}\n"),
		},
		{
			Name: "registry-mirror", Title: "another CNI, and a registry with its own CA in place of ECR; the VPC has no endpoints",
			apply: all(isPublic(interfaces()...), ownCA(registry, caFile), prepConfig(fmt.Sprintf(
				"  cni: other\n  needs: []\n  endpoints:\n    - {name: registry, host: %s, role: ready, why: all images, ca: %s}\n", registry, caFile,
			))),
		},
	}
}

// twoCAs gives the node the CA that the cluster will have next, too.
func twoCAs(v *VPC, name string) (undo, error) {
	next, err := newAuthority(pkix.Name{CommonName: "kubernetes"})
	if err != nil {
		return nil, err
	}
	return userData(func(v *VPC) []byte {
		both := base64.StdEncoding.EncodeToString(append(next.pem(), v.ClusterCA()...))
		return v.nodeConfig("https://"+v.apiHost(), both, v.options.ServiceCIDR.String(), "")
	})(v, name)
}

// ownCA lets the owner's web server have a name, with a certificate of an own
// authority that is in a file on the node.
func ownCA(host, file string) func(*VPC, string) (undo, error) {
	return func(v *VPC, name string) (undo, error) {
		ca, err := newAuthority(pkix.Name{CommonName: "Corp CA"})
		if err != nil {
			return nil, err
		}
		return all(
			answers(wiki, func(*VPC, *endpoint) (mode, error) {
				c, err := serverConfig(ca, leaf{name: host, hosts: []string{host}})
				return mode{config: c}, err
			}),
			resolve(func(v *VPC) dnsRule { return dnsRule{name: named(host), record: &record{addresses: v.Addresses(wiki)}} }),
			files(func(*VPC) map[string]string { return map[string]string{file: string(ca.pem())} }),
		)(v, name)
	}
}
