// Package ec2meta reads the EC2 instance metadata service (IMDSv2 only) and
// signs tokens with the role credentials found there. It is the only importer
// of the AWS SDK, and the metadata service is the only AWS service it talks to.
package ec2meta
