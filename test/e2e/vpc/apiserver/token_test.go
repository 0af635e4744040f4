package apiserver_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	signer "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/nodeprep/nodeprep/test/e2e/vpc/apiserver"
)

func verifier() apiserver.Verifier {
	return apiserver.Verifier{
		ClusterName: "lab", Hosts: []string{"sts.us-west-2.amazonaws.com"},
		AccessKeyID: "ASIALAB", SecretAccessKey: "se/cr+et", SessionToken: "to//ken+==",
	}
}

// presign makes a token with the SDK's signer, which the verifier does not use.
func presign(t *testing.T, v apiserver.Verifier, host string, at time.Time, query string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-k8s-aws-id", v.ClusterName)
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	cred := aws.Credentials{AccessKeyID: v.AccessKeyID, SecretAccessKey: v.SecretAccessKey, SessionToken: v.SessionToken}
	u, _, err := signer.NewSigner().PresignHTTP(t.Context(), cred, req, empty, "sts", "us-west-2", at)
	if err != nil {
		t.Fatal(err)
	}
	return "k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte(u))
}

const goodQuery = "Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60"

func TestVerify(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	const host = "sts.us-west-2.amazonaws.com"
	other := func(edit func(*apiserver.Verifier)) apiserver.Verifier {
		v := verifier()
		edit(&v)
		return v
	}
	for name, row := range map[string]struct {
		token string
		want  error
	}{
		"good":            {presign(t, verifier(), host, now, goodQuery), nil},
		"14 minutes old":  {presign(t, verifier(), host, now.Add(-14*time.Minute), goodQuery), nil},
		"16 minutes old":  {presign(t, verifier(), host, now.Add(-16*time.Minute), goodQuery), apiserver.ErrTime},
		"20 minutes fast": {presign(t, verifier(), host, now.Add(20*time.Minute), goodQuery), apiserver.ErrTime},
		"other cluster":   {presign(t, other(func(v *apiserver.Verifier) { v.ClusterName = "prod" }), host, now, goodQuery), apiserver.ErrSignature},
		"other secret":    {presign(t, other(func(v *apiserver.Verifier) { v.SecretAccessKey = "x" }), host, now, goodQuery), apiserver.ErrSignature},
		"other key":       {presign(t, other(func(v *apiserver.Verifier) { v.AccessKeyID = "AKIA" }), host, now, goodQuery), apiserver.ErrSignature},
		"no session":      {presign(t, other(func(v *apiserver.Verifier) { v.SessionToken = "" }), host, now, goodQuery), apiserver.ErrSignature},
		"other host":      {presign(t, verifier(), "sts.eu-west-1.amazonaws.com", now, goodQuery), apiserver.ErrHost},
		"other action":    {presign(t, verifier(), host, now, strings.Replace(goodQuery, "GetCallerIdentity", "AssumeRole", 1)), apiserver.ErrForm},
		"further query":   {presign(t, verifier(), host, now, goodQuery+"&x=y"), apiserver.ErrForm},
		"lives too long":  {presign(t, verifier(), host, now, strings.Replace(goodQuery, "=60", "=901", 1)), apiserver.ErrForm},
		"no prefix":       {"k8s-aws-v2.x", apiserver.ErrForm},
		"not base64":      {"k8s-aws-v1.%", apiserver.ErrForm},
		"too long":        {"k8s-aws-v1." + strings.Repeat("a", 4096), apiserver.ErrForm},
		"empty":           {"", apiserver.ErrForm},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := verifier().Verify(row.token, now); !errors.Is(err, row.want) || (err == nil) != (row.want == nil) {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
}

// The cluster's name counts only when it is signed.
func TestVerifyUnsignedHeader(t *testing.T) {
	t.Parallel()
	now := time.Now()
	token := presign(t, verifier(), "sts.us-west-2.amazonaws.com", now, goodQuery)
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, "k8s-aws-v1."))
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("X-Amz-SignedHeaders", "host")
	u.RawQuery = q.Encode()
	token = "k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte(u.String()))
	if err := verifier().Verify(token, now); !errors.Is(err, apiserver.ErrForm) {
		t.Errorf("got %v, want %v", err, apiserver.ErrForm)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("k8s-aws-v1.aHR0cHM6Ly9zdHMudXMtd2VzdC0yLmFtYXpvbmF3cy5jb20vPw")
	f.Add("k8s-aws-v1.")
	f.Fuzz(func(t *testing.T, token string) {
		if err := verifier().Verify(token, time.Now()); err == nil {
			t.Errorf("a token without a signature was accepted: %q", token)
		}
	})
}
