package bootstrap_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

func TestNewEnvironment(t *testing.T) {
	t.Parallel()
	type vars map[string]string
	for name, c := range map[string]struct {
		vars vars
		want bootstrap.Environment
	}{
		"none":   {vars{}, bootstrap.Environment{}},
		"others": {vars{"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "x", "ALL_PROXY": "http://p", "ftp_proxy": "http://p"}, bootstrap.Environment{}},
		"upper case": {
			vars{"HTTPS_PROXY": "http://p:3128", "HTTP_PROXY": "http://q", "NO_PROXY": "10.0.0.0/8,.internal"},
			bootstrap.Environment{HTTPSProxy: "http://p:3128", HTTPProxy: "http://q", NoProxy: "10.0.0.0/8,.internal"},
		},
		"equal in both cases": {
			vars{"HTTPS_PROXY": "http://p", "https_proxy": "http://p", "NO_PROXY": "a", "no_proxy": "a", "http_proxy": ""},
			bootstrap.Environment{HTTPSProxy: "http://p", NoProxy: "a"},
		},
		"one of them in lower case too": {
			vars{"HTTPS_PROXY": "http://p", "https_proxy": "http://p", "NO_PROXY": "a"},
			bootstrap.Environment{HTTPSProxy: "http://p", NoProxy: "a"},
		},
		"lower case alone": {
			vars{"https_proxy": "http://p", "no_proxy": "a"},
			bootstrap.Environment{Lower: &bootstrap.Environment{HTTPSProxy: "http://p", NoProxy: "a"}},
		},
		"different": {
			vars{"HTTPS_PROXY": "http://p", "NO_PROXY": "a", "no_proxy": "b"},
			bootstrap.Environment{HTTPSProxy: "http://p", NoProxy: "a", Lower: &bootstrap.Environment{NoProxy: "b"}},
		},
		"HTTP different": {
			vars{"HTTP_PROXY": "http://p", "http_proxy": "http://q"},
			bootstrap.Environment{HTTPProxy: "http://p", Lower: &bootstrap.Environment{HTTPProxy: "http://q"}},
		},
		"variants":     {vars{"AWS_USE_FIPS_ENDPOINT": "TRUE", "AWS_USE_DUALSTACK_ENDPOINT": "true"}, bootstrap.Environment{FIPS: true, DualStack: true}},
		"no variants":  {vars{"AWS_USE_FIPS_ENDPOINT": "1", "AWS_USE_DUALSTACK_ENDPOINT": "false"}, bootstrap.Environment{}},
		"dual only":    {vars{"AWS_USE_DUALSTACK_ENDPOINT": "true"}, bootstrap.Environment{DualStack: true}},
		"no endpoints": {vars{"AWS_ENDPOINT_URL_": "https://x", "AWS_ENDPOINT_URLS": "https://x", "AWS_ENDPOINT_URL_EC2": "", "AWS_ENDPOINT_URL_STS": "https://a b:x"}, bootstrap.Environment{}},
		"endpoints": {
			vars{"AWS_ENDPOINT_URL": "https://all.example", "AWS_ENDPOINT_URL_EC2": "https://user:secret@vpce-1.example:8443/x", "AWS_ENDPOINT_URL_AUTO_SCALING": "https://a.example"},
			bootstrap.Environment{Endpoints: map[string]string{"": "https://all.example", "EC2": "https://vpce-1.example:8443/x", "AUTO_SCALING": "https://a.example"}},
		},
		"endpoints ignored": {
			vars{"AWS_ENDPOINT_URL": "https://all.example", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "True"},
			bootstrap.Environment{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.want.Unit = "kubelet.service"
			if diff := cmp.Diff(c.want, bootstrap.NewEnvironment("kubelet.service", c.vars)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// No password of a proxy shows, however an Environment is printed.
func TestEnvironmentKeepsSecrets(t *testing.T) {
	t.Parallel()
	e := bootstrap.NewEnvironment("", map[string]string{
		"HTTPS_PROXY": "http://user:secret@p:3128", "http_proxy": "http://user:secret@q", "HTTP_PROXY": "http://user:secret@ p",
		"AWS_ENDPOINT_URL": "https://user:secret@e",
	})
	if e.HTTPSProxy != "http://user:secret@p:3128" {
		t.Error("the proxy is dialled without its password")
	}
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(b), fmt.Sprint(e), fmt.Sprintf("%+v", *e.Lower)} {
		if strings.Contains(text, "secret") {
			t.Errorf("the password is in %s", text)
		}
	}
}
