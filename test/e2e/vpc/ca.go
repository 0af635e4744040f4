package vpc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"time"
)

// An authority issues certificates, all of them for one server key.
type authority struct {
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
	serverKey *ecdsa.PrivateKey
}

func newAuthority(name pkix.Name) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               name,
		NotBefore:             now.Add(-365 * 24 * time.Hour),
		NotAfter:              now.Add(10 * 365 * 24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make CA %s: %w", name.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read CA %s: %w", name.CommonName, err)
	}
	return &authority{cert: cert, key: key, serverKey: serverKey}, nil
}

// keySHA256 is the fingerprint of the CA's SubjectPublicKeyInfo.
func (a *authority) keySHA256() string {
	return fmt.Sprintf("%x", sha256.Sum256(a.cert.RawSubjectPublicKeyInfo))
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// A leaf says what a server certificate is for.
type leaf struct {
	name      string // subject
	hosts     []string
	addresses []netip.Addr
	expired   bool
	// now is the issuer's clock; the zero time is this machine's. fresh is a
	// certificate of an hour's age that lives for a day.
	now   time.Time
	fresh bool
	// client makes it a client's certificate, which no server may show.
	client bool
	// padding is the length of an extension that makes the certificate longer.
	padding int
}

func (a *authority) issue(l leaf) (*tls.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := l.now
	if now.IsZero() {
		now = time.Now()
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: l.name},
		DNSNames:     l.hosts,
		NotBefore:    now.Add(-48 * time.Hour),
		NotAfter:     now.Add(90 * 24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if l.expired {
		template.NotAfter = now.Add(-24 * time.Hour)
	}
	if l.fresh {
		template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.Add(24*time.Hour)
	}
	if l.client {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	if l.padding > 0 {
		// 2.25 and a UUID is an arc that needs no registration (ITU-T X.667).
		template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 25, 1}, Value: make([]byte, l.padding)}}
	}
	for _, ip := range l.addresses {
		template.IPAddresses = append(template.IPAddresses, net.IP(ip.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &a.serverKey.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %s: %w", l.name, err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.serverKey}, nil
}
