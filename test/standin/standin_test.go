package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap/kubelet"
	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

func TestMain(m *testing.M) { os.Exit(probetest.Isolate(m)) }

const name = "ip-127-0-0-1.us-west-2.compute.internal"

// rendered writes what nodeprep renders below a folder and returns the
// kubelet's arguments for it.
func rendered(t *testing.T, server, ca string, userConfig map[string]any, userFlags ...string) (dir string, args []string) {
	t.Helper()
	dir = t.TempDir()
	token := filepath.Join(dir, "token")
	script := `#!/bin/sh
[ "$*" = "token --cluster-name blue --region us-west-2" ] || exit 1
echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"k8s-aws-v1.abc"}}'
`
	if err := os.WriteFile(token, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := kubelet.Render(kubelet.Params{
		Version:     kubelet.Version{Major: 1, Minor: 36, Patch: 3},
		ClusterName: "blue", Region: "us-west-2", APIServer: server, CA: []byte(ca),
		ClusterDNS: []netip.Addr{netip.MustParseAddr("172.20.0.10")}, NodeIP: netip.MustParseAddr("127.0.0.1"),
		NodeName: name, ProviderID: "aws:///us-west-2a/i-0123456789abcdef0", MaxPods: 29, MilliCPU: 2000,
		UserConfig: userConfig, UserFlags: userFlags, TokenBinary: token,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		// The files name each other by their paths on a node.
		text := string(f.Data)
		for _, at := range []string{"/etc/", "/var/lib/"} {
			text = strings.ReplaceAll(text, `"`+at, `"`+dir+at)
			text = strings.ReplaceAll(text, `=`+at, `=`+dir+at)
		}
		path := filepath.Join(dir, f.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if f.Path == kubelet.EnvironmentPath {
			_, value, _ := strings.Cut(text, "=")
			if args, err = kubelet.Words(strings.TrimSpace(value)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir, args
}

// An apiServer answers 500 once, then creates, and keeps what it was sent.
type apiServer struct {
	mu     sync.Mutex
	seen   []string // METHOD PATH
	node   map[string]any
	lease  bool
	tokens map[string]bool
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, r.Method+" "+r.URL.Path)
	s.tokens[r.Header.Get("Authorization")] = true
	body, _ := io.ReadAll(r.Body)
	switch {
	case len(s.seen) == 1:
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, `{"kind":"Status","message":"etcd is away"}`)
	case r.Method == http.MethodPost && r.URL.Path == nodesPath:
		if s.node != nil {
			w.WriteHeader(http.StatusConflict)
			return
		}
		if err := json.Unmarshal(body, &s.node); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusCreated)
	case strings.HasPrefix(r.URL.Path, leasesPath) && !s.lease:
		if r.Method == http.MethodPatch {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		s.lease = true
		w.WriteHeader(http.StatusCreated)
	}
}

func (s *apiServer) count(request string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, seen := range s.seen {
		if seen == request {
			n++
		}
	}
	return n
}

func serve(t *testing.T) (*apiServer, string, string) {
	t.Helper()
	api := &apiServer{tokens: map[string]bool{}}
	server := httptest.NewTLSServer(api)
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return api, server.URL, string(ca)
}

func TestJoin(t *testing.T) {
	api, url, ca := serve(t)
	_, args := rendered(t, url, ca, map[string]any{"maxPods": 40, "nodeStatusUpdateFrequency": "20ms"}, `--node-labels="team=a,x=y" --v=2`)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- run(ctx, args) }()

	status, lease := "PATCH "+nodesPath+"/"+name+"/status", "PATCH "+leasesPath+"/"+name
	for api.count(status) < 3 || api.count(lease) < 3 {
		if !wait(ctx, 5*time.Millisecond) {
			t.Fatalf("the node did not join: %v", api.seen)
		}
	}
	response, err := http.Get("http://127.0.0.1:10248/healthz")
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(response.Body); string(body) != "ok" {
		t.Errorf("healthz: %q", body)
	}
	_ = response.Body.Close()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("end: %v", err)
	}

	api.mu.Lock()
	defer api.mu.Unlock()
	if len(api.tokens) != 1 || !api.tokens["Bearer k8s-aws-v1.abc"] {
		t.Errorf("tokens %v", api.tokens)
	}
	meta, _ := api.node["metadata"].(map[string]any)
	spec, _ := api.node["spec"].(map[string]any)
	st, _ := api.node["status"].(map[string]any)
	labels, _ := meta["labels"].(map[string]any)
	capacity, _ := st["capacity"].(map[string]any)
	if meta["name"] != name || labels["team"] != "a" || labels["x"] != "y" || labels["kubernetes.io/hostname"] != name {
		t.Errorf("metadata %v", meta)
	}
	if spec["providerID"] != "aws:///us-west-2a/i-0123456789abcdef0" || !strings.Contains(fmt.Sprint(spec["taints"]), "uninitialized") {
		t.Errorf("spec %v", spec)
	}
	if capacity["pods"] != "40" || !strings.Contains(fmt.Sprint(st["addresses"]), "127.0.0.1") {
		t.Errorf("status %v", st)
	}
}

func TestJoinTakesOverANode(t *testing.T) {
	api, url, ca := serve(t)
	api.seen, api.node, api.lease = []string{"earlier"}, map[string]any{}, true
	_, args := rendered(t, url, ca, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- run(ctx, args) }()
	for api.count("PATCH "+nodesPath+"/"+name) < 1 {
		if !wait(ctx, 5*time.Millisecond) {
			t.Fatalf("the node was not taken over: %v", api.seen)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("end: %v", err)
	}
}

func TestExits(t *testing.T) {
	_, url, ca := serve(t)
	replace := func(path, from, to string) func(string, []string) []string {
		return func(dir string, args []string) []string {
			path := filepath.Join(dir, path)
			text, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(text), from) {
				panic(fmt.Sprintf("%s: %v, no %q", path, err, from))
			}
			if err := os.WriteFile(path, []byte(strings.Replace(string(text), from, to, 1)), 0o600); err != nil {
				panic(err)
			}
			return args
		}
	}
	add := func(more ...string) func(string, []string) []string {
		return func(_ string, args []string) []string { return append(args, more...) }
	}
	cases := map[string]struct {
		change func(dir string, args []string) []string
		want   string
	}{
		"unknown flag":        {add("--node-lables=a=b"), "failed to parse kubelet flag"},
		"removed flag":        {add("--pod-infra-container-image=x"), "failed to parse kubelet flag"},
		"argument":            {add("run"), "unknown command run"},
		"node IP":             {add("--node-ip=eth0"), "--node-ip"},
		"cloud provider":      {add("--cloud-provider=aws"), "--cloud-provider"},
		"unknown field":       {replace(kubelet.ConfigPath, `"maxPods"`, `"maxPodz"`), "maxPodz"},
		"wrong type":          {replace(kubelet.ConfigPath, `"maxPods": 29`, `"maxPods": "29"`), "maxPods"},
		"quantity":            {replace(kubelet.ConfigPath, "574Mi", "lots"), "kubeReserved"},
		"drop-in field":       {replace(kubelet.DropInPath, `"maxPods"`, `"maxPodz"`), "40-nodeprep.conf"},
		"drop-in kind":        {replace(kubelet.DropInPath, `"KubeletConfiguration"`, `"Other"`), "40-nodeprep.conf"},
		"CA":                  {replace(kubelet.CAPath, "BEGIN", "GIN"), "client CA file"},
		"kubeconfig":          {replace(kubelet.KubeconfigPath, `"current-context": "kubelet"`, `"current-context": "other"`), "kubeconfig"},
		"credential provider": {replace(kubelet.CredentialProviderConfigPath, "matchImages", "matchimage"), "CRI auth plugins"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir, args := rendered(t, url, ca, map[string]any{"maxPods": 40})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			err := run(ctx, c.change(dir, args))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one about %q", err, c.want)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	if err := run(t.Context(), []string{"--version"}); err != nil {
		t.Error(err)
	}
	o, err := parseFlags([]string{"--version", "-v", "2", "--max_pods=3"})
	if err != nil || o.version != "true" || o.maxPods != 3 {
		t.Errorf("%+v, %v", o, err)
	}
}
