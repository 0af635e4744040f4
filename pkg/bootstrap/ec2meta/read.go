package ec2meta

import (
	"context"
	"maps"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// Paths below /latest/, as the EC2 User Guide lists them under "Instance
// metadata categories".
const (
	pathUserData = "user-data"
	pathDocument = "dynamic/instance-identity/document"
	pathMAC      = "meta-data/mac"
	pathHostname = "meta-data/local-hostname"
	pathIPv4     = "meta-data/local-ipv4"
	pathDomain   = "meta-data/services/domain"
	pathRole     = "meta-data/iam/security-credentials/"
)

// instancePaths need nothing but the token.
func instancePaths() []string {
	return []string{pathUserData, pathDocument, pathMAC, pathHostname, pathIPv4, pathDomain, pathRole}
}

// Keys of the primary network interface.
const (
	keyVPC4Primary = "vpc-ipv4-cidr-block"
	keyVPC4        = "vpc-ipv4-cidr-blocks"
	keySubnet4     = "subnet-ipv4-cidr-block"
	keyIPv6        = "ipv6s"
	keyVPC6        = "vpc-ipv6-cidr-blocks"
	keySubnet6     = "subnet-ipv6-cidr-blocks"
)

func interfacePath(mac, key string) string {
	return "meta-data/network/interfaces/macs/" + mac + "/" + key
}

// interfacePaths are asked for together, IPv6 included: a 404 costs less than
// to wait for ipv6s before asking for the rest.
func interfacePaths(mac string) []string {
	var paths []string
	for _, key := range []string{keyVPC4Primary, keyVPC4, keySubnet4, keyIPv6, keyVPC6, keySubnet6} {
		paths = append(paths, interfacePath(mac, key))
	}
	return paths
}

// Read makes one pass over the metadata service: the token unless it is still
// good, then 7 requests together, then 6 about the primary network interface.
// The error is a *bootstrap.MetadataError, or several joined with the most
// telling one first, as errors.As finds it. A silent service takes Options.Timeout, a
// service that falls silent in between three times that.
func (c *Client) Read(ctx context.Context) (bootstrap.Metadata, error) {
	if err := c.authorize(ctx); err != nil {
		return bootstrap.Metadata{}, err
	}
	got, err := c.fetch(ctx, instancePaths())
	if err != nil {
		return bootstrap.Metadata{}, err
	}
	p := &parser{got: got}
	m := p.instance()
	if len(p.failures) > 0 {
		return bootstrap.Metadata{}, join(p.failures)
	}
	more, err := c.fetch(ctx, interfacePaths(m.Instance.MAC))
	if err != nil {
		return bootstrap.Metadata{}, err
	}
	maps.Copy(got, more)
	p.network(&m.Instance)
	if len(p.failures) > 0 {
		return bootstrap.Metadata{}, join(p.failures)
	}
	return m, nil
}
