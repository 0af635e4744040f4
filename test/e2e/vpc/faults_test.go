package vpc_test

import (
	"maps"
	"slices"
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
	// of joins what several changes show.
	of := func(parts ...map[string]string) map[string]string {
		m := map[string]string{}
		for _, p := range parts {
			maps.Copy(m, p)
		}
		return m
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
	lost["time"], lost["proxy"] = "ENETUNREACH", "ENETUNREACH"
	silent := of(noMetadata("silence"), map[string]string{"time": "silence", "proxy": "silence"})
	for k := range unresolved("") {
		silent[k] = ""
		if strings.HasPrefix(k, "dns ") {
			silent[k] = "silence"
		}
	}
	silent["eth0"] = "down 10.20.1.50/24"
	offline := of(lost, map[string]string{"eth0": "up"})
	every := func(s string, services ...string) map[string]string {
		m := map[string]string{}
		for _, name := range services {
			m[name] = s
		}
		return m
	}
	proxied := of(every("public", "dns ecr.api", "dns ecr.dkr"), every("silence", vpc.ECRAPI, vpc.ECRDKR), map[string]string{"HTTPS_PROXY": "changed", "NO_PROXY": "changed"})
	inUnits := every("there", "/etc/systemd/system/kubelet.service", "/etc/systemd/system/containerd.service",
		"/etc/systemd/system/kubelet.service.d/30-proxy.conf", "/etc/systemd/system/containerd.service.d/30-proxy.conf")
	aws := []string{vpc.EC2, vpc.ECRAPI, vpc.ECRDKR, vpc.S3}
	clock := func(offset, tls string) map[string]string {
		return of(every(tls, append(aws, vpc.APIServer)...), map[string]string{"time": offset, "proxy": "200 " + tls})
	}
	only6 := of(lost, map[string]string{"eth0": "up 2600:1f14:c0:de01::50/64"})
	for k, v := range unresolved("") {
		only6[k] = "ENETUNREACH"
		if strings.HasPrefix(k, "dns ") {
			only6[k] = "169.254.169.253 ENETUNREACH, fd00:ec2::253 " + v[strings.LastIndex(v, " ")+1:]
		}
	}
	customSilent := unresolved("silence")
	for k, v := range customSilent {
		customSilent[k] = strings.ReplaceAll(v, "10.20.0.2 ", "10.20.0.53 ")
	}
	dnsOff, oneDead := map[string]string{}, map[string]string{}
	for k, v := range custom {
		dnsOff[k], oneDead[k] = v, v
		if strings.HasPrefix(k, "dns ") {
			dnsOff[k] = "silence"
			oneDead[k] = "10.20.0.2 private, 10.20.0.53 silence, 169.254.169.253 private"
		}
	}
	oneDead["dns s3"] = strings.ReplaceAll(oneDead["dns s3"], "private", "public")
	// Whoever asks them in turn has no answer in time.
	twoDead := every("", vpc.APIServer, vpc.EC2, vpc.ECRAPI, vpc.ECRDKR, vpc.S3)
	for k, v := range oneDead {
		if strings.HasPrefix(k, "dns ") {
			twoDead[k] = "10.20.0.2 " + v[strings.LastIndex(v, " ")+1:] + ", 10.20.0.53 silence, 169.254.169.253 silence"
		}
	}
	silentAll := map[string]string{vpc.APIServer: "silence", vpc.EC2: "silence", vpc.ECRAPI: "silence", vpc.ECRDKR: "silence", vpc.S3: "silence"}
	noEndpoints := noEndpointsSeen()
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
		"node-egress-drop":  of(silentAll, map[string]string{"proxy": "silence"}),
		"all-public":        allPublic,
		"no-endpoints":      noEndpoints,
		"s3-route":          {vpc.S3: "silence"},
		"apiserver-drop":    {vpc.APIServer: "silence"},
		"apiserver-refused": {vpc.APIServer: "ECONNREFUSED"},
		"endpoints-drop":    {vpc.EC2: "silence", vpc.ECRAPI: "silence", vpc.ECRDKR: "silence"},

		"eni-gone":             {vpc.ECRAPI: "silence"}, // see TestGone
		"one-eni-gone":         {vpc.ECRAPI: "10.20.1.102 silence, 10.20.2.102 ok"},
		"subnet-filtered":      inB("silence"),
		"peering-down":         every("silence", vpc.EC2, vpc.ECRAPI, vpc.ECRDKR),
		"s3-interface-drop":    {vpc.S3: "silence"},
		"apiserver-public":     {"dns apiserver": "public", vpc.APIServer: "silence"},
		"ecr-api-loss":         {}, // see TestLoss
		"ecr-api-other-zone":   {}, // see TestOtherZone
		"two-endpoints-drop":   every("silence", vpc.EC2, vpc.ECRAPI),
		"registry-silent":      {userData: "changed"},
		"mtu-outbound":         {vpc.ECRDKR: "TLS silence"},
		"mtu-ipv6":             {}, // the first address that is tried here is one of IPv4
		"mtu-peering":          every("TLS silence", vpc.EC2, vpc.ECRAPI, vpc.ECRDKR),
		"mtu-inbound":          {vpc.ECRDKR: "TLS silence"},
		"no-carrier":           silent,
		"no-lease":             offline,
		"two-default-routes":   {"eth1": "up 10.20.1.60/24"},
		"blackhole-route":      every("EINVAL", vpc.EC2, vpc.ECRAPI, vpc.ECRDKR),
		"host-firewall-drop":   of(silentAll),
		"host-firewall-reject": every("ECONNREFUSED", append(aws, vpc.APIServer)...),
		"foreign-address":      {},
		"no-ipv6":              {"eth0": "up 10.20.1.50/24"},

		"custom-dns-silent":       customSilent,
		"vpc-dns-off":             dnsOff,
		"no-dns-server":           {"resolv.conf": "changed"},
		"dns-no-route":            unresolved("ENETUNREACH"),
		"dns-notimp":              unresolved("NOTIMP"),
		"ecr-api-nxdomain":        {"dns ecr.api": "NXDOMAIN", vpc.ECRAPI: ""},
		"ecr-api-nxdomain-custom": {"dns ecr.api": "10.20.0.53 NXDOMAIN, 169.254.169.253 private", vpc.ECRAPI: ""},
		"custom-dns-public":       {"dns ecr.api": "10.20.0.53 public, 169.254.169.253 private", vpc.ECRAPI: "silence"},
		"dns-disagree":            {"dns ecr.api": "10.20.0.2 private, 10.20.0.53 public, 169.254.169.253 private"},
		"one-dns-dead":            oneDead,
		"two-dns-dead":            twoDead,
		"search-capture":          {"resolv.conf": "changed"},
		"hosts-apiserver":         {"hosts": "changed"},
		"resolver-tcp":            {"resolv.conf": "changed"},
		"hosts-ecr-api":           {"hosts": "changed"},
		"dns-sinkhole":            {"dns ecr.api": "public", vpc.ECRAPI: "ECONNREFUSED"},
		"dns-tcp-blocked":         {"dns ecr.api": "NODATA", vpc.ECRAPI: ""}, // see TestTruncated
		"dns-silent":              unresolved("silence"),
		"dns-port-closed":         unresolved("ECONNREFUSED"),
		"dns-refused":             unresolved("REFUSED"),
		"dns-servfail":            unresolved("SERVFAIL"),
		"dns-nxdomain-all":        custom,
		"apiserver-nxdomain":      {"dns apiserver": "NXDOMAIN", vpc.APIServer: ""},
		"apiserver-nxdomain-custom": {
			"dns apiserver": "10.20.0.53 NXDOMAIN, 169.254.169.253 private", vpc.APIServer: "",
		},
		"ecr-api-public": {"dns ecr.api": "public", vpc.ECRAPI: "silence"},
		"nodata":         {"dns ecr.api": "NODATA", vpc.ECRAPI: ""},

		"wrong-ca":   {vpc.APIServer: "unknown authority"},
		"wrong-name": {vpc.EC2: "wrong host", "proxy": "200 wrong host"},
		"expired":    {vpc.APIServer: "expired"},
		"plain-http": {vpc.ECRAPI: "not TLS: HTTP/"},
		"tls-stall":  {vpc.ECRDKR: "TLS silence"},

		"expired-aws":           {vpc.EC2: "expired", "proxy": "200 expired"},
		"intercepted":           of(every("unknown authority", aws...), map[string]string{"proxy": "200 unknown authority"}),
		"intercepted-apiserver": {vpc.APIServer: "unknown authority"},
		"intercepted-trusted":   {"roots.pem": "changed"},
		"no-amazon-roots":       of(every("unknown authority", aws...), map[string]string{"proxy": "200 unknown authority", "roots.pem": "changed"}),
		"client-certificate":    {vpc.APIServer: "HTTP remote error: tls: certificate required"},
		"client-usage":          {vpc.EC2: "invalid", "proxy": "200 invalid"},
		"sni-silent":            {vpc.ECRAPI: "TLS silence"},
		"sni-reset":             {vpc.ECRAPI: "ECONNRESET"},
		"sni-alert":             {vpc.ECRAPI: "remote error: tls: unrecognized name"},
		"tls-reset":             {vpc.ECRDKR: "ECONNRESET"},
		"tls-version":           {vpc.EC2: "remote error: tls: protocol version not supported", "proxy": "200 remote error: tls: protocol version not supported"},
		"tls-cipher":            {vpc.EC2: "remote error: tls: handshake failure", "proxy": "200 remote error: tls: handshake failure"},
		"large-hello":           {vpc.ECRAPI: "TLS silence"},

		"clock-behind":  clock("3h0m0s", "expired"),
		"clock-ahead":   clock("-48h0m0s", "expired"),
		"clock-off-90s": {"time": "1m30s"},
		"clock-off-10m": {"time": "10m0s"},

		"proxy-fine":                of(proxied),
		"proxy-silent":              of(proxied, map[string]string{"proxy": "silence"}),
		"proxy-refused":             of(proxied, map[string]string{"proxy": "ECONNREFUSED"}),
		"proxy-unknown":             of(proxied),
		"proxy-stall":               of(proxied, map[string]string{"proxy": "HTTP silence"}),
		"proxy-407":                 of(proxied, map[string]string{"proxy": "407"}),
		"proxy-denied":              of(proxied, map[string]string{"proxy": "403"}),
		"proxy-502":                 of(proxied, map[string]string{"proxy": "502"}),
		"no-proxy-misses":           {"proxy": "502", "HTTPS_PROXY": "changed", "NO_PROXY": "changed"},
		"no-proxy-misses-apiserver": {"proxy": "403", "HTTPS_PROXY": "changed", "NO_PROXY": "changed"},
		"no-proxy-cidr":             {"proxy": "502", "HTTPS_PROXY": "changed", "NO_PROXY": "changed"},
		"proxy-bad-value":           {"HTTPS_PROXY": "changed", "NO_PROXY": "changed"},
		"proxy-case":                of(proxied, map[string]string{"https_proxy": "changed"}),
		"no-proxy-url":              of(inUnits, map[string]string{"HTTPS_PROXY": "changed", "NO_PROXY": "changed"}),
		"no-proxy-cidr-idle":        of(inUnits, map[string]string{"HTTPS_PROXY": "changed", "NO_PROXY": "changed"}),
		"proxy-units-differ": {
			"/etc/systemd/system/kubelet.service": "there", "/etc/systemd/system/containerd.service": "there",
			"/etc/systemd/system/kubelet.service.d/30-proxy.conf": "there",
		},

		"loosened":             {userData: "changed", "/usr/lib/nodeprep/conf.d/10-ami.yaml": "there"},
		"waiver-over":          {userData: "changed"},
		"public-name":          {"dns ec2": "public", userData: "changed"},
		"small-subnet":         {},
		"service-cidr-vpc":     {userData: "changed"},
		"service-cidr-used":    {userData: "changed"},
		"service-cidr-peering": {userData: "changed"},

		"apiserver-mute":   {vpc.APIServer: "HTTP silence"},
		"apiserver-html":   {vpc.APIServer: "404 text/html"},
		"apiserver-portal": {vpc.APIServer: "200 text/html"},
		"apiserver-busy":   {vpc.APIServer: "429 text/plain"},
		"apiserver-401":    {}, // see TestRegister
		"anonymous-401":    {vpc.APIServer: "401 application/json"},
		"anonymous-403":    {vpc.APIServer: "403 application/json"},
		"aws-apis-silent":  {}, // see TestAWSAPIsSilent

		"imds-hop-limit":      noMetadata("silence"),
		"imds-ipv6-off":       only6,
		"imds-no-tokens":      noMetadata("404"),
		"imds-proxy":          noMetadata("403"),
		"role-untrusted":      {},
		"credentials-expired": {},
		"no-local-ipv4":       {hostname: "i-0123456789abcdef0.us-west-2.compute.internal"},
		"unknown-type":        {},
		"imds-refused":        noMetadata("ECONNREFUSED"),
		"imds-unroutable":     noMetadata("EACCES"),
		"imds-drop":           noMetadata("silence"),
		"imds-off":            noMetadata("403"),
		"imds-503":            noMetadata("503"),
		"imds-late":           noMetadata("silence"), // see TestLate
		"imds-slow":           {},                    // see TestDelays
		"imds-no-hostname":    {hostname: "404"},
		"no-role":             {role: "404"},

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
				"dns ec2": "private", "ec2": "ok", "time": "0s", "s3": "ok", "apiserver": "200 text/plain ok",
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
			for k, s := range got {
				if k == "user-data" && strings.HasPrefix(s, "---\n") || s != "" && slices.Contains([]string{
					"resolv.conf", "hosts", "roots.pem", "HTTPS_PROXY", "NO_PROXY", "https_proxy",
				}, k) {
					got[k] = "changed"
				}
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

// noEndpointsSeen is what a VPC without interface endpoints shows.
func noEndpointsSeen() map[string]string {
	return map[string]string{
		"dns ec2": "public", "dns ecr.api": "public", "dns ecr.dkr": "public",
		vpc.EC2: "silence", vpc.ECRAPI: "silence", vpc.ECRDKR: "silence",
	}
}

// inB is what services show whose second address alone fails.
func inB(why string) map[string]string {
	m := map[string]string{}
	for s, last := range map[string]string{vpc.APIServer: "180", vpc.EC2: "101", vpc.ECRAPI: "102", vpc.ECRDKR: "103"} {
		fine := "ok"
		if s == vpc.APIServer {
			fine = "200 text/plain ok"
		}
		m[s] = "10.20.1." + last + " " + fine + ", 10.20.2." + last + " " + why
	}
	return m
}

func TestFaultNames(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, f := range vpc.Faults() {
		if names[f.Name] || f.Title == "" {
			t.Errorf("fault %q: no title, or the second one of this name", f.Name)
		}
		names[f.Name] = true
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
