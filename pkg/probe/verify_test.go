package probe_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

// An authority issues what probetest.CA does not: intermediates, and roots of one key.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// issue makes a CA certificate for key, self-signed when by is nil.
func issue(t *testing.T, by *authority, name string, key *ecdsa.PrivateKey, from, to time.Time) authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{key, cert}
}

// leaf makes a server's chain that ends with the given intermediates.
func (a authority) leaf(t *testing.T, from, to time.Time, chain ...authority) tls.Certificate {
	t.Helper()
	key := ecdsaKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "server"},
		NotBefore: from, NotAfter: to, DNSNames: []string{"a.test"},
	}, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{PrivateKey: key, Certificate: [][]byte{der}}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.cert.Raw)
	}
	return cert
}

func ecdsaKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// What is wrong with a chain at the right time is found without asking again.
func TestReverified(t *testing.T) {
	t.Parallel()
	now := time.Now()
	const hour = time.Hour
	ca, other := probetest.NewCA(t, "test CA"), probetest.NewCA(t, "other CA")
	// The probetest CA is valid for an hour around now; these are for long.
	root := issue(t, nil, "root", ecdsaKey(t), now.Add(-1000*hour), now.Add(1000*hour))
	stranger := issue(t, nil, "stranger", ecdsaKey(t), now.Add(-1000*hour), now.Add(1000*hour))
	young := issue(t, nil, "young root", ecdsaKey(t), now.Add(hour), now.Add(1000*hour))
	old := issue(t, &root, "intermediate", ecdsaKey(t), now.Add(-100*hour), now.Add(-hour))
	oldStranger := issue(t, &stranger, "intermediate", ecdsaKey(t), now.Add(-100*hour), now.Add(-hour))
	long := func(a authority, chain ...authority) tls.Certificate {
		return a.leaf(t, now.Add(-200*hour), now.Add(200*hour), chain...)
	}
	past := func(a authority) tls.Certificate { return a.leaf(t, now.Add(-100*hour), now.Add(-hour)) }
	ahead := func(a authority) tls.Certificate { return a.leaf(t, now.Add(hour), now.Add(100*hour)) }
	reading := func(offset time.Duration) []probe.ClockReading {
		return []probe.ClockReading{
			{Source: "ntp 192.0.2.1", Cause: probe.ClockSilent},
			{Source: "ntp 192.0.2.2", Offset: 5000 * probe.Duration(hour), Within: probe.Duration(time.Second)},
			{Source: "metadata", Offset: probe.Duration(offset), Within: probe.Duration(time.Millisecond)},
		}
	}
	type again struct{ cause probe.Cause }
	tests := []struct {
		name  string
		cert  tls.Certificate
		host  string
		clock []probe.ClockReading
		cause probe.Cause
		again *again
	}{
		{"good", long(root), "a.test", reading(0), "", nil},
		{"good, clock off", long(root), "a.test", reading(3 * hour), "", nil},
		{"no clock known", past(root), "a.test", nil, probe.TLSExpired, nil},
		{"clock 3 h ahead", past(root), "a.test", reading(-3 * hour), probe.TLSExpired, &again{}},
		{"clock 3 h behind", ahead(root), "a.test", reading(3 * hour), probe.TLSNotYetValid, &again{}},
		{"really expired", past(root), "a.test", reading(0), probe.TLSExpired, &again{probe.TLSExpired}},
		{"really not yet valid", ahead(root), "a.test", reading(0), probe.TLSNotYetValid, &again{probe.TLSNotYetValid}},
		{"expired by our clock, not yet valid by the right one", past(root), "a.test", reading(-200 * hour), probe.TLSExpired, &again{probe.TLSNotYetValid}},
		{"clock ahead and wrong host", past(root), "b.test", reading(-3 * hour), probe.TLSExpired, &again{probe.TLSWrongHost}},
		{"clock ahead and unknown authority", past(stranger), "a.test", reading(-3 * hour), probe.TLSExpired, &again{probe.TLSUnknownAuthority}},
		{"intermediate, clock ahead", long(old, old), "a.test", reading(-3 * hour), probe.TLSExpired, &again{}},
		{"intermediate, really expired", long(old, old), "a.test", reading(0), probe.TLSExpired, &again{probe.TLSExpired}},
		{
			"intermediate of a stranger, clock ahead", long(oldStranger, oldStranger, stranger), "a.test", reading(-3 * hour),
			probe.TLSExpired, &again{probe.TLSUnknownAuthority},
		},
		{
			// Of two intermediates of one key, the last one tried decides what crypto/x509 says.
			"expired intermediate beside a useless one", long(old, old, issue(t, &stranger, "intermediate", old.key, now.Add(-hour), now.Add(hour))),
			"a.test", reading(-3 * hour), probe.TLSUnknownAuthority, &again{},
		},
		{"root not yet valid, clock behind", long(young), "a.test", reading(3 * hour), probe.TLSNotYetValid, &again{}},
		{"wrong host alone", long(root), "b.test", reading(3 * hour), probe.TLSWrongHost, nil},
		{"unknown authority alone", long(stranger), "a.test", reading(3 * hour), probe.TLSUnknownAuthority, nil},
		{
			"of a CA that was not valid yet", ca.Issue(t, probetest.Leaf{Names: []string{"a.test"}, NotAfter: now.Add(-time.Minute)}),
			"a.test", reading(-3 * hour), probe.TLSExpired, &again{probe.TLSNotYetValid},
		},
		{
			"of another CA", other.Issue(t, probetest.Leaf{Names: []string{"a.test"}, NotAfter: now.Add(-time.Minute)}),
			"a.test", reading(-2 * time.Minute), probe.TLSExpired, &again{probe.TLSUnknownAuthority},
		},
	}
	pool := x509.NewCertPool()
	for _, c := range []*x509.Certificate{root.cert, young.cert, ca.Cert} {
		pool.AddCert(c)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := probetest.ServeTLS(t, probetest.Listen(t, loopback), &tls.Config{Certificates: []tls.Certificate{tt.cert}}, nil)
			p := &probe.Prober{Roots: pool, Experiments: probe.Experiments{Clock: tt.clock}}
			path := p.Run(t.Context(), []probe.Target{{
				Host: tt.host, Hosts: loopbackHosts, Port: server.Port(), TLS: true,
			}}, nil).Results[0].Paths[0]
			info := path.Steps[1].TLS
			wantEqual(t, "cause", path.Cause(), tt.cause)
			if (info.Reverified != nil) != (tt.again != nil) {
				t.Fatalf("reverified: %+v", info.Reverified)
			}
			if tt.again == nil {
				return
			}
			wantEqual(t, "cause at the reference time", info.Reverified.Cause, tt.again.cause)
			wantEqual(t, "source", info.Reverified.Source, "metadata")
			want := time.Now().Add(time.Duration(tt.clock[2].Offset))
			if off := want.Sub(info.Reverified.Time); off < 0 || off > 10*time.Second {
				t.Errorf("verified for %v, want %v", info.Reverified.Time, want)
			}
		})
	}
}

// Anchors are the distinct keys to which the chain leads, of targets without roots of
// their own, and all targets share them.
func TestAnchors(t *testing.T) {
	t.Parallel()
	now := time.Now()
	from, to := now.Add(-time.Hour), now.Add(time.Hour)
	key := ecdsaKey(t)
	first, second := issue(t, nil, "root", key, from, to), issue(t, nil, "root", key, from, to)
	third := issue(t, nil, "other root", ecdsaKey(t), from, to)
	cross := issue(t, &third, "root", key, from, to) // the first root's key, signed by the third
	pool := x509.NewCertPool()
	for _, a := range []authority{first, second, third} {
		pool.AddCert(a.cert)
	}
	server := probetest.ServeTLS(t, probetest.Listen(t, loopback),
		&tls.Config{Certificates: []tls.Certificate{first.leaf(t, from, to, cross)}}, nil)
	target := probe.Target{Host: "a.test", Hosts: loopbackHosts, Port: server.Port(), TLS: true}
	wrong, own := target, target
	wrong.Host = "b.test"
	own.Roots = probetest.NewCA(t, "test CA").PEM
	again := target
	again.Requests = []probe.Request{{Method: "GET", Path: "/"}} // not the same target
	p := &probe.Prober{Roots: pool, Timing: probe.Timing{HTTP: 100 * time.Millisecond}}
	report := p.Run(t.Context(), []probe.Target{target, again, wrong, own}, nil)
	anchors := func(i int) []probe.Anchor { return report.Results[i].Paths[0].Steps[1].TLS.Anchors }
	anchor := func(a authority) probe.Anchor {
		sum := sha256.Sum256(a.cert.RawSubjectPublicKeyInfo)
		return probe.Anchor{Subject: a.cert.Subject.String(), KeySHA256: hex.EncodeToString(sum[:])}
	}
	wantEqual(t, "anchors", anchors(0), []probe.Anchor{anchor(first), anchor(third)})
	if len(anchors(1)) != 2 || &anchors(0)[0] != &anchors(1)[0] {
		t.Error("two targets do not share their anchors")
	}
	if anchors(2) != nil || anchors(3) != nil {
		t.Errorf("anchors of a failed handshake: %v, of another's roots: %v", anchors(2), anchors(3))
	}
}
