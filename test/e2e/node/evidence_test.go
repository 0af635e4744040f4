package node_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
	"github.com/nodeprep/nodeprep/test/e2e/node"
)

// What package host reads of units is what systemd gives to them: each unit writes down
// the environment that it really has.
func TestEnvironmentsAsSystemd(t *testing.T) {
	t.Parallel()
	unit := func(name, more string) node.File {
		return node.File{Content: fmt.Appendf(nil, "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'env -0 >/var/lib/%s.env'\n%s[Install]\nWantedBy=multi-user.target\n", name, more)}
	}
	file := func(text string) node.File { return node.File{Content: []byte(text)} }
	const dropIns = "/etc/systemd/system/kubelet.service.d/"
	long := strings.Repeat("10.0.0.0/8,", 500)
	files := map[string]node.File{
		"/usr/lib/systemd/system/kubelet.service": unit("kubelet", `
EnvironmentFile=-/etc/none
EnvironmentFile=/etc/kubelet.env
EnvironmentFile=-%E/*.more
Environment="HTTPS_PROXY=http://u:p%%40ss@p:3128" 'NO_PROXY=unit' \
  # not here
  AWS_ENDPOINT_URL_A=https://a/\x62\u00e9\101\s\t"x y"'z "' AWS_ENDPOINT_URL_B=https://b/%n/%p/%N%t%S%C%L%E%T%V
Environment=AWS_ENDPOINT_URL_C=https://c AWS_ENDPOINT_URL_D=https://\q AWS_ENDPOINT_URL_E=https://e
junk
Environment=AWS_ENDPOINT_URL_F=https://f "AWS_ENDPOINT_URL_G=https://g
UnsetEnvironment=AWS_ENDPOINT_URL_U AWS_ENDPOINT_URL_V=https://other AWS_ENDPOINT_URL_W=https://w
Environment=AWS_ENDPOINT_URL_U=https://u AWS_ENDPOINT_URL_V=https://v AWS_ENDPOINT_URL_W=https://w
`),
		"/etc/kubelet.env": file("# AWS_ENDPOINT_URL_1=https://1\n ; x\nAWS_ENDPOINT_URL_2 = https://2 3 \t\nexport AWS_ENDPOINT_URL_4=https://4\n" +
			`AWS_ENDPOINT_URL_5="https://5/ \"x\" \$y \n ` + "\\`z\\` \\\nnext\" \n" +
			`AWS_ENDPOINT_URL_6='https://6/ "x" \n $y'` + "\n" +
			`AWS_ENDPOINT_URL_7="https://7/ "'x '3 4` + "\n" +
			`AWS_ENDPOINT_URL_8=https://8/a"b"'c'\ \"\\x` + "\\\n2\n" +
			"AWS_ENDPOINT_URL_9=https://9 # no comment\nAWS_ENDPOINT_URL_10=${AWS_ENDPOINT_URL_9}%%41\n" +
			"junk\nAWS_ENDPOINT_URL_11=https://11\\ \nhttps_proxy=http://lower\nAWS_USE_FIPS_ENDPOINT=true\n"),
		"/etc/b.more":         file("AWS_ENDPOINT_URL_M=https://b\n"),
		"/etc/c.more":         file("AWS_ENDPOINT_URL_M=https://c\n"),
		dropIns + "10-a.conf": file("[Service]\nEnvironment=AWS_ENDPOINT_URL_O=https://etc10 AWS_ENDPOINT_URL_P=https://etc10\n"),
		"/usr/lib/systemd/system/kubelet.service.d/20-a.conf":      file("[Service]\nEnvironment=AWS_ENDPOINT_URL_O=https://usr20\n"),
		dropIns + "30-same.conf":                                   file("[Service]\nEnvironment=AWS_ENDPOINT_URL_Q=https://etc\n"),
		"/usr/lib/systemd/system/kubelet.service.d/30-same.conf":   file("[Service]\nEnvironment=AWS_ENDPOINT_URL_Q=https://usr AWS_ENDPOINT_URL_R=https://usr\n"),
		dropIns + "40-masked.conf":                                 {Link: "/dev/null"},
		"/usr/lib/systemd/system/kubelet.service.d/40-masked.conf": file("[Service]\nEnvironment=AWS_ENDPOINT_URL_S=https://masked\n"),
		"/etc/systemd/system/service.d/05-all.conf":                file("[Service]\nEnvironment=AWS_ENDPOINT_URL_T=https://all\n"),
		"/etc/systemd/system/service.d/30-same.conf":               file("[Service]\nEnvironment=AWS_ENDPOINT_URL_Q=https://all\n"),
		"/usr/lib/systemd/system/containerd.service":               unit("containerd", "Environment=NO_PROXY=gone\nEnvironmentFile=/etc/kubelet.env\n"),
		"/etc/systemd/system/containerd.service.d/a.conf":          file("[Service]\nEnvironment=\nEnvironmentFile=\nEnvironment=NO_PROXY=" + long + "\n"),
		"/etc/systemd/system.conf":                                 file("[Manager]\nDefaultEnvironment=HTTP_PROXY=http://default/%%41 no_proxy=default AWS_ENDPOINT_URL_X=https://x\n"),
		"/etc/systemd/system.conf.d/10.conf":                       file("[Manager]\nDefaultEnvironment=no_proxy=dropin\n"),
		"/usr/lib/systemd/system-preset/10-test.preset":            file("enable kubelet.service\nenable containerd.service\n"),
	}
	n := boot(t, node.Options{Files: files, Preset: []string{"kubelet.service", "containerd.service"}})

	got, err := host.ReadEnvironments(n.Root(), nil)
	if err != nil {
		t.Error(err)
	}
	for consumer, name := range map[bootstrap.Consumer]string{bootstrap.ConsumerKubelet: "kubelet", bootstrap.ConsumerContainerd: "containerd"} {
		waitUnit(t, n, name+".service", func(u node.Unit) bool { return u.ActiveState == "active" })
		real, err := n.ReadFile("/var/lib/" + name + ".env")
		if err != nil {
			t.Fatal(err)
		}
		vars := map[string]string{}
		for v := range bytes.SplitSeq(real, []byte{0}) {
			if name, value, ok := strings.Cut(string(v), "="); ok {
				vars[name] = value
			}
		}
		want := bootstrap.NewEnvironment(name+".service", vars)
		if want.HTTPProxy == "" || want.NoProxy == "" {
			t.Errorf("%s really has %q", name, real)
		}
		if diff := cmp.Diff(want, got[consumer]); diff != "" {
			t.Errorf("%s: -systemd +host:\n%s", name, diff)
		}
	}
}

// systemd's own services answer what is asked of them, and none is started that need not be.
func TestBusAsSystemd(t *testing.T) {
	n := boot(t, node.Options{})
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", fmt.Sprintf("unix:path=/proc/%d/root/run/dbus/system_bus_socket", n.Leader()))
	for _, what := range []string{"starting systemd-timedated", "again"} {
		began := time.Now()
		s := host.ReadClockState(t.Context())
		t.Logf("%s: %+v in %v", what, s, time.Since(began))
		if !s.Known {
			t.Errorf("%s: %+v", what, s)
		}
	}
	// The image has no systemd-resolved.
	if err := host.FlushDNS(t.Context()); err != nil {
		t.Error(err)
	}
}
