package imds_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/test/e2e/vpc/imds"
)

func example() imds.Instance {
	return imds.Instance{
		ID: "i-0123456789abcdef0", Type: "m5.large", Architecture: "x86_64", AccountID: "111122223333",
		Region: "us-west-2", Zone: "us-west-2a", Domain: "amazonaws.com", Partition: "aws",
		LocalHostname: "ip-10-20-1-50.us-west-2.compute.internal", MAC: "02:29:96:8f:6a:2d",
		LocalIPv4: netip.MustParseAddr("10.20.1.50"),
		IPv6:      []netip.Addr{netip.MustParseAddr("2600:1f13::1"), netip.MustParseAddr("2600:1f13::2")},
		VPC:       []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("100.64.0.0/16"), netip.MustParsePrefix("2600:1f13::/56")},
		Subnet:    []netip.Prefix{netip.MustParsePrefix("10.20.1.0/24")},
		Role:      "lab-node", Credentials: imds.Credentials{AccessKeyID: "ASIA", SecretAccessKey: "secret", SessionToken: "session"},
		UserData: []byte{0x1f, 0x8b, 0x08},
	}
}

type client struct {
	t       *testing.T
	service *imds.Service
	token   string
}

func (c client) do(method, path string, header ...string) *http.Response {
	c.t.Helper()
	r := httptest.NewRequestWithContext(c.t.Context(), method, path, nil)
	if c.token != "" {
		r.Header.Set("X-aws-ec2-metadata-token", c.token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	c.service.ServeHTTP(w, r)
	return w.Result()
}

func (c client) get(path string) (int, string) {
	c.t.Helper()
	res := c.do(http.MethodGet, path)
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		return res.StatusCode, ""
	}
	return res.StatusCode, string(b)
}

const ttl = "X-aws-ec2-metadata-token-ttl-seconds"

func login(t *testing.T, i imds.Instance) client {
	t.Helper()
	c := client{t: t, service: imds.New(i, nil)}
	res := c.do(http.MethodPut, "/latest/api/token", ttl, "60")
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || res.Header.Get(ttl) != "60" {
		t.Fatalf("token: %d %v, TTL %q, %v", res.StatusCode, b, res.Header.Get(ttl), err)
	}
	c.token = string(b)
	return c
}

func TestTokenRequest(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		method, path string
		header       []string
		want         int
	}{
		"good":            {http.MethodPut, "/latest/api/token", []string{ttl, "21600"}, 200},
		"shortest":        {http.MethodPut, "/latest/api/token", []string{ttl, "1"}, 200},
		"no TTL":          {http.MethodPut, "/latest/api/token", nil, 400},
		"TTL zero":        {http.MethodPut, "/latest/api/token", []string{ttl, "0"}, 400},
		"TTL too long":    {http.MethodPut, "/latest/api/token", []string{ttl, "21601"}, 400},
		"TTL not a count": {http.MethodPut, "/latest/api/token", []string{ttl, "1h"}, 400},
		"dated path":      {http.MethodPut, "/2021-03-23/api/token", []string{ttl, "60"}, 403},
		"through a proxy": {http.MethodPut, "/latest/api/token", []string{ttl, "60", "X-Forwarded-For", "10.0.0.9"}, 403},
		"no token":        {http.MethodGet, "/latest/meta-data/", nil, 401},
		"wrong token":     {http.MethodGet, "/latest/meta-data/", []string{"X-aws-ec2-metadata-token", "x"}, 401},
		"POST":            {http.MethodPost, "/latest/meta-data/", nil, 405},
		"unknown version": {http.MethodGet, "/1999-01-01/meta-data/", nil, 404},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client{t: t, service: imds.New(example(), nil)}
			res := c.do(row.method, row.path, row.header...)
			defer func() { _ = res.Body.Close() }()
			if res.StatusCode != row.want || res.Header.Get("Server") != "EC2ws" {
				t.Errorf("status %d, server %q; want %d from EC2ws", res.StatusCode, res.Header.Get("Server"), row.want)
			}
		})
	}
}

func TestTokenExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := login(t, example())
		<-time.After(59 * time.Second)
		if status, _ := c.get("/latest/meta-data/mac"); status != 200 {
			t.Errorf("after 59 s: %d", status)
		}
		<-time.After(2 * time.Second)
		if status, _ := c.get("/latest/meta-data/mac"); status != 401 {
			t.Errorf("after 61 s: %d, want 401", status)
		}
	})
}

func TestValues(t *testing.T) {
	t.Parallel()
	c := login(t, example())
	const mac = "/latest/meta-data/network/interfaces/macs/02:29:96:8f:6a:2d/"
	for path, want := range map[string]string{
		"/latest/meta-data/instance-id":              "i-0123456789abcdef0",
		"/2021-03-23/meta-data/instance-id":          "i-0123456789abcdef0",
		"/latest/meta-data/placement/region":         "us-west-2",
		"/latest/meta-data/services/domain":          "amazonaws.com",
		"/latest/meta-data/ipv6":                     "2600:1f13::1",
		"/latest/meta-data/network/interfaces/macs/": "02:29:96:8f:6a:2d/",
		mac + "ipv6s":                                 "2600:1f13::1\n2600:1f13::2",
		mac + "vpc-ipv4-cidr-block":                   "10.20.0.0/16",
		mac + "vpc-ipv4-cidr-blocks":                  "10.20.0.0/16\n100.64.0.0/16",
		mac + "vpc-ipv6-cidr-blocks":                  "2600:1f13::/56",
		mac + "subnet-ipv4-cidr-block":                "10.20.1.0/24",
		"/latest/meta-data/iam/security-credentials/": "lab-node",
		"/latest/meta-data/iam/security-credentials":  "lab-node",
		"/latest/user-data":                           "\x1f\x8b\x08",
		"/latest":                                     "dynamic\nmeta-data\nuser-data",
		"/latest/dynamic/instance-identity/":          "document",
		"/latest/meta-data/placement/":                "availability-zone\nregion",
		"/latest/meta-data/iam/":                      "info\nsecurity-credentials/",
	} {
		if _, got := c.get(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	for _, path := range []string{
		"/latest/meta-data/public-ipv4", mac + "network-card", "/latest/meta-data/tags/instance",
		"/latest/meta-data/autoscaling/target-lifecycle-state", "/latest/meta-data/mac/x", "/latest/nothing",
	} {
		if status, _ := c.get(path); status != 404 {
			t.Errorf("%s: %d, want 404", path, status)
		}
	}
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	c := login(t, example())
	var doc struct{ Region, AccountID, InstanceType, PrivateIP string }
	_, body := c.get("/latest/dynamic/instance-identity/document")
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Region != "us-west-2" || doc.AccountID != "111122223333" || doc.InstanceType != "m5.large" || doc.PrivateIP != "10.20.1.50" {
		t.Errorf("identity document: %+v", doc)
	}
	var cred struct {
		Code, AccessKeyID, SecretAccessKey, Token string
		Expiration                                time.Time
	}
	_, body = c.get("/latest/meta-data/iam/security-credentials/lab-node")
	if err := json.Unmarshal([]byte(body), &cred); err != nil {
		t.Fatal(err)
	}
	if cred.Code != "Success" || cred.AccessKeyID != "ASIA" || cred.SecretAccessKey != "secret" || cred.Token != "session" || time.Until(cred.Expiration) < time.Hour {
		t.Errorf("credentials: %+v", cred)
	}
	var info struct{ InstanceProfileArn string }
	_, body = c.get("/latest/meta-data/iam/info")
	if err := json.Unmarshal([]byte(body), &info); err != nil || !strings.HasSuffix(info.InstanceProfileArn, "/lab-node") {
		t.Errorf("profile: %s, %v", info.InstanceProfileArn, err)
	}
}

// Changes lie on top of each other and come off in any order.
func TestChange(t *testing.T) {
	t.Parallel()
	c := login(t, example())
	noRole := c.service.Change(func(i *imds.Instance) { i.Role = "" })
	noData := c.service.Change(func(i *imds.Instance) { i.UserData = nil })
	look := func() []int {
		role, _ := c.get("/latest/meta-data/iam/security-credentials/")
		data, _ := c.get("/latest/user-data")
		return []int{role, data}
	}
	var got [][]int
	got = append(got, look())
	noRole()
	noRole()
	got = append(got, look())
	noData()
	got = append(got, look())
	if diff := cmp.Diff([][]int{{404, 404}, {200, 404}, {200, 200}}, got); diff != "" {
		t.Errorf("role and user data (-want +got):\n%s", diff)
	}
}

func TestBehave(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		behaviour  imds.Behaviour
		token, get int
	}{
		"off":           {imds.Behaviour{Off: true}, 403, 403},
		"503":           {imds.Behaviour{Status: 503}, 503, 503},
		"token refused": {imds.Behaviour{TokenStatus: 403}, 403, 200},
		"another":       {imds.Behaviour{Server: "nginx"}, 200, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := login(t, example())
			undo := c.service.Behave(row.behaviour)
			put := c.do(http.MethodPut, "/latest/api/token", ttl, "60")
			_ = put.Body.Close()
			get, _ := c.get("/latest/meta-data/mac")
			if put.StatusCode != row.token || get != row.get {
				t.Errorf("token %d, value %d; want %d and %d", put.StatusCode, get, row.token, row.get)
			}
			if s := row.behaviour.Server; s != "" && put.Header.Get("Server") != s {
				t.Errorf("Server %q, want %q", put.Header.Get("Server"), s)
			}
			undo()
			if get, _ := c.get("/latest/meta-data/mac"); get != 200 {
				t.Errorf("after undo: %d", get)
			}
		})
	}
}

func TestVersionOne(t *testing.T) {
	t.Parallel()
	i := example()
	i.TokensOptional = true
	c := client{t: t, service: imds.New(i, nil)}
	if status, got := c.get("/latest/meta-data/mac"); status != 200 || got != i.MAC {
		t.Errorf("without a token: %d %q", status, got)
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	c := login(t, example())
	c.get("/latest/meta-data/mac")
	c.get("/latest/nothing")
	want := imds.Counts{Requests: 3, TokenRequests: 1, MaxConcurrent: 1}
	if diff := cmp.Diff(want, c.service.Counts()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var log []string
	for _, r := range c.service.Requests() {
		log = append(log, r.Method+" "+r.Path+" "+http.StatusText(r.Status))
	}
	wantLog := []string{"PUT /latest/api/token OK", "GET /latest/meta-data/mac OK", "GET /latest/nothing Not Found"}
	if diff := cmp.Diff(wantLog, log); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	c.service.Reset()
	if diff := cmp.Diff(imds.Counts{}, c.service.Counts()); diff != "" {
		t.Errorf("after reset:\n%s", diff)
	}
}
