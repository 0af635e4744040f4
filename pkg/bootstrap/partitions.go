package bootstrap

import "strings"

// A Partition is one of AWS's separate clouds and how names are made in it.
type Partition struct {
	ID string `json:"id"` // aws, aws-cn, aws-us-gov, …
	// DNSSuffix ends the names of its services: amazonaws.com. Two partitions
	// may share one, so it does not identify a partition.
	DNSSuffix string `json:"dnsSuffix"`
	// dualStackSuffix ends its dual-stack names, registrySuffix those of ECR registries;
	// empty where none are deployed.
	dualStackSuffix, registrySuffix string
	// prefixes start the names of its regions; \w+-\d+ follows.
	prefixes []string
	// imageAccount owns the EKS images in regions that imageAccountOf lacks.
	imageAccount string
	// endpointPrefix starts the names of VPC endpoint services, those of
	// ownServices excepted, which have ownPrefix.
	endpointPrefix, ownPrefix string
	ownServices               string // separated by blanks
}

// PartitionOf returns the partition whose pattern the region's name matches,
// and whether one does. A region that is newer than this program matches as
// well, which is what the patterns are for.
//
// Source: botocore 1.43.67 data/partitions.json, patterns in its order; the
// names of VPC endpoint services from eksctl (2026-08-21) partitions.go.
func PartitionOf(region string) (Partition, bool) {
	for _, p := range partitions {
		for _, prefix := range p.prefixes {
			if rest, ok := strings.CutPrefix(region, prefix); ok && isWordAndNumber(rest) {
				return p, true
			}
		}
	}
	return Partition{}, false
}

// likelyPartition is PartitionOf with the guess of the SDKs for a region that no
// pattern matches: aws.
func likelyPartition(region string) Partition {
	if p, ok := PartitionOf(region); ok {
		return p
	}
	return partitions[0]
}

// STSHost is the name of STS in a region, which the kubelet's token carries. The
// API server takes tokens that name STS of its own partition only.
func STSHost(region string) string {
	return "sts." + region + "." + likelyPartition(region).DNSSuffix
}

// isWordAndNumber matches \w+-\d+, the end of every region's name.
func isWordAndNumber(s string) bool {
	word, number, ok := strings.Cut(s, "-")
	return ok && word != "" && number != "" &&
		strings.Trim(number, "0123456789") == "" &&
		strings.IndexFunc(word, func(r rune) bool {
			return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		}) < 0
}

// EndpointService returns the name of the VPC endpoint service of the given
// short name ("ecr.api") in a region: what an operator has to create.
func (p Partition) EndpointService(region, service string) string {
	prefix := p.endpointPrefix
	for own := range strings.FieldsSeq(p.ownServices) {
		if own == service {
			prefix = p.ownPrefix
		}
	}
	return prefix + "." + region + "." + service
}

// imageAccountOf returns the account that owns the images of the EKS add-ons
// in a region, and whether the region is known. In others the account that the
// AL2 bootstrap.sh fell back to stands in: the name is still one that the
// region's ecr.dkr endpoint serves, because its private DNS covers every account.
func (p Partition) imageAccountOf(region string) (account string, known bool) {
	if account := eksImageAccount(region); account != "" {
		return account, true
	}
	return p.imageAccount, false
}

// partitions in the order in which patterns are tried. It is never changed.
var partitions = [...]Partition{
	{
		ID: "aws", DNSSuffix: "amazonaws.com", dualStackSuffix: "api.aws", registrySuffix: "on.aws",
		prefixes:     []string{"us-", "eu-", "ap-", "sa-", "ca-", "me-", "af-", "il-", "mx-"},
		imageAccount: eksImageAccount("us-west-2"), endpointPrefix: "com.amazonaws",
	},
	{
		ID: "aws-cn", DNSSuffix: "amazonaws.com.cn", dualStackSuffix: "api.amazonwebservices.com.cn",
		registrySuffix: "on.amazonwebservices.com.cn", prefixes: []string{"cn-"},
		imageAccount: eksImageAccount("cn-northwest-1"), endpointPrefix: "com.amazonaws",
		ownPrefix: "cn.com.amazonaws", ownServices: "ec2 ecr.api ecr.dkr sts cloudformation",
	},
	{
		ID: "aws-us-gov", DNSSuffix: "amazonaws.com", dualStackSuffix: "api.aws", registrySuffix: "on.aws",
		prefixes:     []string{"us-gov-"},
		imageAccount: eksImageAccount("us-gov-west-1"), endpointPrefix: "com.amazonaws",
	},
	{
		ID: "aws-iso", DNSSuffix: "c2s.ic.gov", prefixes: []string{"us-iso-"},
		imageAccount: eksImageAccount("us-iso-east-1"), endpointPrefix: "com.amazonaws",
		ownPrefix: "gov.ic.c2s", ownServices: "ec2 ecr.api ecr.dkr autoscaling",
	},
	{
		ID: "aws-iso-b", DNSSuffix: "sc2s.sgov.gov", prefixes: []string{"us-isob-"},
		imageAccount: eksImageAccount("us-isob-east-1"), endpointPrefix: "com.amazonaws",
		ownPrefix: "gov.sgov.sc2s", ownServices: "ec2 ecr.api ecr.dkr autoscaling",
	},
	{
		ID: "aws-iso-e", DNSSuffix: "cloud.adc-e.uk", prefixes: []string{"eu-isoe-"},
		imageAccount: eksImageAccount("eu-isoe-west-1"), endpointPrefix: "com.amazonaws",
		ownPrefix: "uk.adc-e.cloud", ownServices: "ecr.api ecr.dkr ebs execute-api",
	},
	{
		ID: "aws-iso-f", DNSSuffix: "csp.hci.ic.gov", prefixes: []string{"us-isof-"},
		imageAccount: eksImageAccount("us-isof-south-1"), endpointPrefix: "com.amazonaws",
		ownPrefix: "gov.ic.hci.csp", ownServices: "ecr.api ecr.dkr ebs execute-api",
	},
	{
		// No public source names its endpoint services; eksctl falls back to
		// the rules of aws.
		ID: "aws-eusc", DNSSuffix: "amazonaws.eu", dualStackSuffix: "api.amazonwebservices.eu", prefixes: []string{"eusc-de-"},
		imageAccount: eksImageAccount("eusc-de-east-1"), endpointPrefix: "com.amazonaws",
	},
}

// eksImageAccount is the account of the registry that holds the EKS add-on
// images of a region, empty for an unknown region.
//
// Source: EKS user guide add-ons-images (stored version 1cc6ebb4a163), eksctl
// types.go (2026-08-21) and the last get-ecr-uri.sh of amazon-eks-ami, which agree.
func eksImageAccount(region string) string {
	switch region {
	case "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-southeast-1", "ap-southeast-2",
		"ca-central-1", "eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3", "sa-east-1",
		"us-east-1", "us-east-2", "us-west-1", "us-west-2":
		return "602401143452"
	case "af-south-1":
		return "877085696533"
	case "ap-east-1":
		return "800184023465"
	case "ap-east-2":
		return "533267051163"
	case "ap-south-2":
		return "900889452093"
	case "ap-southeast-3":
		return "296578399912"
	case "ap-southeast-4":
		return "491585149902"
	case "ap-southeast-5":
		return "151610086707"
	case "ap-southeast-6":
		return "333609536671"
	case "ap-southeast-7":
		return "121268973566"
	case "ca-west-1":
		return "761377655185"
	case "cn-north-1":
		return "918309763551"
	case "cn-northwest-1":
		return "961992271922"
	case "eu-central-2":
		return "900612956339"
	case "eu-isoe-west-1":
		return "249663109785"
	case "eu-south-1":
		return "590381155156"
	case "eu-south-2":
		return "455263428931"
	case "eusc-de-east-1":
		return "877088126301"
	case "il-central-1":
		return "066635153087"
	case "me-central-1":
		return "759879836304"
	case "me-south-1":
		return "558608220178"
	case "mx-central-1":
		return "730335286997"
	case "us-gov-east-1":
		return "151742754352"
	case "us-gov-west-1":
		return "013241004608"
	case "us-iso-east-1":
		return "725322719131"
	case "us-iso-west-1":
		return "608367168043"
	case "us-isob-east-1":
		return "187977181151"
	case "us-isob-west-1":
		return "321162350305"
	case "us-isof-east-1":
		return "171035529773"
	case "us-isof-south-1":
		return "676585237158"
	}
	return ""
}
