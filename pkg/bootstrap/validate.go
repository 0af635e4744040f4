package bootstrap

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// describeCluster is how an operator gets a value of the cluster.
func describeCluster(query string) string {
	return "aws eks describe-cluster --name NAME --query cluster." + query
}

// required returns a text field of the cluster, and reports it when it is
// absent and nothing else explains that.
func (r *configReader) required(name, query string) (setting, string, bool) {
	path := "spec.cluster." + name
	if s, ok := r.merged.settings[path]; ok {
		v, isText := s.value.(string)
		return s, v, isText
	}
	if r.nodeConfigs == 0 || r.unreadable || r.attempted[path] {
		return setting{}, "", false
	}
	if r.cut != nil {
		r.cutMatters = true
		return setting{}, "", false
	}
	remedy := "Set " + path + " in the NodeConfig."
	if query != "" {
		remedy = "Set " + path + " in the NodeConfig to the output of: " + describeCluster(query)
	}
	p := Problem{Code: CFG103, Path: path, Missing: true, Message: "is missing; nothing else knows it", Remedy: remedy}
	if at, ok := r.merged.empty[path]; ok {
		p.Message = "is empty; nothing else knows it"
		r.add(at, p)
	} else {
		r.addNowhere(p)
	}
	return setting{}, "", false
}

// reportCut reports user data that was probably cut off: an error when
// something is missing from it, otherwise a warning.
func (r *configReader) reportCut() {
	if r.cut != nil {
		r.add(*r.cut, Problem{Code: CFG102, Warning: !r.cutMatters, Message: truncatedText("in the middle of a line"), Remedy: truncatedRemedy})
	}
}

// invalid reports a value that is refused.
func (r *configReader) invalid(s setting, code Code, message, remedy string) {
	r.add(s.at, Problem{Code: code, Path: s.path, Message: message, Remedy: remedy})
}

// doubtful reports a value that is taken, corrected or not.
func (r *configReader) doubtful(s setting, code Code, message, remedy string) {
	r.add(s.at, Problem{Code: code, Path: s.path, Warning: true, Message: message, Remedy: remedy})
}

// cluster validates spec.cluster.
func (r *configReader) cluster(inst Instance, m Machine) Cluster {
	var c Cluster
	if s, v, ok := r.required("name", ""); ok {
		if isPlaceholder(v) {
			r.invalid(s, CFG102, "is "+excerpt(v)+", a placeholder that nobody filled in", "Write the cluster's name.")
		} else if !isClusterName(v) {
			r.invalid(s, CFG102, "is "+excerpt(v)+", which cannot be the name of an EKS cluster",
				"Write the cluster's name: up to 100 letters, digits, hyphens and underscores, a letter or digit first.")
		} else {
			c.Name = v
		}
	}
	if s, v, ok := r.required("apiServerEndpoint", "endpoint"); ok {
		c.APIServer = r.endpoint(s, v, inst)
	}
	if s, v, ok := r.required("certificateAuthority", "certificateAuthority.data"); ok {
		c.CA = r.authority(s, v, m.Now)
	}
	if s, v, ok := r.required("cidr", "kubernetesNetworkConfig.serviceIpv4Cidr"); ok {
		c.ServiceCIDR = r.serviceCIDR(s, v)
	}
	return c
}

// isPlaceholder recognises what template languages leave behind.
func isPlaceholder(v string) bool {
	return strings.Contains(v, "${") || strings.Contains(v, "{{") || strings.HasPrefix(v, "<") && strings.HasSuffix(v, ">")
}

// endpoint validates the API server's URL and returns it without a trailing slash.
func (r *configReader) endpoint(s setting, v string, inst Instance) string {
	remedy := "Use the endpoint exactly as this prints it: " + describeCluster("endpoint")
	refuse := func(message string) string {
		r.invalid(s, CFG104, message, remedy)
		return ""
	}
	switch {
	case isPlaceholder(v):
		return refuse("is " + excerpt(v) + ", a placeholder that nobody filled in")
	case strings.ContainsFunc(v, unicode.IsSpace):
		return refuse("contains white space")
	case !strings.Contains(v, "://"):
		return refuse("is " + excerpt(v) + ", which has no scheme: it must begin with https://")
	}
	u, err := url.Parse(v)
	if err != nil {
		return refuse("is not a URL")
	}
	port := u.Port()
	number, portErr := strconv.ParseUint(port, 10, 16)
	switch {
	case u.Scheme != "https":
		return refuse("has the scheme " + excerpt(u.Scheme) + ", not https")
	case u.User != nil:
		return refuse("contains user information before the host")
	case !isHost(u.Hostname()):
		return refuse("has no valid host name: " + excerpt(u.Hostname()))
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(v, "#"):
		return refuse("has something behind the host: " + excerpt(strings.TrimPrefix(v[len("https://"):], u.Host)))
	case u.Path != "" && u.Path != "/":
		return refuse("has a path behind the host: " + excerpt(u.Path))
	case port != "" && (portErr != nil || number == 0) || port == "" && strings.HasSuffix(u.Host, ":"):
		return refuse("has an impossible port: " + excerpt(port))
	}
	if u.Path == "/" {
		r.doubtful(s, CFG104, "ends with a slash, which was removed", "Remove the slash at the end.")
	}
	if port != "" && number != 443 {
		r.doubtful(s, CFG104, "names port "+port+"; the endpoints of EKS clusters listen on 443", remedy)
	}
	r.endpointRegion(s, strings.ToLower(u.Hostname()), inst)
	return strings.TrimSuffix(v, "/")
}

// isHost reports whether s is an IP address or a DNS name without a trailing dot.
func isHost(s string) bool {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.Zone() == ""
	}
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !isHostLabel(label) {
			return false
		}
	}
	// A last label of digits alone is a mistyped IPv4 address (WHATWG URL, host parsing).
	return !strings.ContainsFunc(s[strings.LastIndexByte(s, '.')+1:], unicode.IsDigit) ||
		strings.ContainsFunc(s[strings.LastIndexByte(s, '.')+1:], unicode.IsLetter)
}

// endpointRegion compares the region and DNS suffix in the host name of an EKS
// cluster with the instance's. Two forms exist: ID.SHARD.REGION.eks.SUFFIX and,
// for dual-stack clusters, ID.SHARD.eks-cluster.REGION.SUFFIX. Hosts of any
// other form say nothing about their region.
func (r *configReader) endpointRegion(s setting, host string, inst Instance) {
	labels := strings.Split(host, ".")
	for i, label := range labels {
		region, rest := "", ""
		switch {
		case label == "eks" && i > 0:
			region, rest = labels[i-1], strings.Join(labels[i+1:], ".")
		case label == "eks-cluster" && i+1 < len(labels):
			region, rest = labels[i+1], strings.Join(labels[i+2:], ".")
		}
		if !isRegion(region) {
			continue
		}
		remedy := "Use the cluster block of a cluster in " + inst.Region + ", or launch the node in the cluster's region."
		switch {
		case inst.Region != "" && region != inst.Region:
			r.invalid(s, CFG107, "is of a cluster in "+region+", but this instance runs in "+inst.Region, remedy)
		case label == "eks" && inst.DNSSuffix != "" && rest != inst.DNSSuffix:
			r.invalid(s, CFG107, "ends in "+excerpt(rest)+", but the metadata service says that names here end in "+inst.DNSSuffix, remedy)
		case label == "eks-cluster" && inst.Region != "":
			p, _ := PartitionOf(inst.Region)
			if suffix := p.dualStackSuffix; suffix != "" && rest != suffix {
				r.invalid(s, CFG107, "ends in "+excerpt(rest)+", but dual-stack names in "+inst.Region+" end in "+suffix, remedy)
			}
		}
		return
	}
}

// serviceCIDR validates the service range and returns it masked.
func (r *configReader) serviceCIDR(s setting, v string) netip.Prefix {
	remedy := "Use the cluster's service range: " + describeCluster("kubernetesNetworkConfig")
	prefix, err := netip.ParsePrefix(v)
	addr, bits := prefix.Addr(), prefix.Bits()
	message := ""
	switch {
	case isPlaceholder(v):
		message = "is " + excerpt(v) + ", a placeholder that nobody filled in"
	case err != nil && strings.Contains(v, ","):
		message = "is " + excerpt(v) + ": one prefix is wanted, not several"
	case err != nil:
		message = "is " + excerpt(v) + ", which is not a network prefix such as 10.100.0.0/16"
	case addr.Is4In6():
		message = "is " + excerpt(v) + ": write an IPv4 prefix in IPv4 form"
	case addr.Is4() && bits < 12:
		message = fmt.Sprintf("is a /%d; the service range of an EKS cluster is never larger than a /12", bits)
	case addr.Is4() && bits > 28:
		message = fmt.Sprintf("is a /%d, too small to hold the cluster's DNS address (base + 10)", bits)
	case addr.Is6() && bits > 124:
		message = fmt.Sprintf("is a /%d, too small to hold the cluster's DNS address (base + 10)", bits)
	}
	if message != "" {
		r.invalid(s, CFG106, message, remedy)
		return netip.Prefix{}
	}
	masked := prefix.Masked()
	if masked != prefix {
		r.doubtful(s, CFG106, "is "+prefix.String()+", an address inside "+masked.String()+"; that range is used", "Write "+masked.String()+".")
	}
	// EKS takes service ranges from the private blocks only (EKS API reference,
	// KubernetesNetworkConfigRequest); IsPrivate is RFC 1918 and fc00::/7.
	if !masked.Addr().IsPrivate() {
		r.doubtful(s, CFG106, "is "+masked.String()+", which is not private; EKS service ranges are in 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or fc00::/7", remedy)
	}
	return masked
}
