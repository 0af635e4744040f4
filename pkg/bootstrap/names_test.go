package bootstrap

import (
	"regexp"
	"strings"
	"testing"
)

// TestNames holds the rules against the regular expressions they stand for.
func TestNames(t *testing.T) {
	t.Parallel()
	rules := map[string]struct {
		want *regexp.Regexp
		got  func(string) bool
	}{
		"cluster":  {regexp.MustCompile(`^[0-9A-Za-z][A-Za-z0-9_-]{0,99}$`), isClusterName},
		"label":    {regexp.MustCompile(`^[0-9A-Za-z_]([0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?$`), isHostLabel},
		"endpoint": {regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`), isEndpointName},
		"region":   {regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+){1,2}-\d+$`), isRegion},
	}
	inputs := []string{
		"", "-", "_", ".", "a", "Z", "9", "a-", "-a", "a_", "_a", "a.", ".a", "a.b", "a-b", "A_b", "a b", "a\n", "é", "a\x00",
		"us-west-2", "us-gov-west-1", "eusc-de-east-1", "us-west", "us-west-", "us--2", "u-west-2", "europe-west-2", "us-west-2a",
		"us-gov-far-west-1", "US-west-2", "us-west-22", "lunar-base-1", "-us-west-2", "us-west-2-",
	}
	for _, n := range []int{62, 63, 64, 99, 100, 101} {
		inputs = append(inputs, strings.Repeat("a", n), strings.Repeat("a", n-1)+"-", "-"+strings.Repeat("a", n-1))
	}
	for name, r := range rules {
		for _, s := range inputs {
			if got, want := r.got(s), r.want.MatchString(s); got != want {
				t.Errorf("%s: %q is %v, want %v", name, s, got, want)
			}
		}
	}
}
