package host_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
)

const (
	kubeletUnit    = "/usr/lib/systemd/system/kubelet.service"
	kubeletDropIns = "/etc/systemd/system/kubelet.service.d/"
	service        = "[Service]\n"
)

func TestReadEnvironments(t *testing.T) {
	t.Parallel()
	type envs = map[bootstrap.Consumer]bootstrap.Environment
	kubelet := func(e bootstrap.Environment) envs {
		e.Unit = "kubelet.service"
		return envs{bootstrap.ConsumerAgent: {}, bootstrap.ConsumerKubelet: e}
	}
	noProxy := func(s string) envs { return kubelet(bootstrap.Environment{NoProxy: s}) }
	for name, c := range map[string]struct {
		files   map[string]string
		links   map[string]string // to their targets
		environ []string
		want    envs
		err     string
	}{
		"nothing": {want: envs{bootstrap.ConsumerAgent: {}}},
		"the agent's own": {
			environ: []string{"HTTPS_PROXY=http://p:3128", "no_proxy=a", "PATH=/bin", "junk", "NO_PROXY=old", "NO_PROXY=a"},
			want:    envs{bootstrap.ConsumerAgent: {HTTPSProxy: "http://p:3128", NoProxy: "a"}},
		},
		"units without settings": {
			files: map[string]string{kubeletUnit: service, "/usr/lib/systemd/system/containerd.service": service},
			want:  envs{bootstrap.ConsumerAgent: {}, bootstrap.ConsumerKubelet: {Unit: "kubelet.service"}, bootstrap.ConsumerContainerd: {Unit: "containerd.service"}},
		},
		// https://repost.aws/knowledge-center/eks-http-proxy-containerd-automation
		"as AWS documents it": {
			files: map[string]string{
				kubeletUnit: service + "EnvironmentFile=/etc/eks/kubelet/environment\n",
				"/usr/lib/systemd/system/containerd.service":               service,
				"/etc/systemd/system/containerd.service.d/http-proxy.conf": service + "EnvironmentFile=/etc/environment\n",
				kubeletDropIns + "http-proxy.conf":                         service + "EnvironmentFile=/etc/environment\n",
				"/etc/environment": "http_proxy=\"http://p:3128\"\nhttps_proxy=http://p:3128\nno_proxy=localhost,169.254.169.254\n" +
					"HTTP_PROXY=http://p:3128\nHTTPS_PROXY=http://p:3128\nNO_PROXY=localhost,169.254.169.254\n",
			},
			want: envs{
				bootstrap.ConsumerAgent:      {},
				bootstrap.ConsumerKubelet:    {HTTPSProxy: "http://p:3128", HTTPProxy: "http://p:3128", NoProxy: "localhost,169.254.169.254", Unit: "kubelet.service"},
				bootstrap.ConsumerContainerd: {HTTPSProxy: "http://p:3128", HTTPProxy: "http://p:3128", NoProxy: "localhost,169.254.169.254", Unit: "containerd.service"},
			},
		},
		"drop-ins without a unit": {files: map[string]string{kubeletDropIns + "a.conf": service + "Environment=NO_PROXY=a\n"}, want: envs{bootstrap.ConsumerAgent: {}}},
		"masked": {
			files: map[string]string{kubeletUnit: service + "Environment=NO_PROXY=a\n"},
			links: map[string]string{"/etc/systemd/system/kubelet.service": "/dev/null"},
			want:  envs{bootstrap.ConsumerAgent: {}},
		},
		"the unit in /etc hides the others": {
			files: map[string]string{
				kubeletUnit:                                   service + "Environment=NO_PROXY=usr HTTP_PROXY=http://usr\n",
				"/run/systemd/system/kubelet.service":         service + "Environment=NO_PROXY=run\n",
				"/etc/systemd/system/kubelet.service":         service + "Environment=NO_PROXY=etc\n",
				"/usr/local/lib/systemd/system/other.service": service,
			},
			want: noProxy("etc"),
		},
		"the order of drop-ins is that of names": {
			files: map[string]string{
				kubeletUnit:                  service + "Environment=NO_PROXY=unit\n",
				kubeletDropIns + "10-a.conf": service + "Environment=NO_PROXY=etc10\n",
				"/usr/lib/systemd/system/kubelet.service.d/20-a.conf": service + "Environment=NO_PROXY=usr20\n",
				"/run/systemd/system/kubelet.service.d/15-a.conf":     service + "Environment=NO_PROXY=run15\n",
				kubeletDropIns + "99-a.conf.bak":                      service + "Environment=NO_PROXY=backup\n",
				kubeletDropIns + ".99-a.conf":                         service + "Environment=NO_PROXY=hidden\n",
			},
			want: noProxy("usr20"),
		},
		"of drop-ins of one name the first counts": {
			files: map[string]string{
				kubeletUnit:                  service,
				kubeletDropIns + "20-a.conf": service + "Environment=NO_PROXY=etc\n",
				"/usr/lib/systemd/system/kubelet.service.d/20-a.conf": service + "Environment=NO_PROXY=usr HTTP_PROXY=http://usr\n",
				"/etc/systemd/system/service.d/20-a.conf":             service + "Environment=NO_PROXY=all\n",
			},
			want: noProxy("etc"),
		},
		"masked drop-in": {
			files: map[string]string{kubeletUnit: service, "/usr/lib/systemd/system/kubelet.service.d/20-a.conf": service + "Environment=NO_PROXY=usr\n"},
			links: map[string]string{kubeletDropIns + "20-a.conf": "/dev/null"},
			want:  kubelet(bootstrap.Environment{}),
		},
		"drop-ins of all services": {
			files: map[string]string{kubeletUnit: service, "/etc/systemd/system/service.d/10-proxy.conf": service + "Environment=NO_PROXY=all\n"},
			want:  noProxy("all"),
		},
		"an empty assignment takes back": {
			files: map[string]string{
				kubeletUnit:                  service + "Environment=NO_PROXY=a\nEnvironmentFile=/etc/a\nUnsetEnvironment=HTTP_PROXY\n",
				kubeletDropIns + "10-a.conf": service + "Environment=\nEnvironment=HTTP_PROXY=http://p\nEnvironmentFile=\nUnsetEnvironment=\n",
				"/etc/a":                     "HTTPS_PROXY=http://p\n",
			},
			want: kubelet(bootstrap.Environment{HTTPProxy: "http://p"}),
		},
		"quotes, escapes and specifiers": {
			files: map[string]string{kubeletUnit: service + `Environment="HTTPS_PROXY=http://u:p%%40ss@p:3128" 'NO_PROXY=a,\x62,%n,%p,%q' \` + "\n  HTTP_PROXY=http://%%p\n"},
			want:  kubelet(bootstrap.Environment{HTTPSProxy: "http://u:p%40ss@p:3128", HTTPProxy: "http://%p", NoProxy: "a,b,kubelet.service,kubelet,%q"}),
		},
		"files come after assignments": {
			files: map[string]string{
				kubeletUnit: service + "EnvironmentFile=/etc/a\nEnvironmentFile=-%E/b\nEnvironment=NO_PROXY=unit HTTP_PROXY=http://unit\nEnvironmentFile=-/etc/none\nEnvironmentFile=etc/c\n",
				"/etc/a":    "NO_PROXY=a\nHTTPS_PROXY=http://a\n",
				"/etc/b":    "NO_PROXY=b\n",
				"/etc/c":    "NO_PROXY=c\n",
			},
			want: kubelet(bootstrap.Environment{NoProxy: "b", HTTPSProxy: "http://a", HTTPProxy: "http://unit"}),
		},
		"wildcards": {
			files: map[string]string{
				kubeletUnit: service + "EnvironmentFile=/etc/env.d/*.env\n", "/etc/env.d/1.env": "NO_PROXY=1\n", "/etc/env.d/2.env": "NO_PROXY=2\n", "/etc/env.d/3": "NO_PROXY=3\n",
			},
			links: map[string]string{"/etc/env.d/0.env": "/etc/env.d/3"},
			want:  noProxy("2"),
		},
		"links stay below the root": {
			files: map[string]string{"/opt/kubelet.service": service + "EnvironmentFile=/etc/a\n", "/opt/env": "NO_PROXY=a\n"},
			links: map[string]string{kubeletUnit: "/opt/kubelet.service", "/etc/a": "../opt/env"},
			want:  noProxy("a"),
		},
		"unset": {
			files: map[string]string{
				"/etc/systemd/system.conf": "[Manager]\nDefaultEnvironment=HTTP_PROXY=http://d\n",
				kubeletUnit:                service + "Environment=NO_PROXY=a HTTPS_PROXY=http://p AWS_USE_FIPS_ENDPOINT=true\nUnsetEnvironment=HTTPS_PROXY NO_PROXY=b AWS_USE_FIPS_ENDPOINT=true HTTP_PROXY\n",
			},
			want: noProxy("a"),
		},
		"defaults of the manager": {
			files: map[string]string{
				"/usr/lib/systemd/system.conf":             "[Manager]\nDefaultEnvironment=HTTP_PROXY=http://hidden\n",
				"/etc/systemd/system.conf":                 "[Manager]\nDefaultEnvironment=NO_PROXY=a \"HTTPS_PROXY=http://%%d\"\n[Service]\nDefaultEnvironment=NO_PROXY=b\n",
				"/etc/systemd/system.conf.d/10-proxy.conf": "[Manager]\nDefaultEnvironment=AWS_ENDPOINT_URL_STS=https://sts.example\n",
				"/usr/lib/systemd/system.conf.d/20-x.conf": "[Manager]\nDefaultEnvironment=https_proxy=http://x\n",
				kubeletUnit: service + "Environment=NO_PROXY=c\n",
			},
			want: kubelet(bootstrap.Environment{
				HTTPSProxy: "http://%d", NoProxy: "c", Endpoints: map[string]string{"STS": "https://sts.example"},
				Lower: &bootstrap.Environment{HTTPSProxy: "http://x"},
			}),
		},
		"defaults taken back": {
			files: map[string]string{
				"/etc/systemd/system.conf":          "[Manager]\nDefaultEnvironment=NO_PROXY=a\n",
				"/etc/systemd/system.conf.d/x.conf": "[Manager]\nDefaultEnvironment=\n",
				kubeletUnit:                         service,
			},
			want: kubelet(bootstrap.Environment{}),
		},
		"not to be read": {
			files: map[string]string{
				kubeletUnit:                       service + "Environment=NO_PROXY=a\nEnvironmentFile=/etc/dir\nEnvironmentFile=/etc/large\n",
				"/etc/dir/x":                      "",
				"/etc/large":                      strings.Repeat("#", host.SourceLimit+1),
				kubeletDropIns + "a.conf/x":       "",
				"/etc/systemd/system.conf.d":      "a file",
				"/etc/systemd/system/service.d/x": "",
			},
			links: map[string]string{kubeletDropIns + "b.conf": "b.conf"},
			want:  noProxy("a"),
			err:   "/etc/dir|/etc/large|system.conf.d|b.conf",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := tree(t, c.files)
			for path, target := range c.links {
				path = filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(target, path); err != nil {
					t.Fatal(err)
				}
			}
			got, err := host.ReadEnvironments(root, c.environ)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if (err != nil) != (c.err != "") {
				t.Fatalf("error %v", err)
			}
			for part := range strings.SplitSeq(c.err, "|") {
				if err != nil && !strings.Contains(err.Error(), part) {
					t.Errorf("error does not name %q: %v", part, err)
				}
			}
			for _, text := range []string{fmt.Sprint(got), fmt.Sprint(err)} {
				if strings.Contains(text, "p%40ss") {
					t.Errorf("the password is in %s", text)
				}
			}
		})
	}
}

// The whole reading is cheap against any boot.
func TestReadEnvironmentsCost(t *testing.T) {
	files := map[string]string{"/etc/environment": "NO_PROXY=a\n"}
	for _, unit := range []string{"kubelet", "containerd"} {
		files["/usr/lib/systemd/system/"+unit+".service"] = service + "EnvironmentFile=/etc/environment\n"
		for i := range 10 {
			files[fmt.Sprintf("/etc/systemd/system/%s.service.d/%d.conf", unit, i)] = service + "Environment=A=1 B=2\n"
		}
	}
	root := tree(t, files)
	best := time.Hour
	for i := 0; i < 5 || i < 200 && best > 5*time.Millisecond; i++ {
		began := time.Now()
		if _, err := host.ReadEnvironments(root, os.Environ()); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(began))
	}
	if t.Logf("the fastest took %v", best); best > 5*time.Millisecond {
		t.Errorf("the fastest reading took %v, want at most 5ms", best)
	}
}
