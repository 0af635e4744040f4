package vpc_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// seen is what differs on the node while each fault is there. Everything that
// is not listed must be as in a healthy VPC.
func seen() map[string]map[string]string {
	const region, role, userData = "meta-data/placement/region", "meta-data/iam/security-credentials/", "user-data"
	const hostname = "meta-data/local-hostname"
	noMetadata := func(why string) map[string]string {
		return map[string]string{region: why, hostname: why, role: why, userData: why}
	}
	unresolved := func(why string) map[string]string {
		m := map[string]string{}
		for _, s := range []string{vpc.APIServer, vpc.EC2, vpc.ECRAPI, vpc.ECRDKR, vpc.S3} {
			m["dns "+s] = "10.20.0.2 " + why + ", 169.254.169.253 private"
			m[s] = ""
		}
		m["dns s3"] = "10.20.0.2 " + why + ", 169.254.169.253 public"
		return m
	}
	custom := unresolved("NXDOMAIN")
	for k, v := range custom {
		custom[k] = strings.ReplaceAll(v, "10.20.0.2 ", "10.20.0.53 ")
	}
	lost := unresolved("ENETUNREACH")
	for k := range lost {
		if strings.HasPrefix(k, "dns ") {
			lost[k] = "ENETUNREACH"
		}
	}
	maps.Copy(lost, noMetadata("ENETUNREACH"))
	silentAll := map[string]string{vpc.APIServer: "silence", vpc.EC2: "silence", vpc.ECRAPI: "silence", vpc.ECRDKR: "silence", vpc.S3: "silence"}
	noEndpoints := map[string]string{
		"dns ec2": "public", "dns ecr.api": "public", "dns ecr.dkr": "public",
		vpc.EC2: "silence", vpc.ECRAPI: "silence", vpc.ECRDKR: "silence",
	}
	allPublic := maps.Clone(noEndpoints)
	maps.Copy(allPublic, map[string]string{"dns apiserver": "public", vpc.APIServer: "silence"})
	return map[string]map[string]string{
		"no-default-route":  lost,
		"ecr-api-no-route":  {vpc.ECRAPI: "ENETUNREACH"},
		"ecr-api-icmp":      {vpc.ECRAPI: "EHOSTUNREACH"},
		"ecr-api-rst":       {vpc.ECRAPI: "ECONNREFUSED"},
		"ecr-api-drop":      {vpc.ECRAPI: "silence"},
		"ecr-dkr-drop":      {vpc.ECRDKR: "silence"},
		"ec2-drop":          {vpc.EC2: "silence"},
		"ecr-api-one-az":    {vpc.ECRAPI: "10.20.1.102 ok, 10.20.2.102 silence"},
		"node-egress-drop":  silentAll,
		"all-public":        allPublic,
		"no-endpoints":      noEndpoints,
		"s3-route":          {vpc.S3: "silence"},
		"apiserver-drop":    {vpc.APIServer: "silence"},
		"apiserver-refused": {vpc.APIServer: "ECONNREFUSED"},
		"endpoints-drop":    {vpc.EC2: "silence", vpc.ECRAPI: "silence", vpc.ECRDKR: "silence"},

		"dns-silent":         unresolved("silence"),
		"dns-port-closed":    unresolved("ECONNREFUSED"),
		"dns-refused":        unresolved("REFUSED"),
		"dns-servfail":       unresolved("SERVFAIL"),
		"dns-nxdomain-all":   custom,
		"apiserver-nxdomain": {"dns apiserver": "NXDOMAIN", vpc.APIServer: ""},
		"apiserver-nxdomain-custom": {
			"dns apiserver": "10.20.0.53 NXDOMAIN, 169.254.169.253 private", vpc.APIServer: "",
		},
		"ecr-api-public": {"dns ecr.api": "public", vpc.ECRAPI: "silence"},
		"nodata":         {"dns ecr.api": "NODATA", vpc.ECRAPI: ""},

		"wrong-ca":   {vpc.APIServer: "unknown authority"},
		"wrong-name": {vpc.EC2: "wrong host"},
		"expired":    {vpc.APIServer: "expired"},
		"plain-http": {vpc.ECRAPI: "not TLS: HTTP/"},
		"tls-stall":  {vpc.ECRDKR: "TLS silence"},

		"apiserver-html":   {vpc.APIServer: "404 text/html"},
		"apiserver-portal": {vpc.APIServer: "200 text/html"},
		"apiserver-busy":   {vpc.APIServer: "429 text/plain"},
		"apiserver-401":    {}, // see TestRegister
		"anonymous-401":    {vpc.APIServer: "401 application/json"},
		"anonymous-403":    {vpc.APIServer: "403 application/json"},
		"aws-apis-silent":  {}, // see TestAWSAPIsSilent

		"imds-refused":     noMetadata("ECONNREFUSED"),
		"imds-unroutable":  noMetadata("EACCES"),
		"imds-drop":        noMetadata("silence"),
		"imds-off":         noMetadata("403"),
		"imds-503":         noMetadata("503"),
		"imds-late":        noMetadata("silence"), // see TestLate
		"imds-slow":        {},                    // see TestDelays
		"imds-no-hostname": {hostname: "404"},
		"no-role":          {role: "404"},

		"no-userdata":    {userData: "404"},
		"bad-userdata":   {userData: "changed"},
		"missing-field":  {userData: "changed"},
		"bad-endpoint":   {userData: "changed"},
		"bad-ca":         {userData: "changed"},
		"bad-cidr":       {userData: "changed"},
		"other-region":   {userData: "changed"},
		"unknown-region": {userData: "changed", region: "lunar-base-1"},
		"unknown-key":    {userData: "changed"},
	}
}

// Each fault shows its symptom and no other, and goes when it is removed.
func TestFaults(t *testing.T) {
	t.Parallel()
	want := seen()
	for _, f := range vpc.Faults() {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			v := newVPC(t, f.Options(vpc.Options{}))
			healthy := look(t, v)
			for k, s := range map[string]string{
				"dns ec2": "private", "dns s3": "public", "ec2": "ok", "s3": "ok", "apiserver": "200 text/plain ok",
				"user-data": string(v.NodeConfig()),
			} {
				if healthy[k] != s {
					t.Fatalf("healthy VPC: %s is %q, want %q", k, healthy[k], s)
				}
			}
			remove, err := v.Inject(f.Name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := v.Inject(f.Name); err == nil {
				t.Error("the same fault could be injected twice")
			}
			got := map[string]string{}
			for k, s := range look(t, v) {
				if s != healthy[k] {
					got[k] = s
				}
			}
			if strings.HasPrefix(got["user-data"], "---\n") {
				got["user-data"] = "changed"
			}
			if diff := cmp.Diff(want[f.Name], got); diff != "" {
				t.Errorf("seen from the node (-want +got):\n%s", diff)
			}
			if err := remove(); err != nil {
				t.Fatal(err)
			}
			if err := remove(); err != nil {
				t.Errorf("second removal: %v", err)
			}
			if diff := cmp.Diff(healthy, look(t, v)); diff != "" {
				t.Errorf("after removal (-healthy +now):\n%s", diff)
			}
		})
	}
	for name := range want {
		if _, ok := vpc.FaultNamed(name); !ok {
			t.Errorf("there is no fault %s", name)
		}
	}
}

// Every code that the first version must name has a fault here.
func TestFaultCodes(t *testing.T) {
	t.Parallel()
	first := map[string]bool{} // code of the first version: seen here
	for c := range strings.FieldsSeq(`CFG-101 CFG-102 CFG-103 CFG-104 CFG-105 CFG-106 CFG-107 CFG-108 CFG-109
		LNK-104 IMD-101 IMD-102 IMD-104 CRD-101 DNS-102 DNS-103 DNS-105 DNS-106 DNS-107 DNS-108 DNS-109 DNS-111 DNS-119
		NET-101 NET-102 NET-104 NET-105 NET-108 NET-109 NET-112 NET-114 NET-120
		TLS-101 TLS-103 TLS-104 TLS-107 TLS-109 API-101 API-102`) {
		first["NP-"+c] = false
	}
	names := map[string]bool{}
	for _, f := range vpc.Faults() {
		if names[f.Name] || f.Title == "" {
			t.Errorf("fault %q: no title, or the second one of this name", f.Name)
		}
		names[f.Name] = true
		if _, ok := first[f.Code]; f.Code != "" && ok == f.Later {
			t.Errorf("fault %s: code %s, Later %v", f.Name, f.Code, f.Later)
		}
		first[f.Code] = true
	}
	for c, found := range first {
		if !found {
			t.Errorf("no fault for %s", c)
		}
	}
}

func TestInjectRefuses(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{})
	for _, name := range []string{"no-such-fault", "dns-nxdomain-all"} {
		if _, err := v.Inject(name); err == nil {
			t.Errorf("%s was injected", name)
		}
	}
}
