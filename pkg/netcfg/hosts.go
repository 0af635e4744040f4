package netcfg

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
)

const (
	hostsFile = "/etc/hosts"
	// maxHosts and maxHostsLines bound what is read of it. A list of blocked sites may be
	// longer, and is no list of what a node needs.
	maxHosts      = 64 << 10
	maxHostsLines = 1000
	// maxName is the length of the longest host name (RFC 1035 section 2.3.4).
	maxName = 253
)

// ReadHosts reads /etc/hosts below root, "" for /, without the names that every
// machine has there (see ParseHosts). A missing file has no entries.
func ReadHosts(root, hostname string) ([]HostsEntry, error) {
	path, err := inside(root, hostsFile)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", hostsFile, err)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", hostsFile, err)
	}
	defer func() { _ = f.Close() }()
	entries, err := ParseHosts(f, hostname)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", hostsFile, err)
	}
	return entries, nil
}

// ParseHosts reads the form described in hosts(5): one entry for each name, with the
// addresses of all its lines, in the order of the file. Names of the loopback
// interface and of the link are left out, and hostname, in full and without its
// domain. A line without an address, a name that is no host name, and comments are
// passed over, as resolvers do; so is what lies behind 64 KiB or 1000 lines. The only
// errors are those of r.
func ParseHosts(r io.Reader, hostname string) ([]HostsEntry, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxHosts+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxHosts {
		// The last line may have been cut in the middle of a name.
		data = data[:bytes.LastIndexByte(data[:maxHosts], '\n')+1]
	}
	own := strings.ToLower(strings.TrimSuffix(hostname, "."))
	short, _, _ := strings.Cut(own, ".")

	var out []HostsEntry
	index := map[string]int{} // of names in out
	number := 0
	for line := range strings.Lines(string(data)) {
		if number++; number > maxHostsLines {
			break
		}
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		a, err := netip.ParseAddr(words[0])
		if err != nil {
			continue
		}
		a = a.Unmap()
		for _, word := range words[1:] {
			name := strings.ToLower(strings.TrimSuffix(word, "."))
			if !isHostName(name) || isLocalName(name) || name == own || name == short {
				continue
			}
			i, known := index[name]
			if !known {
				i = len(out)
				index[name] = i
				out = append(out, HostsEntry{Name: name, Line: number})
			}
			if !slices.Contains(out[i].Addresses, a) {
				out[i].Addresses = append(out[i].Addresses, a)
			}
		}
	}
	return out, nil
}

// isHostName reports whether a name, in lower case, consists of what names in the
// DNS consist of. Others cannot be the name of a target.
func isHostName(name string) bool {
	return name != "" && len(name) <= maxName && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	})
}

// isLocalName reports whether a name is one of those that distributions give the
// loopback interface and the multicast groups of the link.
func isLocalName(name string) bool {
	switch name {
	case "localhost", "localhost4", "localhost6", "broadcasthost",
		"ip6-localhost", "ip6-loopback", "ip6-localnet", "ip6-mcastprefix",
		"ip6-allnodes", "ip6-allrouters", "ip6-allhosts":
		return true
	}
	// RFC 6761 section 6.3, and what Red Hat's files have.
	return strings.HasSuffix(name, ".localhost") ||
		strings.HasPrefix(name, "localhost.localdomain") ||
		strings.HasPrefix(name, "localhost4.localdomain") || strings.HasPrefix(name, "localhost6.localdomain")
}
