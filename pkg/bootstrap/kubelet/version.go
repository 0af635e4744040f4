package kubelet

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// ParseVersion reads what `kubelet --version` prints ("Kubernetes v1.36.3",
// "Kubernetes v1.33.4-eks-20b1e2b") or the version alone, with or without the
// v. The patch number may be missing; pre-release and build suffixes are
// dropped. The error names the text that is no version.
func ParseVersion(s string) (Version, error) {
	text := strings.TrimSpace(s)
	text = strings.TrimPrefix(text, "Kubernetes ")
	text = strings.TrimPrefix(text, "v")
	if i := strings.IndexAny(text, "-+"); i >= 0 {
		text = text[:i]
	}
	parts := strings.Split(text, ".")
	if len(parts) < 2 || len(parts) > 3 {
		return Version{}, fmt.Errorf("kubelet version %q is not MAJOR.MINOR.PATCH", s)
	}
	var numbers [3]int
	for i, part := range parts {
		n, err := parseNumber(part)
		if err != nil {
			return Version{}, fmt.Errorf("kubelet version %q: %w", s, err)
		}
		numbers[i] = n
	}
	return Version{Major: numbers[0], Minor: numbers[1], Patch: numbers[2]}, nil
}

// parseNumber accepts decimal digits only: strconv alone would take signs.
func parseNumber(s string) (int, error) {
	for _, r := range s {
		if r < '0' || r > '9' {
			return 0, fmt.Errorf("%q is not a number", s)
		}
	}
	return strconv.Atoi(s)
}

// IsZero reports whether the version is unknown.
func (v Version) IsZero() bool { return v == Version{} }

// String prints v1.36.3, or "unknown" for the zero Version.
func (v Version) String() string {
	if v.IsZero() {
		return "unknown"
	}
	return fmt.Sprintf("v%d.%d.%d", v.Major, v.Minor, v.Patch)
}

// AtLeast reports whether v is a known version of at least the given minor.
func (v Version) AtLeast(major, minor int) bool {
	return !v.IsZero() && v.compareMinor(major, minor) >= 0
}

// Below reports whether v is a known version before the given minor.
func (v Version) Below(major, minor int) bool {
	return !v.IsZero() && v.compareMinor(major, minor) < 0
}

func (v Version) compareMinor(major, minor int) int {
	return cmp.Or(cmp.Compare(v.Major, major), cmp.Compare(v.Minor, minor))
}
