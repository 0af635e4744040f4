package bootstrap

import (
	"net/url"
	"strings"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// NewEnvironment keeps of a program's environment variables what decides how it reaches
// targets, and nothing else: the proxy settings in both cases and what the AWS SDKs
// read of endpoints (AWS SDKs and Tools Reference Guide, "Service-specific endpoints",
// "Dual-stack and FIPS endpoints"). unit is where they come from, empty for this process.
// An empty variable is as good as none, for Go and for curl.
func NewEnvironment(unit string, variables map[string]string) Environment {
	e := Environment{
		HTTPSProxy: probe.Proxy(variables["HTTPS_PROXY"]),
		HTTPProxy:  probe.Proxy(variables["HTTP_PROXY"]),
		NoProxy:    variables["NO_PROXY"],
		FIPS:       strings.EqualFold(variables["AWS_USE_FIPS_ENDPOINT"], "true"),
		DualStack:  strings.EqualFold(variables["AWS_USE_DUALSTACK_ENDPOINT"], "true"),
		Unit:       unit,
	}
	lower := Environment{
		HTTPSProxy: probe.Proxy(variables["https_proxy"]),
		HTTPProxy:  probe.Proxy(variables["http_proxy"]),
		NoProxy:    variables["no_proxy"],
	}
	if differs(lower.HTTPSProxy, e.HTTPSProxy) || differs(lower.HTTPProxy, e.HTTPProxy) || differs(lower.NoProxy, e.NoProxy) {
		e.Lower = &lower
	}
	if strings.EqualFold(variables["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"], "true") {
		return e
	}
	for name, value := range variables {
		service, ok := strings.CutPrefix(name, "AWS_ENDPOINT_URL")
		if ok && service != "" {
			service, ok = strings.CutPrefix(service, "_")
			ok = ok && service != ""
		}
		u, err := url.Parse(value)
		if !ok || value == "" || err != nil {
			continue // one that is no URL is of no use to the SDK either
		}
		u.User = nil // a secret
		if e.Endpoints == nil {
			e.Endpoints = map[string]string{}
		}
		e.Endpoints[service] = u.String()
	}
	return e
}

// differs reports whether a variable in lower case says something that the one in
// upper case does not.
func differs[T ~string](lower, upper T) bool { return lower != "" && lower != upper }
