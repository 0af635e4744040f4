package bootstrap

import "strings"

// The rules for names are functions, not regular expressions: compiling those
// was a tenth of the program's start-up.

const (
	digits  = "0123456789"
	lower   = "abcdefghijklmnopqrstuvwxyz"
	letters = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// isName reports whether s has at most limit bytes, all of them in inside, the
// first and the last in outside too.
func isName(s string, limit int, outside, inside string) bool {
	if s == "" || len(s) > limit || !strings.Contains(outside, s[:1]) || !strings.Contains(outside, s[len(s)-1:]) {
		return false
	}
	return strings.Trim(s, inside) == ""
}

// isClusterName is the API's rule (EKS API reference, CreateCluster, name).
func isClusterName(s string) bool {
	return s != "" && isName(s[:1], 1, digits+letters, digits+letters) &&
		isName(s, 100, digits+letters+"_-", digits+letters+"_-")
}

// isHostLabel is a label of a host name (RFC 1123) or one with underscores, as
// some private zones have.
func isHostLabel(s string) bool { return isName(s, 63, digits+letters+"_", digits+letters+"_-") }

// isEndpointName is our own rule for spec.endpoints[].name.
func isEndpointName(s string) bool { return isName(s, 63, digits+lower, digits+lower+".-") }

// isRegion is the form of AWS region ids: us-west-2, us-gov-west-1.
func isRegion(s string) bool {
	parts := strings.Split(s, "-")
	n := len(parts)
	if n < 3 || n > 4 || len(parts[0]) < 2 || len(parts[0]) > 4 || !isName(parts[n-1], len(s), digits, digits) {
		return false
	}
	for _, p := range parts[:n-1] {
		if !isName(p, len(s), lower, lower) {
			return false
		}
	}
	return true
}
