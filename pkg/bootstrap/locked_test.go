package bootstrap_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// TestLocked sets fields in the image, which locks them, and in a file of this machine.
func TestLocked(t *testing.T) {
	t.Parallel()
	const proxy = "{name: proxy, host: proxy.example, port: 3128, role: ready, tls: false}"
	for _, c := range []struct {
		image, later string // spec without braces
		refused      string // path, empty for none
	}{
		{"locked: [mode]", "mode: strict", ""},
		{"locked: [mode]", "mode: quorum", ""},
		{"locked: [mode]", "mode: observe", "spec.mode"},
		{"locked: [mode], mode: observe", "mode: quorum", ""},
		{"locked: [mode], mode: strict", "mode: quorum", "spec.mode"},
		{"locked: [giveUpAfter], mode: strict", "mode: quorum", ""},
		{"mode: strict", "mode: observe", ""},
		{"locked: [privateOnly], privateOnly: true", "privateOnly: false", "spec.privateOnly"},
		{"locked: [privateOnly], privateOnly: true", "privateOnly: true", ""},
		{"locked: [privateOnly]", "privateOnly: true", ""},
		{"locked: [needs]", "needs: [image-pull, vpc-cni, kms]", ""},
		{"locked: [needs]", "needs: [image-pull]", "spec.needs"},
		{"locked: [needs]", "needs: []", "spec.needs"},
		{"locked: [needs], needs: []", "needs: [kms]", ""},
		{"locked: [needs]", "cni: other", "spec.cni"},
		{"locked: [cni], cni: other", "cni: vpc-cni", ""},
		{"locked: [cni]", "needs: [kms]", ""},
		{"locked: [endpoints], endpoints: [" + proxy + "]", "endpoints: [{name: a, host: a.example, role: ready}]", "spec.endpoints"},
		{"locked: [endpoints], endpoints: [" + proxy + "]", "endpoints: [" + proxy + ", {name: a, host: a.example, role: ready}]", ""},
		{"locked: [endpoints], endpoints: [" + proxy + "]", "endpoints: [" + strings.Replace(proxy, "ready", "gate", 1) + "]", ""},
		{"locked: [endpoints], endpoints: [" + proxy + "]", "endpoints: [" + strings.Replace(proxy, "ready", "optional", 1) + "]", "spec.endpoints"},
		{"locked: [endpoints], endpoints: [" + proxy + "]", "endpoints: [" + strings.Replace(proxy, "proxy.example", "x.example", 1) + "]", "spec.endpoints"},
		{"locked: [endpoints], endpoints: [{name: a, host: a.example, role: ready, port: 443}]", "endpoints: [{name: a, host: a.example, role: ready, tls: true}]", ""},
		{"locked: [endpoints]", "endpoints: [" + proxy + "]", ""},
		{"locked: [hosts], hosts: {ec2: a.example}", "hosts: {ec2: a.example}", ""},
		{"locked: [hosts], hosts: {ec2: a.example}", "hosts: {ec2: b.example}", "spec.hosts"},
		{"locked: [hosts]", "hosts: {ec2: b.example}", "spec.hosts"},
		{"locked: [names.fips]", "names: {fips: always, dualStack: always}", ""},
		{"locked: [names.fips], names: {fips: true}", "names: {fips: auto}", "spec.names.fips"},
		{"locked: [names]", "names: {dualStack: always}", "spec.names.dualStack"},
		{"locked: [enforce]", "enforce: [NP-DNS]", "spec.enforce"},
		{"locked: [enforce], enforce: [DNS-102]", "enforce: [NP-DNS]", ""},
		{"locked: [enforce], enforce: [NP-DNS]", "enforce: [DNS-102]", "spec.enforce"},
		{"locked: [enforce], enforce: [NP-DNS]", "enforce: [NET, dns]", ""},
		{"locked: [waive]", "waive: [{code: NP-DNS-114, reason: r}]", "spec.waive"},
		{"locked: [waive], waive: [{code: NP-DNS-114, reason: r}]", "waive: [{code: DNS-114, reason: other, until: 2099-01-31}]", ""},
		{"locked: [waive], waive: [{code: NP-DNS-114, reason: r, until: 2098-01-31}]", "waive: [{code: DNS-114, reason: r, until: 2099-01-31}]", "spec.waive"},
		{"locked: [assumedHold]", "assumedHold: 10m", "spec.assumedHold"},
		{"locked: [assumedHold], assumedHold: 600s", "assumedHold: 10m", ""},
		{"locked: [rejoinHold]", "rejoinHold: forever", ""},
		{"locked: [rejoinHold]", "rejoinHold: 119s", "spec.rejoinHold"},
		{"locked: [giveUpAfter]", "giveUpAfter: 5m", "spec.giveUpAfter"},
		{"locked: [giveUpAfter], giveUpAfter: 1h", "giveUpAfter: 1h", ""},
		{"locked: [experiments]", "experiments: {directPath: off, compareDNS: off, ntp: false, secondSNI: false, smallHello: false, mssClamp: false, udpTest: false}", ""},
		{"locked: [experiments], experiments: {directPath: off}", "experiments: {directPath: private}", "spec.experiments.directPath"},
		{"locked: [experiments.compareDNS]", "experiments: {compareDNS: all}", "spec.experiments.compareDNS"},
		{"locked: [experiments.ntp], experiments: {ntp: false}", "experiments: {ntp: true}", "spec.experiments.ntp"},
		{"locked: [experiments.ntp], experiments: {ntp: false, udpTest: false}", "experiments: {udpTest: true}", ""},
		{"", "locked: [mode]", "spec.locked"},
		{"", "anchors: [" + strings.Repeat("a", 64) + "]", "spec.anchors"},
		{"", "locked: []", ""},
	} {
		prep := func(spec string) []byte {
			return []byte("apiVersion: nodeprep.io/v1alpha1\nkind: PrepConfig\nspec: {" + spec + "}\n")
		}
		cfg, problems := bootstrap.ReadConfig([]bootstrap.Source{
			{Name: "/usr/lib/nodeprep/conf.d/10.yaml", Data: prep(c.image)},
			{Name: "user data", UserData: true, Data: []byte(validNodeConfig(t, ""))},
			{Name: "/etc/nodeprep/conf.d/10.yaml", Data: prep(c.later)},
		}, bootstrap.Instance{}, testMachine())
		var refused []string
		for _, p := range problems {
			refused = append(refused, p.Path)
			if p.Code != bootstrap.CFG110 || p.Warning || p.Origin != "/etc/nodeprep/conf.d/10.yaml, line 3" {
				t.Errorf("%+v", p)
			}
			if c.image != "" && !strings.Contains(p.Message, "/usr/lib/nodeprep/conf.d/10.yaml, line 3") {
				t.Errorf("the image's place is not named: %s", p.Message)
			}
		}
		if got := strings.Join(refused, " "); got != c.refused {
			t.Errorf("%s | %s: refused %q, want %q", c.image, c.later, got, c.refused)
		}
		if c.refused == "" {
			continue
		}
		// What is refused has no effect.
		alone, _ := bootstrap.ReadConfig([]bootstrap.Source{
			{Name: "/usr/lib/nodeprep/conf.d/10.yaml", Data: prep(c.image)},
			{Name: "user data", UserData: true, Data: []byte(validNodeConfig(t, ""))},
		}, bootstrap.Instance{}, testMachine())
		if fmt.Sprint(cfg.Policy) != fmt.Sprint(alone.Policy) {
			t.Errorf("%s | %s: %+v", c.image, c.later, cfg.Policy)
		}
	}
}

// A user-data source is never the image's, whatever it is called: --config names a file.
func TestLockedByUserData(t *testing.T) {
	t.Parallel()
	data := validNodeConfig(t, "---\napiVersion: nodeprep.io/v1alpha1\nkind: PrepConfig\nspec: {locked: [mode]}\n")
	_, problems := bootstrap.ReadConfig([]bootstrap.Source{{Name: "/usr/lib/nodeprep/conf.d/10.yaml", UserData: true, Data: []byte(data)}}, bootstrap.Instance{}, testMachine())
	if len(problems) != 1 || problems[0].Code != bootstrap.CFG110 {
		t.Errorf("%+v", problems)
	}
}
