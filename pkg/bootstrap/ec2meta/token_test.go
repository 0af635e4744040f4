package ec2meta_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/ec2meta"
)

// The access key of the AWS documentation's examples.
const (
	exampleKey     = "ASIAIOSFODNN7EXAMPLE"
	exampleSecret  = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	exampleSession = "FwoGZXIvYXdzEXAMPLE//token+with/slashes=="
)

func credentialsJSON(expires time.Time) string {
	data, err := json.Marshal(map[string]string{
		"Code":            "Success",
		"LastUpdated":     expires.Add(-6 * time.Hour).UTC().Format(time.RFC3339),
		"Type":            "AWS-HMAC",
		"AccessKeyId":     exampleKey,
		"SecretAccessKey": exampleSecret,
		"Token":           exampleSession,
		"Expiration":      expires.UTC().Format(time.RFC3339),
	})
	if err != nil {
		panic(err)
	}
	return string(data)
}

func withCredentials(t *testing.T, text string) values {
	t.Helper()
	return fixture(t, "us-west-2").with(keyRole+"eks-node", text)
}

// testdata/cli-tokens.json was made by the AWS CLI's get-token code (1.43, botocore
// 1.43.11) with its clock set: the tokens are equal byte by byte.
func TestTokenKnownAnswers(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("testdata", "cli-tokens.json"))
	if err != nil {
		t.Fatal(err)
	}
	var known []struct {
		Region, Cluster, Host, Token string
		Now                          time.Time
	}
	if err := json.Unmarshal(data, &known); err != nil {
		t.Fatal(err)
	}
	if len(known) != 3 {
		t.Fatalf("%d known answers", len(known))
	}
	for _, k := range known {
		f := serve(t, withCredentials(t, credentialsJSON(k.Now.Add(time.Hour))), nil)
		token, err := client(t, f.URL).Token(t.Context(), k.Cluster, k.Region, k.Host, k.Now)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(decodeToken(t, k.Token), decodeToken(t, token.Value)); diff != "" || token.Value != k.Token {
			t.Errorf("%s: -CLI +ours:\n%s", k.Region, diff)
		}
		if want := k.Now.Add(14 * time.Minute); !token.Expires.Equal(want) {
			t.Errorf("expires %v, want %v", token.Expires, want)
		}
		if puts, gets, conns := f.counts(); puts != 1 || gets != 2 || conns != 1 {
			t.Errorf("%d token requests, %d others, %d connections; want 1, 2, 1", puts, gets, conns)
		}
	}
}

func decodeToken(t *testing.T, token string) string {
	t.Helper()
	text, ok := strings.CutPrefix(token, "k8s-aws-v1.")
	if !ok || strings.Contains(text, "=") {
		t.Fatalf("token %q has no prefix, or padding", token)
	}
	u, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(u)
}

// sts checks a token as EKS and STS do, with a signature of its own
// computing (SigV4, "Create a signed request"; facts of aws-iam-authenticator's verifier).
func sts(token, cluster, region, host string, at time.Time) error {
	if len(token) > 4096 {
		return fmt.Errorf("%d bytes", len(token))
	}
	text, ok := strings.CutPrefix(token, "k8s-aws-v1.")
	if !ok {
		return errors.New("no prefix")
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	u, err := url.Parse(string(raw))
	if err != nil {
		return err
	}
	if u.Scheme != "https" || u.Host != host || u.Path != "/" {
		return fmt.Errorf("not the URL of %s: %s://%s%s", host, u.Scheme, u.Host, u.Path)
	}
	q := u.Query()
	for name, v := range q {
		if len(v) != 1 {
			return fmt.Errorf("%d times %s", len(v), name)
		}
	}
	names := make([]string, 0, len(q))
	for name := range q {
		names = append(names, name)
	}
	slices.Sort(names)
	const all = "Action Version X-Amz-Algorithm X-Amz-Credential X-Amz-Date X-Amz-Expires X-Amz-Security-Token X-Amz-Signature X-Amz-SignedHeaders"
	if got := strings.Join(names, " "); got != all {
		return fmt.Errorf("parameters %s", got)
	}
	if q.Get("Action") != "GetCallerIdentity" || q.Get("Version") != "2011-06-15" || q.Get("X-Amz-Expires") != "60" ||
		q.Get("X-Amz-Security-Token") != exampleSession || q.Get("X-Amz-SignedHeaders") != "host;x-k8s-aws-id" {
		return fmt.Errorf("query %v", q)
	}
	signed, err := time.Parse("20060102T150405Z", q.Get("X-Amz-Date"))
	if err != nil {
		return err
	}
	if age := at.Sub(signed); age < 0 || age > 15*time.Minute {
		return fmt.Errorf("signed %v ago", age)
	}
	scope := signed.Format("20060102") + "/" + region + "/sts/aws4_request"
	if q.Get("X-Amz-Credential") != exampleKey+"/"+scope {
		return fmt.Errorf("credential %s", q.Get("X-Amz-Credential"))
	}

	var query []string
	for _, name := range names {
		if name != "X-Amz-Signature" {
			query = append(query, name+"="+strings.ReplaceAll(url.QueryEscape(q.Get(name)), "+", "%20"))
		}
	}
	hash := func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }
	mac := func(key []byte, s string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(s))
		return h.Sum(nil)
	}
	canonical := strings.Join([]string{
		"GET", "/", strings.Join(query, "&"),
		"host:" + host, "x-k8s-aws-id:" + cluster, "",
		"host;x-k8s-aws-id", hash(""),
	}, "\n")
	key := []byte("AWS4" + exampleSecret)
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	toSign := strings.Join([]string{"AWS4-HMAC-SHA256", q.Get("X-Amz-Date"), scope, hash(canonical)}, "\n")
	if want := hex.EncodeToString(mac(key, toSign)); q.Get("X-Amz-Signature") != want {
		return fmt.Errorf("signature %s, want %s", q.Get("X-Amz-Signature"), want)
	}
	return nil
}

func TestTokenVerifies(t *testing.T) {
	t.Parallel()
	now := time.Now()
	tests := []struct {
		cluster, region, host string
		expires               time.Time
		expired               bool
	}{
		{"my-cluster", "us-west-2", "sts.us-west-2.amazonaws.com", now.Add(6 * time.Hour), false},
		{"A_cluster-with.all_that-is-legal", "cn-north-1", "sts.cn-north-1.amazonaws.com.cn", now.Add(time.Minute), false},
		{"11111111-2222-3333-4444-555555555555", "us-gov-west-1", "sts.us-gov-west-1.amazonaws.com", now.Add(-time.Hour), true},
	}
	for _, tt := range tests {
		t.Run(tt.region, func(t *testing.T) {
			t.Parallel()
			f := serve(t, withCredentials(t, credentialsJSON(tt.expires)), nil)
			token, err := client(t, f.URL).Token(t.Context(), tt.cluster, tt.region, tt.host, now)
			if err != nil {
				t.Fatal(err)
			}
			if token.CredentialsExpired != tt.expired {
				t.Errorf("CredentialsExpired = %v, want %v", token.CredentialsExpired, tt.expired)
			}
			if err := sts(token.Value, tt.cluster, tt.region, tt.host, now); err != nil {
				t.Errorf("STS: %v", err)
			}
			// The check can fail.
			for name, err := range map[string]error{
				"another cluster": sts(token.Value, tt.cluster+"x", tt.region, tt.host, now),
				"another region":  sts(token.Value, tt.cluster, "us-west-1", tt.host, now),
				"another host":    sts(token.Value, tt.cluster, tt.region, "sts.amazonaws.com", now),
				"16 minutes on":   sts(token.Value, tt.cluster, tt.region, tt.host, now.Add(16*time.Minute)),
			} {
				if err == nil {
					t.Errorf("%s: accepted", name)
				}
			}
		})
	}
}

func TestTokenFailures(t *testing.T) {
	t.Parallel()
	const (
		list  = "/latest/" + keyRole
		creds = "/latest/" + keyRole + "eks-node"
	)
	good := credentialsJSON(time.Now().Add(time.Hour))
	tests := []struct {
		name   string
		values values
		change func(*fake)
		want   failure
		role   *ec2meta.RoleError
	}{
		{"no instance profile", fixture(t, "cn-north-1"), nil, failure{"GET", list, 404, "EC2ws", "http", nil}, nil},
		{"no credentials yet", fixture(t, "us-west-2").without(keyCreds), nil, failure{"GET", creds, 404, "EC2ws", "http", nil}, nil},
		{"disabled", withCredentials(t, good), on("/token", status(403)), failure{"PUT", "/latest/api/token", 403, "EC2ws", "http", nil}, nil},
		{"throttled", withCredentials(t, good), on("/eks-node", status(503)), failure{"GET", creds, 503, "EC2ws", "http", nil}, nil},
		{"silent", withCredentials(t, good), on("/eks-node", hang), failure{"GET", creds, 0, "", "http", os.ErrDeadlineExceeded}, nil},
		{"never authorized", withCredentials(t, good), on("/eks-node", status(401)), failure{"GET", creds, 401, "EC2ws", "http", nil}, nil},
		{
			"role that does not trust EC2",
			withCredentials(t, `{"Code":"AssumeRoleUnauthorizedAccess","Message":"EC2 cannot assume the role eks-node."}`), nil,
			failure{},
			&ec2meta.RoleError{Code: "AssumeRoleUnauthorizedAccess", Message: "EC2 cannot assume the role eks-node."},
		},
		{"cut short", withCredentials(t, good[:len(good)-5]), nil, failure{"GET", creds, 200, "EC2ws", "http", ec2meta.ErrMalformedCredentials}, nil},
		{"wrong type", withCredentials(t, `{"Code":"Success","SecretAccessKey":{"`+exampleSecret+`":1}}`), nil, failure{"GET", creds, 200, "EC2ws", "http", ec2meta.ErrMalformedCredentials}, nil},
		{"secret where a time should be", withCredentials(t, `{"Code":"Success","Expiration":"`+exampleSecret+`"}`), nil, failure{"GET", creds, 200, "EC2ws", "http", ec2meta.ErrMalformedCredentials}, nil},
		{"no session token", withCredentials(t, `{"Code":"Success","AccessKeyId":"`+exampleKey+`","SecretAccessKey":"`+exampleSecret+`"}`), nil, failure{"GET", creds, 200, "EC2ws", "http", ec2meta.ErrMalformedCredentials}, nil},
		{"empty list of roles", fixture(t, "us-west-2").with(keyRole, ""), nil, failure{"GET", list, 200, "EC2ws", "http", ec2meta.ErrMalformedCredentials}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, tt.values, tt.change)
			token, err := client(t, f.URL).Token(t.Context(), "c", "us-west-2", "sts.us-west-2.amazonaws.com", time.Now())
			if token != (ec2meta.Token{}) {
				t.Errorf("a token beside the error: %v", token)
			}
			if tt.role != nil {
				var role *ec2meta.RoleError
				if !errors.As(err, &role) || *role != *tt.role {
					t.Fatalf("error %v, want %v", err, tt.role)
				}
			} else {
				wantFailure(t, err, tt.want)
			}
			var m *bootstrap.MetadataError
			text := fmt.Sprintf("%v %+v", err, err)
			if errors.As(err, &m) && m.Err != nil {
				text += m.Err.Error()
			}
			for _, secret := range []string{exampleSecret, exampleSession, exampleKey, "TOKEN-"} {
				if strings.Contains(text, secret) {
					t.Errorf("a secret is in %s", text)
				}
			}
		})
	}
}

func TestTokenArguments(t *testing.T) {
	t.Parallel()
	f := serve(t, withCredentials(t, credentialsJSON(time.Now())), nil)
	c := client(t, f.URL)
	for _, arg := range [][3]string{
		{"", "us-west-2", "sts.us-west-2.amazonaws.com"},
		{"a\r\nb", "us-west-2", "sts.us-west-2.amazonaws.com"},
		{"c", "", "sts.us-west-2.amazonaws.com"},
		{"c", "us-west-2", ""},
		{"c", "us-west-2", "https://sts.us-west-2.amazonaws.com/"},
	} {
		if token, err := c.Token(t.Context(), arg[0], arg[1], arg[2], time.Now()); err == nil {
			t.Errorf("%q: %v", arg, token)
		}
	}
	if puts, gets, _ := f.counts(); puts+gets != 0 {
		t.Errorf("%d requests for arguments that cannot be used", puts+gets)
	}
}

// A session token that ended early costs one more pass.
func TestTokenAgain(t *testing.T) {
	t.Parallel()
	f := serve(t, withCredentials(t, credentialsJSON(time.Now().Add(time.Hour))), nil)
	c := client(t, f.URL)
	for range 2 {
		f.revoke()
		if _, err := c.Token(t.Context(), "c", "us-west-2", "sts.us-west-2.amazonaws.com", time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if puts, gets, _ := f.counts(); puts != 2 || gets != 2+1+2 {
		t.Errorf("%d token requests, %d others, want 2 and 5", puts, gets)
	}
}

func TestTokenIsNotPrinted(t *testing.T) {
	t.Parallel()
	token := ec2meta.Token{Value: "k8s-aws-v1.SECRET", Expires: time.Unix(1_800_000_000, 0)}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(format, token); strings.Contains(s, "SECRET") || !strings.Contains(s, "17 bytes") {
			t.Errorf("%s prints %s", format, s)
		}
		if s := fmt.Sprintf(format, &token); strings.Contains(s, "SECRET") {
			t.Errorf("%s prints %s", format, s)
		}
	}
}

func TestExecCredential(t *testing.T) {
	t.Parallel()
	token := ec2meta.Token{Value: "k8s-aws-v1.abc", Expires: time.Date(2026, 1, 2, 3, 18, 5, 0, time.FixedZone("", 3600))}
	const (
		v1   = `{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","spec":{},"status":{"expirationTimestamp":"2026-01-02T02:18:05Z","token":"k8s-aws-v1.abc"}}` + "\n"
		beta = `{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1beta1","spec":{},"status":{"expirationTimestamp":"2026-01-02T02:18:05Z","token":"k8s-aws-v1.abc"}}` + "\n"
	)
	tests := []struct{ name, info, want string }{
		{"by hand", "", v1},
		{"v1", `{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","spec":{"interactive":false}}`, v1},
		{"v1beta1", `{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1beta1","spec":{"cluster":{"server":"https://x"},"interactive":false}}`, beta},
		{"v1alpha1", `{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1alpha1"}`, ""},
		{"no version", `{"kind":"ExecCredential"}`, ""},
		{"another kind", `{"kind":"Pod","apiVersion":"client.authentication.k8s.io/v1"}`, ""},
		{"not JSON", `v1`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := ec2meta.ExecCredential(tt.info, token)
			if tt.want == "" {
				if !errors.Is(err, ec2meta.ErrExecInfo) || got != nil {
					t.Errorf("%s, %v, want ErrExecInfo", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
