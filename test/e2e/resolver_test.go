package e2e_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/test/e2e/node"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

const resolvedUnit = "systemd-resolved.service"

// stubResolver puts systemd-resolved, which the image masks, between a node's programs
// and the DNS server of its VPC, as on Ubuntu.
func stubResolver() map[string]node.File {
	return map[string]node.File{
		"/etc/systemd/system/" + resolvedUnit:   {Link: "/usr/lib/systemd/system/" + resolvedUnit},
		"/etc/systemd/resolved.conf.d/lab.conf": {Content: []byte("[Resolve]\nDNS=" + vpc.AmazonDNSAddr().String() + "\nDNSSEC=no\nLLMNR=no\nMulticastDNS=no\n")},
		"/etc/resolv.conf":                      {Link: "/run/systemd/resolve/stub-resolv.conf"},
	}
}

// A repaired name does not wait until the machine's own resolver has forgotten that
// there was none: its cache is emptied, and the kubelet finds its API server.
func TestSystemdStubResolver(t *testing.T) {
	t.Parallel()
	const code = "NP-DNS-108"
	v := newVPC(t, vpc.Options{})
	repair := inject(t, v, "apiserver-nxdomain")
	files := workerFiles(t, v)
	maps.Copy(files, stubResolver())
	w := bootFiles(t, v, files, node.EKS{}.Presets()...)
	w.waitBlocked(code)
	o := w.report()
	if !o.Network.DNS.Stub || len(o.Network.DNS.Servers) != 1 || o.Network.DNS.Servers[0].Addr() != vpc.AmazonDNSAddr() {
		t.Errorf("behind the stub: %+v", o.Network.DNS)
	}
	flushed := func() []node.Entry {
		entries, err := w.Journal(t.Context(), "_SYSTEMD_UNIT="+resolvedUnit)
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(entries, func(e node.Entry) bool { return !strings.Contains(e["MESSAGE"], "Flushed all caches") })
	}
	if n := len(flushed()); n != 0 {
		t.Errorf("the cache was emptied %d times while nothing was repaired", n)
	}
	// The node's programs will be told for a minute that there is no such name.
	repair()
	repaired := time.Now()
	w.waitJoined(joinTime)
	t.Logf("joined %s after the repair", time.Since(repaired))
	if n := len(flushed()); n != 1 {
		t.Errorf("the cache was emptied %d times", n)
	}
	res, _ := w.report().Report.Result("apiserver")
	if s := res.System; s == nil || s.Cause != "" || s.Path == nil || !s.Path.OK() {
		t.Errorf("by the machine's own way: %+v", s)
	}
}
