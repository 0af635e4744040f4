package bootstrap

import (
	"slices"
	"strings"
)

// A nameVariant is the kind of a service's name that a program uses.
type nameVariant struct{ fips, dualStack bool }

func (v nameVariant) String() string {
	switch v {
	case nameVariant{true, true}:
		return "FIPS and dual-stack"
	case nameVariant{fips: true}:
		return "FIPS"
	case nameVariant{dualStack: true}:
		return "dual-stack"
	default:
		return "standard"
	}
}

// serviceHost is the name of a service in a region, as the SDKs make it; that of s3 is
// the bucket of ECR's layers. It is empty where there is no rule for the variant.
//
// Source: the endpoint rule sets of botocore 1.43.67, evaluated for every region (3588
// names, without an exception for a single region); for ECR with FIPS the AWS General
// Reference; for the registry's names the patterns of the kubelet's credential provider.
// ssmmessages and ec2messages are no services of the SDKs and have one name.
func (p Partition) serviceHost(service, region, account string, v nameVariant) string {
	at := "." + region + "." + p.DNSSuffix
	dual := "." + region + "." + p.dualStackSuffix
	switch service {
	case "ssmmessages", "ec2messages":
		return service + at
	case "ecr.dkr":
		return p.registryHost(region, account, v)
	case "s3":
		return p.layerHost(region, v)
	case "eks-auth":
		// The one service whose only name is the dual-stack one.
		v.dualStack = true
	}
	if v.dualStack && p.dualStackSuffix == "" {
		return ""
	}
	irregular := slices.Contains([]string{"aws", "aws-cn", "aws-us-gov"}, p.ID)
	switch {
	case v.dualStack && service == "ecr.api":
		service = "ecr"
	case v.dualStack && service == "elasticfilesystem" && irregular:
		service = "efs"
	case service == "ecr.api" && v.fips && p.listsFIPS():
		return "ecr-fips" + at
	case service == "ecr.api" && v.fips:
		return "api.ecr-fips" + at
	case service == "ecr.api":
		return "api.ecr" + at
	case service == "eks" && v.fips && !v.dualStack && p.ID == "aws":
		return "fips.eks" + at
	case v.fips && p.ID == "aws-us-gov" && (!v.dualStack && slices.Contains(govFIPS(), service) || service == "monitoring"):
		v.fips = false // the standard name is the FIPS one
	}
	if v.fips {
		service += "-fips"
	}
	if v.dualStack {
		return service + dual
	}
	return service + at
}

// govFIPS are the services whose standard name in GovCloud is the FIPS one.
func govFIPS() []string {
	return []string{"ec2", "sts", "eks", "logs", "autoscaling", "ssm", "elasticloadbalancing", "sqs", "monitoring"}
}

// registryHost is the name of an account's ECR registry.
func (p Partition) registryHost(region, account string, v nameVariant) string {
	switch {
	case v.fips && !p.listsFIPS():
		return ""
	case v.dualStack && p.registrySuffix == "":
		return ""
	case v.dualStack && v.fips:
		return account + ".dkr-ecr-fips." + region + "." + p.registrySuffix
	case v.dualStack:
		return account + ".dkr-ecr." + region + "." + p.registrySuffix
	case v.fips:
		return account + ".dkr.ecr-fips." + region + "." + p.DNSSuffix
	default:
		return account + ".dkr.ecr." + region + "." + p.DNSSuffix
	}
}

// layerHost is the name of the bucket to which ECR sends whoever pulls a layer (ECR
// user guide, "Minimum Amazon S3 bucket permissions"; outside aws by analogy).
func (p Partition) layerHost(region string, v nameVariant) string {
	if v.fips && p.ID == "aws-cn" {
		return ""
	}
	var s3 strings.Builder
	s3.WriteString("prod-" + region + "-starport-layer-bucket.s3")
	if v.fips {
		s3.WriteString("-fips")
	}
	if v.dualStack {
		s3.WriteString(".dualstack")
	}
	return s3.String() + "." + region + "." + p.DNSSuffix
}

// listsFIPS reports whether AWS lists FIPS names for ECR in some region of the partition.
func (p Partition) listsFIPS() bool { return p.ID == "aws" || p.ID == "aws-us-gov" }

// offers reports whether AWS lists names of the variant for a service in a region.
// What is not known counts as offered.
func (p Partition) offers(s serviceSpec, region string, v nameVariant) bool {
	switch {
	case s.name == "ssmmessages" || s.name == "ec2messages":
		return true // one name, whatever is asked for
	case v.dualStack && p.dualStackSuffix == "":
		return false
	case !v.fips || p.ID == "aws-us-gov" || s.name == "kms":
		return true
	case p.ID != "aws":
		return false
	case s.fips == "":
		return true
	}
	for prefix := range strings.FieldsSeq(s.fips) {
		if strings.HasPrefix(region, prefix) {
			return true
		}
	}
	return false
}
