package bootstrap_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// nameVariants are the kinds of names by their key in testdata/endpoints.json.
var nameVariants = []struct {
	key             string
	fips, dualStack bool
}{{"standard", false, false}, {"dualstack", false, true}, {"fips", true, false}, {"fips_dualstack", true, true}}

// TestServiceHostOfEveryRegion compares the rules with the evaluated rule sets of the
// SDKs, for every service in every region.
func TestServiceHostOfEveryRegion(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/endpoints.json")
	if err != nil {
		t.Fatal(err)
	}
	var facts struct {
		Services map[string]struct{ Hosts map[string]map[string]string }
	}
	if err := json.Unmarshal(data, &facts); err != nil {
		t.Fatal(err)
	}
	deployed := []string{"aws", "aws-cn", "aws-us-gov", "aws-eusc"} // with dual-stack names
	checked := 0
	for _, p := range readPartitionFacts(t).Partitions {
		for _, region := range p.Regions {
			for _, service := range bootstrap.ServiceNames() {
				hosts := facts.Services[service].Hosts[p.ID]
				if hosts == nil {
					t.Fatalf("no facts of %s in %s", service, p.ID)
				}
				for _, v := range nameVariants {
					want, ok := hosts[v.key]
					dual := v.dualStack || service == "eks-auth"
					switch {
					case strings.HasSuffix(service, "messages"):
						want = hosts["standard"] // its one name
					case service == "eks-auth" && v.dualStack:
						want = hosts[strings.TrimSuffix(strings.Replace(v.key, "dualstack", "standard", 1), "_standard")]
					case !ok && want != "":
						t.Errorf("%s in %s has no %s", service, p.ID, v.key)
					}
					if dual && !slices.Contains(deployed, p.ID) && service != "s3" && !strings.HasSuffix(service, "messages") {
						want = "" // a suffix without deployed names
					}
					want = strings.NewReplacer("{region}", region, "{account}", "012345678901").Replace(want)
					if service == "s3" && want != "" {
						want = "prod-" + region + "-starport-layer-bucket." + want
					}
					if got := bootstrap.ServiceHost(region, "012345678901", service, v.fips, v.dualStack); got != want {
						t.Errorf("%s %s %s: %q, want %q", region, service, v.key, got, want)
					}
					checked++
				}
			}
		}
	}
	if checked < 3000 {
		t.Errorf("only %d names", checked)
	}
}

// TestServiceHostGolden shows all names of one region per partition.
func TestServiceHostGolden(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	for _, p := range readPartitionFacts(t).Partitions {
		region := slices.Min(p.Regions)
		if p.ID == "aws" {
			region = "us-west-2"
		}
		fmt.Fprintf(&out, "%s %s\n", p.ID, region)
		for _, service := range bootstrap.ServiceNames() {
			fmt.Fprintf(&out, "  %s\n", service)
			for _, v := range nameVariants {
				mark := ""
				if !bootstrap.Offered(region, service, v.fips, v.dualStack) {
					mark = " (not listed)"
				}
				fmt.Fprintf(&out, "    %-14s %s%s\n", v.key, cmp.Or(bootstrap.ServiceHost(region, "012345678901", service, v.fips, v.dualStack), "-"), mark)
			}
		}
	}
	comparePlanGolden(t, "names.txt", out.String())
}

// FIPS names are listed in some regions only (botocore's endpoints.json).
func TestOffered(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		region, service string
		fips, dual      bool
		want            bool
	}{
		{"us-west-2", "ec2", true, false, true},
		{"ca-central-1", "ec2", true, false, true},
		{"ca-central-1", "ecr.api", true, false, false},
		{"eu-west-1", "ec2", true, false, false},
		{"eu-west-1", "kms", true, false, true},
		{"eu-west-1", "xray", true, false, true}, // not known
		{"us-gov-west-1", "sqs", true, false, true},
		{"cn-north-1", "ec2", true, false, false},
		{"cn-north-1", "ec2", false, true, true},
		{"us-iso-east-1", "ec2", false, true, false},
		{"us-iso-east-1", "ec2", false, false, true},
		{"eusc-de-east-1", "sts", true, false, false},
	} {
		if got := bootstrap.Offered(test.region, test.service, test.fips, test.dual); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}
