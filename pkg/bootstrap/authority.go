package bootstrap

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"time"
)

var pemBegin = []byte("-----BEGIN ")

// authority validates the cluster's CA: base64 of PEM of certificates that may
// sign. Several are a rotation in progress. No byte of it gets into a message.
func (r *configReader) authority(s setting, v string, now time.Time) []byte {
	remedy := "Paste this, unmodified: " + describeCluster("certificateAuthority.data")
	refuse := func(message string) []byte {
		r.invalid(s, CFG105, message, remedy)
		return nil
	}
	compact := withoutSpace([]byte(v))
	switch {
	case isPlaceholder(v):
		return refuse("is a placeholder that nobody filled in")
	case len(compact) == 0:
		return refuse("is blank")
	case bytes.Contains([]byte(v), pemBegin):
		return refuse("is PEM as it stands; the field holds PEM in base64")
	}
	data, err := base64.StdEncoding.Strict().DecodeString(string(compact))
	if err != nil {
		return refuse("is not base64; a part of it may be missing")
	}
	certificates, message := parseAuthorities(data)
	if message != "" {
		return refuse(message)
	}
	if now.IsZero() {
		return data
	}
	var expired, usable int
	var ended, begins time.Time
	for _, c := range certificates {
		switch {
		case now.After(c.NotAfter):
			expired++
			ended = c.NotAfter
		case now.Before(c.NotBefore):
			begins = c.NotBefore
		default:
			usable++
		}
	}
	clock := now.UTC().Format(time.DateOnly)
	switch {
	case expired == len(certificates):
		return refuse(fmt.Sprintf("expired on %s (this machine's clock says %s)", ended.UTC().Format(time.DateOnly), clock))
	case expired > 0:
		r.doubtful(s, CFG105, fmt.Sprintf("holds a certificate that expired on %s beside one that did not", ended.UTC().Format(time.DateOnly)), remedy)
	case usable == 0:
		// A clock that is behind looks the same; the probes tell the two apart.
		r.doubtful(s, CFG105, fmt.Sprintf("becomes valid on %s only, and this machine's clock says %s", begins.UTC().Format(time.DateOnly), clock),
			"Compare the clock with a reference; if it is right, the CA is of another cluster.")
	}
	return data
}

// parseAuthorities parses PEM and returns its certificates, or what is wrong.
func parseAuthorities(data []byte) (certificates []*x509.Certificate, message string) {
	if !bytes.Contains(data, pemBegin) {
		switch {
		case isDER(data):
			return nil, "is base64 of DER; the field holds base64 of PEM"
		case bytes.HasPrefix(data, []byte("LS0tLS1CRUdJTi")): // base64 of -----BEGIN
			return nil, "is encoded in base64 twice"
		default:
			return nil, "is base64 of something that is not PEM"
		}
	}
	if n := bytes.Count(data, pemBegin); n > 64 {
		return nil, fmt.Sprintf("holds %d PEM blocks", n)
	}
	for rest := data; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, "holds a PEM block that is not a certificate (" + excerpt(block.Type) + ")"
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, "holds a certificate that cannot be parsed"
		}
		if !c.IsCA {
			return nil, fmt.Sprintf("holds a certificate that is not a CA (subject %s)", excerpt(c.Subject.String()))
		}
		certificates = append(certificates, c)
	}
	if len(certificates) != bytes.Count(data, pemBegin) {
		return nil, "holds a PEM block that is incomplete"
	}
	return certificates, ""
}

// authorities describes the certificates of a PEM bundle; what is none is passed over.
func authorities(bundle []byte) []Authority {
	var out []Authority
	for {
		var block *pem.Block
		if block, bundle = pem.Decode(bundle); block == nil {
			return out
		}
		if ca, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = append(out, Authority{Subject: ca.Subject.String(), KeyID: hex.EncodeToString(ca.SubjectKeyId)})
		}
	}
}

func isDER(data []byte) bool {
	_, err := x509.ParseCertificate(data)
	return err == nil
}
