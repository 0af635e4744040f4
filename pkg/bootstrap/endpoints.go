package bootstrap

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"path"
	"slices"
	"unicode"
)

// endpoints validates spec.endpoints.
func (r *configReader) endpoints() []Endpoint {
	s := r.merged.settings["spec.endpoints"]
	groups, _ := s.value.([]element)
	seen := map[string]place{}
	var out []Endpoint
	for i, g := range groups {
		if e, ok := r.userEndpoint(g, fmt.Sprintf("%s[%d]", s.path, i), seen); ok {
			out = append(out, e)
		}
	}
	return out
}

// isBuiltInTarget reports whether a plan may have a target of this name of its own.
func isBuiltInTarget(name string) bool {
	return name == MetadataTarget || name == apiServerName || isService(name)
}

// userEndpoint validates one entry of spec.endpoints and reports whether it can
// be probed.
func (r *configReader) userEndpoint(given element, where string, seen map[string]place) (Endpoint, bool) {
	e := Endpoint{Port: 443, TLS: true}
	before := len(r.problems)
	at := func(name string) setting {
		s, ok := given.get(name)
		if !ok {
			s = setting{at: given.at, path: joinPath(where, name)}
		}
		return s
	}
	text := func(name string) string {
		v, _ := at(name).value.(string)
		return v
	}
	missing := func(name string) bool {
		if text(name) != "" || r.attempted[joinPath(where, name)] {
			return false
		}
		r.invalid(at(name), CFG102, "is missing", "Give every endpoint a name, a host and a role.")
		return true
	}
	if e.Name = text("name"); !missing("name") && e.Name != "" {
		r.endpointIdentity(at("name"), e.Name, seen)
	}
	if e.Host = text("host"); !missing("host") && e.Host != "" && !isHost(e.Host) {
		r.invalid(at("host"), CFG102, "is "+excerpt(e.Host)+", which is no host name or address", "Write the host alone; its port goes into port.")
	}
	e.Role = Role(text("role"))
	missing("role")
	e.Why = text("why")
	if port, ok := at("port").value.(int64); ok {
		if port < 1 || port > 65535 {
			r.invalid(at("port"), CFG102, fmt.Sprintf("is %d, not a port", port), "Write a port from 1 to 65535.")
		} else {
			e.Port = uint16(port)
		}
	}
	if v, ok := at("tls").value.(bool); ok {
		e.TLS = v
	}
	if e.CAFile = text("ca"); e.CAFile != "" {
		e.CA = r.endpointCA(at("ca"), e)
	}
	return e, len(r.problems) == before && e.Name != "" && e.Host != "" && e.Role != ""
}

// endpointIdentity validates the name of an endpoint.
func (r *configReader) endpointIdentity(s setting, name string, seen map[string]place) {
	first, twice := seen[name]
	switch {
	case !isEndpointName(name):
		r.invalid(s, CFG102, "is "+excerpt(name)+", which is no endpoint name", "Use lower-case letters, digits, hyphens and dots, at most 63.")
	case isBuiltInTarget(name):
		r.invalid(s, CFG102, "is "+excerpt(name)+", the name of a target that nodeprep has itself", "Choose another name.")
	case twice:
		r.invalid(s, CFG102, "is "+excerpt(name)+", already the name of the endpoint at "+first.String(), "Give every endpoint a name of its own.")
	default:
		seen[name] = s.at
	}
}

// endpointCA returns what the file of spec.endpoints[].ca holds.
func (r *configReader) endpointCA(s setting, e Endpoint) []byte {
	file, read := r.referenced[e.CAFile]
	switch {
	case !path.IsAbs(e.CAFile):
		r.invalid(s, CFG102, "is "+excerpt(e.CAFile)+", which is no absolute path", "Write the path of a PEM file on this machine.")
	case !e.TLS:
		r.invalid(s, CFG102, "names authorities of an endpoint without TLS", "Remove ca, or tls: false.")
	case !read || file.Err != nil:
		message := "is " + excerpt(e.CAFile) + ", which could not be read"
		if file.Err != nil {
			message += ": " + file.Err.Error()
		}
		r.invalid(s, CFG102, message, "Put the PEM file there with the image, or correct the path.")
	case !x509.NewCertPool().AppendCertsFromPEM(file.Data):
		r.invalid(s, CFG102, "is "+excerpt(e.CAFile)+", which holds no certificate in PEM form", "Put the certificates of the authorities there as PEM.")
	default:
		return file.Data
	}
	return nil
}

// ReferencedFiles returns the paths of the files that the sources name, sorted. Their
// contents belong among the sources of ReadConfig as Referenced.
func ReferencedFiles(sources []Source) []string {
	if !slices.ContainsFunc(sources, mayReference) {
		return nil
	}
	r := newConfigReader()
	r.read(sources)
	var files []string
	groups, _ := r.merged.settings["spec.endpoints"].value.([]element)
	for _, g := range groups {
		if ca, ok := g.get("ca"); ok {
			if file, _ := ca.value.(string); path.IsAbs(file) {
				files = append(files, file)
			}
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// mayReference reports, without decoding, whether a source may name a file: most do
// not, and are read once.
func mayReference(s Source) bool {
	if s.UserData && (!bytes.Contains(s.Data, []byte("node.eks.aws")) || bytes.Contains(bytes.ToLower(s.Data), []byte("transfer-encoding"))) {
		return len(s.Data) > 0 // perhaps encoded
	}
	return !s.Referenced && bytes.Contains(s.Data, []byte("nodeprep.io")) && mayName(s.Data, "ca")
}

// mayName reports whether a key of this name, or one that foldName does not tell apart
// from it, may stand in a text. Escapes, anchors and tags may hide it.
func mayName(text []byte, name string) bool {
	if bytes.ContainsAny(text, `\&!`) {
		return true
	}
	ends := func(c rune) bool { return !isVaried(c) && !unicode.IsLetter(c) && !unicode.IsDigit(c) }
	for word := range bytes.FieldsFuncSeq(text, ends) {
		word = bytes.TrimFunc(word, isVaried)
		if len(word) <= len(name)+1 && foldName(string(word)) == name {
			return true
		}
	}
	return false
}
