// Package vpc builds an Amazon VPC with an EKS cluster and one node out of
// network namespaces, inside one process and without any way out of it.
//
//	v, err := vpc.New(ctx, vpc.Options{})
//	defer v.Close()
//	remove, err := v.Inject("ecr-api-drop")
//	err = v.Command(ctx, "/usr/bin/nodeprep", "check").Run()
//	err = remove()
//
// There are two namespaces. The router's holds every address that is not the
// node's: the resolver on VPC+2 and 169.254.169.253, the metadata service, the
// interface endpoints and the API server with an address in each of two
// subnets, and public addresses, which are reachable only while a route to them
// exists: the gateway endpoint's for S3, a NAT gateway's for the rest. Whatever
// the router has no route for it drops in silence, as a VPC does. The node's
// namespace has eth0 and nothing else. All services run in this process; a
// socket stays in the namespace where it was made.
//
//	10.20.0.2        resolver (VPC+2)         169.254.169.253  the same
//	10.20.0.53       own DNS server           169.254.169.254  metadata
//	10.20.1.0/24     subnet a: .1 router, .50 node, .101… endpoints, .180 API server
//	10.20.2.0/24     subnet b:                      .101… endpoints, .180 API server
//	3.5.76.0/22      S3                       52.94.0.0/16     other public names
//
// [Faults] lists what can be broken, by name, each while programs run. [Shapes] lists
// kinds of VPCs and nodes in which nothing is.
//
// Building one takes about ten milliseconds and many can exist side by side.
// It needs root, or root in a user namespace, and nft(8) for the faults of
// security groups.
package vpc
