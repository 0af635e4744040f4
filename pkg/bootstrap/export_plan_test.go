package bootstrap

// ServiceHost is the name of a service by the rules of a region's partition, empty
// where there is none.
func ServiceHost(region, account, service string, fips, dualStack bool) string {
	p, _ := PartitionOf(region)
	return p.serviceHost(service, region, account, nameVariant{fips, dualStack})
}

// Offered reports whether AWS is known to list such a name.
func Offered(region, service string, fips, dualStack bool) bool {
	p, _ := PartitionOf(region)
	for _, s := range services() {
		if s.name == service {
			return p.offers(s, region, nameVariant{fips, dualStack})
		}
	}
	return false
}

// ServiceNames are the short names of all services.
func ServiceNames() []string { return serviceNames() }

// LockRulePaths are the fields of which one value is tighter than another.
func LockRulePaths() []string {
	var out []string
	for _, r := range lockRules() {
		out = append(out, r.path)
	}
	return out
}
