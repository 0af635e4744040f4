package bootstrap

import "slices"

// The needs that every node is taken to have while none are listed.
const (
	needVPCCNI    = "vpc-cni"
	needImagePull = "image-pull"
)

// NeedInfo is what nodeprep knows of a need.
type NeedInfo struct {
	Name  string `json:"name"`
	About string `json:"about"` // what the node does, in one sentence
	// Services are the short names of what must be reachable for it.
	Services []string `json:"services"`
	// Notes are what an operator must know about it.
	Notes []string `json:"notes,omitempty"`
}

// KnownNeeds returns all needs that spec.needs may list, those of the default first.
func KnownNeeds() []NeedInfo {
	var out []NeedInfo
	for _, n := range needTable() {
		info := NeedInfo{Name: n.name, About: n.about, Notes: n.notes}
		for _, s := range n.services {
			info.Services = append(info.Services, s.name)
			for _, note := range slices.Concat(s.notes, serviceNotes(s.name)) {
				if !slices.Contains(info.Notes, note) {
					info.Notes = append(info.Notes, note)
				}
			}
		}
		out = append(out, info)
	}
	return out
}

// A needSpec is one row of the table of needs.
type needSpec struct {
	name, about string
	services    []needService
	// notes concern the need as a whole; they go with its first service.
	notes []string
}

// A needService is one service that a need asks for.
type needService struct {
	name  string
	role  Role
	why   string
	notes []string
}

// needTable is what each need asks for.
//
// Sources: EKS user guide, "Deploy private clusters with limited internet access" and
// "Access Amazon EKS using AWS PrivateLink" (2026); ECR user guide, "Amazon ECR
// interface VPC endpoints"; VPC CNI docs/iam-policy.md; Systems Manager user guide, "VPC
// endpoints"; Karpenter getting started, "Private clusters"; the charts of the controllers.
//
// Karpenter's guide lists ECR and S3 as well: for its own image, which image-pull is for.
func needTable() []needSpec {
	ready := func(name, why string) needService { return needService{name, RoleReady, why, nil} }
	workload := func(name, why string, notes ...string) needService {
		return needService{name, RoleWorkload, why, notes}
	}
	return []needSpec{
		{
			name: needVPCCNI, about: "The Amazon VPC CNI gives pods their addresses.",
			services: []needService{
				ready("ec2", "Without the EC2 API the VPC CNI gets no addresses for pods, and the node stays NotReady."),
			},
			notes: []string{
				"A VPC CNI with a role of its own also needs sts (IRSA: list the need irsa) or eks-auth (Pod Identity: list pod-identity).",
				"AWS_VPC_K8S_CNI_EXTERNALSNAT=true lets pods leave with their own addresses: their subnets then need a way out of their own, a NAT gateway for instance.",
				"Pods use addresses of the node's subnet, spare interfaces too: a small subnet runs out long before max-pods.",
			},
		},
		{
			name: needImagePull, about: "Images are pulled from ECR, those of the EKS add-ons among them.",
			services: []needService{
				ready("ecr.api", "Without the ECR API the kubelet gets no credentials to pull images, those of the VPC CNI among them."),
				ready("ecr.dkr", "Without the ECR registry that holds the EKS add-on images the VPC CNI is not pulled, and the node stays NotReady."),
				ready("s3", "Without S3, where ECR keeps the layers of its images, every pull hangs and the node stays NotReady."),
			},
			notes: []string{
				"Images of other registries, public.ecr.aws among them, need the internet: copy them to ECR, or add the mirror under spec.endpoints.",
			},
		},
		{
			name: "irsa", about: "Pods take roles by their service account (IRSA).",
			services: []needService{
				workload("sts", "Without STS pods that take a role by their service account get no credentials.",
					"The endpoint serves the regional name only. SDKs that default to the global sts.amazonaws.com, those of version 1 among them, need AWS_STS_REGIONAL_ENDPOINTS=regional."),
			},
		},
		{
			name: "pod-identity", about: "Pods take roles by EKS Pod Identity.",
			services: []needService{
				workload("eks-auth", "Without the EKS Auth API the Pod Identity agent gives pods no credentials.",
					"The service has a name under the dual-stack suffix only, none under amazonaws.com: a forwarding rule for amazonaws.com does not cover it."),
			},
			notes: []string{"Pods ask the agent on the node at 169.254.170.23 or fd00:ec2::23: with a proxy these belong into NO_PROXY of the pods."},
		},
		{
			name: "cloudwatch", about: "Agents on the node send logs and metrics to CloudWatch.",
			services: []needService{
				workload("logs", "Without CloudWatch Logs the agents on this node deliver no logs."),
				workload("monitoring", "Without CloudWatch the agents on this node deliver no metrics."),
			},
		},
		{
			name: "load-balancer-controller", about: "The AWS Load Balancer Controller may run on this node.",
			services: []needService{
				workload("elasticloadbalancing", "Without the Elastic Load Balancing API the AWS Load Balancer Controller makes and changes no load balancers.",
					"In a VPC without internet the controller needs --enable-shield=false --enable-waf=false --enable-wafv2=false: those services have no endpoint there.",
					"It cannot find certificates by host name, which takes ACM: give the ARN in the annotation certificate-arn.",
					"Pods on Fargate are reached with target type ip only."),
				workload("ec2", "Without the EC2 API the AWS Load Balancer Controller finds no subnets and security groups."),
			},
		},
		{
			name: "cluster-autoscaler", about: "The Cluster Autoscaler may run on this node.",
			services: []needService{
				workload("autoscaling", "Without the Auto Scaling API the Cluster Autoscaler changes no node group.",
					"In a VPC without internet the Cluster Autoscaler needs --aws-use-static-instance-list=true: the list of instance types comes from an API without an endpoint."),
				workload("sts", "Without STS the Cluster Autoscaler gets no credentials.",
					"The Cluster Autoscaler uses version 1 of the SDK: it needs AWS_STS_REGIONAL_ENDPOINTS=regional to use the name that the endpoint serves."),
				workload("ec2", "Without the EC2 API the Cluster Autoscaler cannot read launch templates."),
			},
		},
		{
			name: "ssm", about: "The node is managed by Systems Manager.",
			services: []needService{
				workload("ssm", "Without the Systems Manager API the SSM agent does not register this node."),
				workload("ssmmessages", "Without the messages service of Systems Manager there are no sessions to this node."),
				{"ec2messages", RoleOptional, "Without this older message service SSM agents before version 3.3 receive no commands.", nil},
				workload("s3", "Without S3 the SSM agent gets no patches and no updates of itself."),
			},
		},
		{
			name: "xray", about: "Pods send traces to X-Ray.",
			services: []needService{workload("xray", "Without X-Ray the daemon on this node delivers no traces.")},
		},
		{
			name: "karpenter", about: "Karpenter may run on this node.",
			services: []needService{
				workload("ec2", "Without the EC2 API Karpenter launches no nodes."),
				workload("sts", "Without STS Karpenter gets no credentials by its service account."),
				workload("ssm", "Without the Systems Manager API Karpenter does not find the images for new nodes.",
					"Give Karpenter image ids in place of aliases where the SSM API is not to be reached."),
				workload("sqs", "Without SQS Karpenter does not hear of interruptions."),
				workload("eks", "Without the EKS API Karpenter does not find the cluster's endpoint."),
			},
			notes: []string{
				"In a VPC without internet Karpenter needs settings.isolatedVPC=true: the pricing API has no endpoint there.",
				"IAM has no endpoint there either: name an instance profile in the EC2NodeClass, not a role.",
			},
		},
		{
			name: "ebs-csi", about: "Pods use EBS volumes.",
			services: []needService{workload("ec2", "Without the EC2 API the EBS CSI driver attaches no volumes.")},
			notes:    []string{"The node's part of the driver reads instance metadata: with a hop limit of 1 its pods must use the host network."},
		},
		{
			name: "efs-csi", about: "Pods use EFS file systems.",
			services: []needService{
				workload("elasticfilesystem", "Without the EFS API the EFS CSI driver makes no access points and finds no mount targets.",
					"The driver's image must come from the registry of the cluster's own region: a chart's default may name another one.",
					"Mounts go to the file system's mount targets on TCP 2049: list one under spec.endpoints with tls: false to have it probed."),
			},
		},
		{
			name: "kms", about: "Pods or agents call KMS themselves.",
			services: []needService{workload("kms", "Without KMS programs that decrypt with its keys fail.",
				"Encrypted volumes and images do not need it: EBS and ECR call KMS on their own.")},
		},
		{
			name: "cluster-discovery", about: "Scripts on the node read the cluster's description from the EKS API.",
			services: []needService{
				workload("eks", "Without the EKS API describe-cluster fails; nodeprep itself is told the endpoint and does not need it."),
			},
			notes: []string{"This is the API of EKS, not that of the cluster: its endpoint does not serve Kubernetes."},
		},
	}
}

// A serviceSpec is what does not depend on the need that asks for a service.
type serviceSpec struct {
	name     string
	consumer Consumer
	// sdk is the service id of the SDKs in upper case, as in AWS_ENDPOINT_URL_<ID>. It is
	// empty where no SDK makes the name: those of images decide for ecr.dkr and s3.
	sdk string
	// fips starts the regions of the partition aws with a FIPS name, separated by
	// blanks; empty where that is not known here.
	fips string
}

// services are those that a need may ask for. FIPS names: botocore 1.43.67 endpoints.json.
func services() []serviceSpec {
	return []serviceSpec{
		{"ec2", ConsumerPods, "EC2", "us- ca-"},
		{"ecr.api", ConsumerKubelet, "ECR", "us-"},
		{"ecr.dkr", ConsumerContainerd, "", "us-"},
		{"s3", ConsumerContainerd, "", "us- ca-"},
		{"sts", ConsumerPods, "STS", "us-"},
		{"eks-auth", ConsumerPods, "EKS_AUTH", ""},
		{"logs", ConsumerPods, "CLOUDWATCH_LOGS", "us- ca-"},
		{"monitoring", ConsumerPods, "CLOUDWATCH", ""},
		{"elasticloadbalancing", ConsumerPods, "ELASTIC_LOAD_BALANCING_V2", "us-"},
		{"autoscaling", ConsumerPods, "AUTO_SCALING", "us- ca-"},
		{"ssm", ConsumerPods, "SSM", "us- ca-"},
		{"ssmmessages", ConsumerPods, "", ""},
		{"ec2messages", ConsumerPods, "", ""},
		{"xray", ConsumerPods, "XRAY", ""},
		{"sqs", ConsumerPods, "SQS", "us- ca-"},
		{"eks", ConsumerPods, "EKS", "us-"},
		{"elasticfilesystem", ConsumerPods, "EFS", ""},
		{"kms", ConsumerPods, "KMS", ""},
	}
}

// serviceNotes are what an operator must know about a service, whoever asks for it.
func serviceNotes(service string) []string {
	switch service {
	case "ecr.api", "ecr.dkr":
		return []string{"The endpoints serve the IPv4 names of ECR only: with AWS_USE_DUALSTACK_ENDPOINT=true pulls leave the VPC, however healthy the endpoints are."}
	case "s3":
		return []string{
			"A gateway endpoint works by routes, not by DNS: the name keeps its public addresses, every subnet's route table must be associated, and security groups must let 443 out to the prefix list.",
			"A policy on the S3 endpoint must allow the bucket of the ECR layers.",
		}
	default:
		return nil
	}
}

// EndpointNotes are what an operator must know about every interface endpoint.
func EndpointNotes() []string {
	return []string{
		"A new endpoint, a changed route or a changed security group takes up to five minutes to work.",
		"Use the endpoint's regional name, with private DNS on or as a CNAME of your own with a TTL of 60 to 300 s; never its addresses or its names per zone.",
		"The endpoint's security group must let in TCP 443 from the node's subnets or security group; ping never works on endpoints.",
		"Products that are metered by AWS Marketplace do not work without internet: the metering API has no endpoint.",
	}
}

func needNames() []string {
	var out []string
	for _, n := range needTable() {
		out = append(out, n.name)
	}
	return out
}

func serviceNames() []string {
	var out []string
	for _, s := range services() {
		out = append(out, s.name)
	}
	return out
}

// isService reports whether s is the short name of a service that a need may ask for.
func isService(s string) bool { return slices.Contains(serviceNames(), s) }
