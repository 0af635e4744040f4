package bootstrap_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
)

// TestAnchors computes the fingerprints anew from the certificates of Debian's package
// ca-certificates.
func TestAnchors(t *testing.T) {
	t.Parallel()
	plan, _ := bootstrap.NewPlan(config(), netcfg.State{})
	files := []string{"Amazon_Root_CA_1", "Amazon_Root_CA_2", "Amazon_Root_CA_3", "Amazon_Root_CA_4", "Starfield_Services_Root_Certificate_Authority_-_G2"}
	if len(plan.Policy.Anchors) != len(files) {
		t.Fatalf("%d anchors", len(plan.Policy.Anchors))
	}
	for i, name := range files {
		data, err := os.ReadFile(filepath.Join("/usr/share/ca-certificates/mozilla", name+".crt"))
		if err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
		block, _ := pem.Decode(data)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
		if got := hex.EncodeToString(sum[:]); got != plan.Policy.Anchors[i] {
			t.Errorf("%s is %s, the table has %s", name, got, plan.Policy.Anchors[i])
		}
	}
}

// Where the roots are not known there is no list, and the image's own list wins.
func TestAnchorsOfPlans(t *testing.T) {
	t.Parallel()
	for region, known := range map[string]bool{"us-west-2": true, "eu-north-7": true, "cn-north-1": false, "us-gov-west-1": false, "us-iso-east-1": false, "moon-1": false} {
		cfg := config()
		cfg.Instance.Region = region
		plan, _ := bootstrap.NewPlan(cfg, netcfg.State{})
		if (len(plan.Policy.Anchors) > 0) != known {
			t.Errorf("%s: %v", region, plan.Policy.Anchors)
		}
		cfg.Policy.Anchors = []string{"ab"}
		if plan, _ := bootstrap.NewPlan(cfg, netcfg.State{}); !slices.Equal(plan.Policy.Anchors, []string{"ab"}) {
			t.Errorf("%s: %v", region, plan.Policy.Anchors)
		}
	}
}
