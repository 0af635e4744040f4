package netcfg

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	resolvConf = "/etc/resolv.conf"
	// resolvedUpstream is where systemd-resolved lists the servers behind its
	// stub (systemd-resolved.service(8), "/etc/resolv.conf").
	resolvedUpstream = "/run/systemd/resolve/resolv.conf"
	// maxResolvConf bounds what is read; real files have a few hundred bytes.
	maxResolvConf = 1 << 20
	// maxLinks bounds how many symbolic links are followed.
	maxLinks = 8
	// defaultNDots and maxNDots are resolv.conf(5)'s.
	defaultNDots = 1
	maxNDots     = 15
	// maxServers is how many servers programs read from the file (MAXNS in resolv.h;
	// Go and musl have the same number). Those after them are never asked.
	maxServers = 3
)

// resolvedStub and resolvedProxy are the addresses systemd-resolved listens on
// (systemd-resolved.service(8)). The second one forwards only, but hides the
// servers just the same.
var (
	resolvedStub  = netip.AddrFrom4([4]byte{127, 0, 0, 53})
	resolvedProxy = netip.AddrFrom4([4]byte{127, 0, 0, 54})
)

// ReadDNS reads /etc/resolv.conf below root; "" means /. When it names only
// systemd-resolved's stub, the servers come from the list that systemd-resolved
// keeps of its own servers; without that list the stub itself is returned,
// since it is all there is to ask. A missing file has no servers. Of the file that
// programs themselves read only the first three count.
func ReadDNS(root string) (DNS, error) {
	d, err := readDNSFile(root, resolvConf)
	if errors.Is(err, fs.ErrNotExist) {
		return DNS{File: resolvConf, NDots: defaultNDots}, nil
	}
	if err != nil || !onlyStub(d.Servers) {
		d.Servers = d.Servers[:min(len(d.Servers), maxServers)]
		return d, err
	}
	upstream, err := readDNSFile(root, resolvedUpstream)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return DNS{}, err
	}
	upstream.Stub = true
	upstream.Search, upstream.NDots = d.Search, d.NDots // what this machine's programs append, and when
	return upstream, nil
}

func onlyStub(servers []netip.AddrPort) bool {
	for _, s := range servers {
		if a := s.Addr(); a != resolvedStub && a != resolvedProxy {
			return false
		}
	}
	return len(servers) > 0
}

func readDNSFile(root, name string) (DNS, error) {
	path, err := inside(root, name)
	if err != nil {
		return DNS{}, fmt.Errorf("read %s: %w", name, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return DNS{}, fmt.Errorf("read %s: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	d, err := ParseResolvConf(f)
	if err != nil {
		return DNS{}, fmt.Errorf("read %s: %w", name, err)
	}
	d.File = name
	return d, nil
}

// inside returns where name is below root. Links are followed as they would be
// with root as the root directory: an image's resolv.conf usually is a link to /run.
func inside(root, name string) (string, error) {
	if root == "" {
		return name, nil
	}
	for range maxLinks {
		path := filepath.Join(root, name)
		target, err := os.Readlink(path)
		if err != nil {
			// Not a link, or nothing there: opening it will tell.
			return path, nil //nolint:nilerr // EINVAL is how readlink says that this is a file
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(name), target)
		}
		name = filepath.Join("/", target)
	}
	return "", fmt.Errorf("more than %d symbolic links", maxLinks)
}

// ParseResolvConf reads the form described in resolv.conf(5). A line that is no
// nameserver, search or domain, an address that is none, and comments are
// passed over, as resolvers do; the last search or domain counts, and the last
// ndots of the options. The only errors are those of r and of a file beyond 1 MiB.
func ParseResolvConf(r io.Reader) (DNS, error) {
	d := DNS{NDots: defaultNDots}
	limited := &io.LimitedReader{R: r, N: maxResolvConf + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, maxResolvConf+1)
	for lines.Scan() {
		line := lines.Text()
		// Only the first column makes a comment of the whole line.
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		words := strings.FieldsFunc(line, func(c rune) bool { return c == ' ' || c == '\t' || c == '\r' })
		if len(words) < 2 {
			if len(words) == 1 && (words[0] == "search" || words[0] == "domain") {
				d.Search = nil
			}
			continue
		}
		switch words[0] {
		case "nameserver":
			// An address ends where a comment begins.
			text := words[1]
			if i := strings.IndexAny(text, "#;"); i >= 0 {
				text = text[:i]
			}
			if a, err := netip.ParseAddr(text); err == nil {
				d.Servers = append(d.Servers, netip.AddrPortFrom(a.Unmap(), 53))
			}
		case "domain":
			d.Search = []string{words[1]}
		case "search":
			d.Search = append([]string(nil), words[1:]...)
		case "options":
			for _, option := range words[1:] {
				if text, ok := strings.CutPrefix(option, "ndots:"); ok {
					d.NDots = ndots(text)
				}
			}
		}
	}
	if err := lines.Err(); err != nil {
		return DNS{}, err
	}
	if limited.N == 0 {
		return DNS{}, fmt.Errorf("more than %d bytes", maxResolvConf)
	}
	return d, nil
}

// ndots reads the number of that option. One that is none is 0, and a greater one
// than the largest is that, as glibc has it.
func ndots(text string) int {
	n, err := strconv.Atoi(text)
	switch {
	case errors.Is(err, strconv.ErrRange) && !strings.HasPrefix(text, "-"):
		return maxNDots
	case err != nil:
		return 0
	}
	return min(max(n, 0), maxNDots)
}
