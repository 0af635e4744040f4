package probe

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"time"
)

// anchors are the distinct last certificates of verified chains. The result is
// shared and nobody changes it.
func (c *chainCache) anchors(chains [][]*x509.Certificate) []Anchor {
	if len(chains) == 0 {
		return nil
	}
	keys := make([]byte, 0, 4*sha256.Size)
	for _, chain := range chains {
		sum := sha256.Sum256(chain[len(chain)-1].RawSubjectPublicKeyInfo)
		keys = append(keys, sum[:]...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.roots[string(keys)]; ok {
		return known
	}
	if c.roots == nil {
		c.roots = make(map[string][]Anchor)
	}
	var anchors []Anchor
	seen := make(map[string]bool)
	for i, chain := range chains {
		key := hex.EncodeToString(keys[i*sha256.Size : (i+1)*sha256.Size])
		if !seen[key] {
			seen[key] = true
			anchors = append(anchors, Anchor{Subject: chain[len(chain)-1].Subject.String(), KeySHA256: key})
		}
	}
	c.roots[string(keys)] = anchors
	return anchors
}

// reverify verifies the chain of a failed handshake again at the time that other clocks
// give, when validity has a part in the failure and such a time is known. A wrong clock
// hides every other fault: crypto/x509 looks at the leaf's validity first, and an
// intermediate outside its validity may come out as an unknown authority.
func (r *round) reverify(ctx context.Context, t *target, failure *tls.CertificateVerificationError) *Reverified {
	chain := failure.UnverifiedCertificates
	if len(chain) == 0 || !ofValidity(failure, time.Now()) {
		return nil
	}
	reading, ok := r.referenceTime(ctx)
	if !ok {
		return nil
	}
	at := time.Now().Round(0).Add(time.Duration(reading.Offset)).UTC()
	options := x509.VerifyOptions{
		Roots:         t.roots,
		DNSName:       serverName(t.Host),
		CurrentTime:   at,
		Intermediates: x509.NewCertPool(),
	}
	for _, cert := range chain[1:] {
		options.Intermediates.AddCert(cert)
	}
	again := &Reverified{Source: reading.Source, Time: at}
	if _, err := chain[0].Verify(options); err != nil {
		again.Cause = classifyCertificate(err, at)
	}
	return again
}

// ofValidity reports whether a certificate outside its validity may be the cause of
// failure: one of the chain, or the root.
func ofValidity(failure *tls.CertificateVerificationError, now time.Time) bool {
	switch classifyCertificate(failure.Err, now) {
	case TLSExpired, TLSNotYetValid:
		return true
	default:
	}
	for _, cert := range failure.UnverifiedCertificates {
		if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
			return true
		}
	}
	return false
}
