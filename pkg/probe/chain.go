package probe

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"sync"
)

const (
	maxChain = 10  // certificates kept of one chain
	maxNames = 128 // names kept of one certificate
)

// A chainCache keeps each certificate and each chain once: a region's endpoints
// show few, and a round may see a thousand.
type chainCache struct {
	mu     sync.Mutex
	certs  map[[sha256.Size]byte]Certificate
	chains map[string][]Certificate // by the fingerprints
	roots  map[string][]Anchor      // by the fingerprints of the keys
}

// get describes the chain. The result is shared and nobody changes it.
func (c *chainCache) get(chain []*x509.Certificate) []Certificate {
	if len(chain) == 0 {
		return nil
	}
	chain = chain[:min(len(chain), maxChain)]
	sums := make([]byte, 0, maxChain*sha256.Size)
	for _, cert := range chain {
		sum := sha256.Sum256(cert.Raw)
		sums = append(sums, sum[:]...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.chains[string(sums)]; known != nil {
		return known
	}
	if c.chains == nil {
		c.chains = make(map[string][]Certificate)
		c.certs = make(map[[sha256.Size]byte]Certificate)
	}
	described := make([]Certificate, len(chain))
	for i, cert := range chain {
		sum := [sha256.Size]byte(sums[i*sha256.Size:])
		d, known := c.certs[sum]
		if !known {
			d = describe(cert, sum)
			c.certs[sum] = d
		}
		described[i] = d
	}
	c.chains[string(sums)] = described
	return described
}

// describe keeps the evidence and lets the DER form go.
func describe(cert *x509.Certificate, sum [sha256.Size]byte) Certificate {
	d := Certificate{
		Subject:        cert.Subject.String(),
		Issuer:         cert.Issuer.String(),
		NotBefore:      cert.NotBefore,
		NotAfter:       cert.NotAfter,
		SubjectKeyID:   hex.EncodeToString(cert.SubjectKeyId),
		AuthorityKeyID: hex.EncodeToString(cert.AuthorityKeyId),
		SHA256:         hex.EncodeToString(sum[:]),
	}
	for _, name := range cert.DNSNames {
		d.Names = append(d.Names, name)
		if len(d.Names) == maxNames {
			return d
		}
	}
	for _, ip := range cert.IPAddresses {
		d.Names = append(d.Names, ip.String())
		if len(d.Names) == maxNames {
			return d
		}
	}
	return d
}
