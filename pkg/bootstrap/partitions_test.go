package bootstrap_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
)

// partitionFacts is an extract of the sources that partitions.go names.
type partitionFacts struct {
	Partitions []struct {
		ID             string
		Pattern        string
		DNSSuffix      string
		Regions        []string
		EndpointPrefix map[string]any
	}
	ImageAccounts map[string]string
}

func readPartitionFacts(t *testing.T) partitionFacts {
	t.Helper()
	data, err := os.ReadFile("testdata/partitions.json")
	if err != nil {
		t.Fatal(err)
	}
	var facts partitionFacts
	if err := json.Unmarshal(data, &facts); err != nil {
		t.Fatal(err)
	}
	if len(facts.Partitions) != 8 || len(facts.ImageAccounts) != 46 {
		t.Fatalf("%d partitions, %d accounts: not the facts", len(facts.Partitions), len(facts.ImageAccounts))
	}
	return facts
}

func TestPartitionOfEveryRegion(t *testing.T) {
	t.Parallel()
	for _, want := range readPartitionFacts(t).Partitions {
		for _, region := range want.Regions {
			got, ok := bootstrap.PartitionOf(region)
			if !ok || got.ID != want.ID || got.DNSSuffix != want.DNSSuffix {
				t.Errorf("%s: %s %s %v, want %s %s", region, got.ID, got.DNSSuffix, ok, want.ID, want.DNSSuffix)
			}
			for prefix, services := range want.EndpointPrefix {
				names := []string{"logs"} // plain everywhere
				if list, own := services.([]any); own {
					names = nil
					for _, s := range list {
						names = append(names, s.(string)) //nolint:errcheck // the facts are a list of names
					}
				}
				for _, name := range names {
					if got, want := got.EndpointService(region, name), prefix+"."+region+"."+name; got != want && prefix != "default" {
						t.Errorf("%s %s: endpoint service %s, want %s", region, name, got, want)
					}
				}
			}
			if got := got.EndpointService(region, "logs"); got != "com.amazonaws."+region+".logs" {
				t.Errorf("%s: endpoint service %s", region, got)
			}
		}
	}
}

// The matcher is written by hand; it agrees with the patterns on regions that
// exist, on new ones and on what is none.
func TestPartitionOfPattern(t *testing.T) {
	t.Parallel()
	facts := readPartitionFacts(t)
	regions := []string{
		"", "us", "us-", "us-west", "us-west-", "us-west-2a", "us-west-2-lax-1", "us-gov", "us-gov-south-9", "us-gov-1",
		"eu-isoe-east-2", "eu-isoe-1", "us-isob-north-1", "us-iso-1", "cn-south-1", "cn--1", "cn-ü-1", "xx-west-1", "US-west-2",
		"eusc-de-west-2", "eusc-fr-west-1", "mx-a_B9-12", "il-central-x", "us-isof-1", "aws-global", "us-west-2 ",
	}
	for _, p := range facts.Partitions {
		regions = append(regions, p.Regions...)
	}
	for _, region := range regions {
		want := ""
		for _, p := range facts.Partitions {
			if regexp.MustCompile(p.Pattern).MatchString(region) {
				want = p.ID
				break
			}
		}
		got, ok := bootstrap.PartitionOf(region)
		if got.ID != want || ok != (want != "") {
			t.Errorf("%q: %q %v, want %q", region, got.ID, ok, want)
		}
	}
}

// The token of a region that nodeprep does not know must name some host of STS.
func TestSTSHost(t *testing.T) {
	t.Parallel()
	for region, want := range map[string]string{
		"us-west-2": "sts.us-west-2.amazonaws.com", "us-gov-west-1": "sts.us-gov-west-1.amazonaws.com",
		"cn-north-1": "sts.cn-north-1.amazonaws.com.cn", "us-iso-east-1": "sts.us-iso-east-1.c2s.ic.gov",
		"moon-1": "sts.moon-1.amazonaws.com",
	} {
		if got := bootstrap.STSHost(region); got != want {
			t.Errorf("%s: %s, want %s", region, got, want)
		}
	}
}

func TestImageAccountOfEveryRegion(t *testing.T) {
	t.Parallel()
	for region, account := range readPartitionFacts(t).ImageAccounts {
		cfg := config()
		cfg.Instance.Region = region
		cfg.Instance.DNSSuffix = ""
		plan, problems := bootstrap.NewPlan(cfg, netcfg.State{})
		if len(problems) > 0 {
			t.Errorf("%s: %v", region, problems)
		}
		target, ok := plan.Target("ecr.dkr")
		if !ok || !strings.HasPrefix(target.Host, account+".dkr.ecr."+region+".") {
			t.Errorf("%s: registry %s, want account %s", region, target.Host, account)
		}
	}
}

func TestRegionsWithoutRule(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		region, suffix string
		dkr            string // empty: no AWS targets
		warning        bool
	}{
		"new region of a partition": {"eu-north-7", "amazonaws.com", "602401143452.dkr.ecr.eu-north-7.amazonaws.com", true},
		"new region of China":       {"cn-south-1", "amazonaws.com.cn", "961992271922.dkr.ecr.cn-south-1.amazonaws.com.cn", true},
		"suffix differs":            {"us-west-2", "example.test", "602401143452.dkr.ecr.us-west-2.amazonaws.com", true},
		"no pattern, a suffix":      {"moon-1", "aws.moon", "602401143452.dkr.ecr.moon-1.aws.moon", true},
		"no pattern, no suffix":     {"moon-1", "", "", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config()
			cfg.Instance.Region, cfg.Instance.DNSSuffix = c.region, c.suffix
			plan, problems := bootstrap.NewPlan(cfg, netcfg.State{})
			if len(problems) != 1 || problems[0].Code != "NP-CFG-108" || problems[0].Warning != c.warning {
				t.Fatalf("problems %+v, want one NP-CFG-108, warning %v", problems, c.warning)
			}
			target, ok := plan.Target("ecr.dkr")
			if target.Host != c.dkr || ok != (c.dkr != "") {
				t.Errorf("registry %q, want %q", target.Host, c.dkr)
			}
			if (len(plan.Files) > 0) != c.warning {
				t.Errorf("%d files", len(plan.Files))
			}
		})
	}
}
