package ec2meta

import (
	"context"
	"errors"
	"syscall"
	"time"

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
	pathPublic   = "meta-data/public-ipv4"
	pathDomain   = "meta-data/services/domain"
	// pathRole lists the name of the role; below that are its credentials.
	pathRole = "meta-data/iam/security-credentials/"
)

// instancePaths need nothing but the token.
func instancePaths() []string {
	return []string{pathUserData, pathDocument, pathMAC, pathHostname, pathIPv4, pathPublic, pathDomain, pathRole}
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
// good, then 8 requests together, then 7 about the primary network interface and the role's
// credentials, of which only the state is kept. As long as the role or its credentials are
// missing or no good, further readings ask for these alone: the rest of what was read
// does not change as long as the instance runs.
//
// The error is a *bootstrap.MetadataError, or several joined with the most
// telling one first, as errors.As finds it. A silent service takes Options.Timeout and a
// half, a service that falls silent in between three times that.
func (c *Client) Read(ctx context.Context) (bootstrap.Metadata, error) {
	m, err := c.read(ctx)
	if c.second == nil || !errors.Is(err, syscall.ENETUNREACH) {
		return m, err
	}
	m, other := c.second.read(ctx)
	if other != nil {
		return bootstrap.Metadata{}, errors.Join(err, other)
	}
	return m, nil
}

func (c *Client) read(ctx context.Context) (bootstrap.Metadata, error) {
	if err := c.authorize(ctx); err != nil {
		return bootstrap.Metadata{}, c.examine(ctx, err)
	}
	p := &parser{got: answers{}}
	m, again := c.known()
	if again {
		if err := c.fetchInto(ctx, p.got, []string{pathRole}); err != nil {
			return bootstrap.Metadata{}, err
		}
		p.role(&m.Instance)
	} else {
		if err := c.fetchInto(ctx, p.got, instancePaths()); err != nil {
			return bootstrap.Metadata{}, err
		}
		m = p.instance()
	}
	if len(p.failures) > 0 {
		return bootstrap.Metadata{}, join(p.failures)
	}
	var paths []string
	if !again {
		paths = interfacePaths(m.Instance.MAC)
	}
	if m.Instance.Role != "" {
		paths = append(paths, pathRole+m.Instance.Role)
	}
	if err := c.fetchInto(ctx, p.got, paths); err != nil {
		return bootstrap.Metadata{}, err
	}
	if !again {
		p.network(&m.Instance)
	}
	p.credentials(&m.Instance)
	if len(p.failures) > 0 {
		return bootstrap.Metadata{}, join(p.failures)
	}
	m.Clock = nil // an earlier reading's
	if a, ok := p.got.quickest(); ok {
		m.Clock = bootstrap.NewMetadataClock(a.date, a.began, a.trip)
	}
	c.remember(m)
	return m, nil
}

// known returns what an earlier reading said, unless nothing is left to ask for.
func (c *Client) known() (bootstrap.Metadata, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.incomplete == nil {
		return bootstrap.Metadata{}, false
	}
	return *c.incomplete, true
}

// remember keeps a reading that lacks good credentials.
func (c *Client) remember(m bootstrap.Metadata) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.incomplete = nil
	if cr := m.Instance.Credentials; cr.Code != credentialsGood || cr.Expiration.Before(time.Now()) {
		c.incomplete = &m
	}
}

// quickest returns the answer with a date that took the shortest time, and whether
// there is one.
func (got answers) quickest() (answer, bool) {
	var best answer
	for _, a := range got {
		if !a.date.IsZero() && (best.date.IsZero() || a.trip < best.trip) {
			best = a
		}
	}
	return best, !best.date.IsZero()
}
