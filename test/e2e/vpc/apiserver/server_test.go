package apiserver_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/test/e2e/vpc/apiserver"
)

const nodeName = "ip-10-20-1-50.us-west-2.compute.internal"

func server() *apiserver.Server {
	return apiserver.New(apiserver.Config{Verifier: verifier(), NodeName: nodeName, ServiceIP: netip.MustParseAddr("172.20.0.1")})
}

type reply struct {
	status int
	kind   string // media type
	object map[string]any
	text   string
}

func send(t *testing.T, s *apiserver.Server, method, path, token, mediaType, body string) reply {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if mediaType != "" {
		r.Header.Set("Content-Type", mediaType)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	res := w.Result()
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := reply{status: res.StatusCode, kind: res.Header.Get("Content-Type"), text: string(b)}
	if out.kind == "application/json" {
		if err := json.Unmarshal(b, &out.object); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
	}
	return out
}

func TestAnonymous(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		behaviour    apiserver.Behaviour
		path, token  string
		status       int
		kind, reason string
	}{
		"ready":           {path: "/readyz", status: 200, kind: "text/plain; charset=utf-8"},
		"live":            {path: "/livez", status: 200, kind: "text/plain; charset=utf-8"},
		"root":            {path: "/", status: 401, kind: "application/json", reason: "Unauthorized"},
		"version":         {path: "/version", status: 401, kind: "application/json", reason: "Unauthorized"},
		"bad token":       {path: "/readyz", token: "k8s-aws-v1.x", status: 401, kind: "application/json", reason: "Unauthorized"},
		"closed":          {behaviour: apiserver.Behaviour{Anonymous: 401}, path: "/readyz", status: 401, kind: "application/json", reason: "Unauthorized"},
		"forbidden":       {behaviour: apiserver.Behaviour{Anonymous: 403}, path: "/readyz", status: 403, kind: "application/json", reason: "Forbidden"},
		"busy":            {behaviour: apiserver.Behaviour{Busy: true}, path: "/readyz", status: 429, kind: "text/plain; charset=utf-8"},
		"something else":  {behaviour: apiserver.Behaviour{HTML: 404}, path: "/readyz", status: 404, kind: "text/html"},
		"nothing is here": {path: "/nothing", status: 401, kind: "application/json", reason: "Unauthorized"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := server()
			undo := s.Behave(row.behaviour)
			got := send(t, s, http.MethodGet, row.path, row.token, "", "")
			if got.status != row.status || got.kind != row.kind {
				t.Errorf("%d %s, want %d %s", got.status, got.kind, row.status, row.kind)
			}
			if row.reason != "" && (got.object["kind"] != "Status" || got.object["reason"] != row.reason) {
				t.Errorf("body %v, want a Status with reason %s", got.object, row.reason)
			}
			undo()
			if got := send(t, s, http.MethodGet, "/readyz", "", "", ""); got.status != 200 || got.text != "ok" {
				t.Errorf("after undo: %d %q", got.status, got.text)
			}
		})
	}
}

func TestBusyNowAndThen(t *testing.T) {
	t.Parallel()
	s := server()
	s.Behave(apiserver.Behaviour{BusyEvery: 3})
	var got []int
	for range 6 {
		got = append(got, send(t, s, http.MethodGet, "/readyz", "", "", "").status)
	}
	if diff := cmp.Diff([]int{200, 200, 429, 200, 200, 429}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A kubelet's way to a registered node.
func TestRegister(t *testing.T) {
	t.Parallel()
	s := server()
	token := presign(t, verifier(), "sts.us-west-2.amazonaws.com", time.Now(), goodQuery)
	const nodes = "/api/v1/nodes"
	const lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
	object := func(name string) string {
		return `{"kind":"Node","apiVersion":"v1","metadata":{"name":"` + name + `","labels":{"a":"b"}},
			"status":{"conditions":[{"type":"Ready","status":"False"},{"type":"DiskPressure","status":"False"}]}}`
	}
	for _, step := range []struct {
		what, method, path, mediaType, body string
		want                                int
	}{
		{"no node yet", http.MethodGet, nodes + "/" + nodeName, "", "", 404},
		{"another node", http.MethodPost, nodes, "application/json", object("ip-10-0-0-9"), 403},
		{"register", http.MethodPost, nodes, "application/json", object(nodeName), 201},
		{"again", http.MethodPost, nodes, "application/json", object(nodeName), 409},
		{"protobuf", http.MethodPost, nodes, "application/vnd.kubernetes.protobuf", "k8s", 415},
		{"not JSON", http.MethodPost, nodes, "application/json", "{", 400},
		{
			"ready", http.MethodPatch, nodes + "/" + nodeName + "/status", "application/strategic-merge-patch+json",
			`{"status":{"conditions":[{"type":"Ready","status":"True"}]}}`, 200,
		},
		{"label", http.MethodPatch, nodes + "/" + nodeName, "application/merge-patch+json", `{"metadata":{"labels":{"a":null,"c":"d"}}}`, 200},
		{"unknown patch", http.MethodPatch, nodes + "/" + nodeName, "application/json-patch+json", `{}`, 415},
		{"another's node", http.MethodGet, nodes + "/ip-10-0-0-9", "", "", 403},
		{"list", http.MethodGet, nodes, "", "", 200},
		{"lease", http.MethodPost, lease, "application/json", `{"metadata":{"name":"` + nodeName + `"},"spec":{}}`, 201},
		{"renew", http.MethodPut, lease + "/" + nodeName, "application/json", `{"metadata":{"name":"` + nodeName + `"},"spec":{}}`, 200},
		{"event", http.MethodPost, "/api/v1/namespaces/default/events", "application/json", `{"metadata":{"name":"x"}}`, 201},
		{"something else", http.MethodGet, "/api/v1/pods", "", "", 404},
	} {
		if got := send(t, s, step.method, step.path, token, step.mediaType, step.body); got.status != step.want {
			t.Errorf("%s: %d, want %d: %s", step.what, got.status, step.want, got.text)
		}
	}
	list := s.Nodes()
	if len(list) != 1 || list[0].Name != nodeName || list[0].Renewals != 2 {
		t.Fatalf("nodes: %+v", list)
	}
	var node struct {
		Metadata struct{ Labels map[string]string }
		Status   struct{ Conditions []map[string]string }
	}
	if err := json.Unmarshal(list[0].Object, &node); err != nil {
		t.Fatal(err)
	}
	want := []map[string]string{{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}}
	if diff := cmp.Diff(want, node.Status.Conditions); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"c": "d"}, node.Metadata.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	who := send(t, s, http.MethodPost, "/apis/authentication.k8s.io/v1/selfsubjectreviews", token, "application/json", "{}")
	if who.status != 201 || !strings.Contains(who.text, "system:node:"+nodeName) {
		t.Errorf("identity: %d %s", who.status, who.text)
	}
	undo := s.Behave(apiserver.Behaviour{Unmapped: true})
	defer undo()
	if got := send(t, s, http.MethodGet, nodes, token, "", ""); got.status != 401 || len(s.Rejections()) != 1 {
		t.Errorf("unmapped role: %d, rejections %v", got.status, s.Rejections())
	}
}
