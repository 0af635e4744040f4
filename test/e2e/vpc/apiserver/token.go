package apiserver

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Verifier knows one cluster and the one role whose tokens it accepts.
type Verifier struct {
	ClusterName string
	// Hosts are the STS host names a token may be signed for.
	Hosts []string
	// The role's credentials, all of them known to the verifier.
	AccessKeyID, SecretAccessKey, SessionToken string
}

const (
	tokenPrefix   = "k8s-aws-v1."
	clusterHeader = "x-k8s-aws-id"
	maxToken      = 4096 // bytes
	maxAge        = 15 * time.Minute
	maxAhead      = 5 * time.Minute
	amzTime       = "20060102T150405Z"
)

// Reasons for which Verify rejects a token.
var (
	ErrForm      = errors.New("not a token of an EKS cluster")
	ErrHost      = errors.New("not signed for an STS host of this region")
	ErrTime      = errors.New("outside of its time of validity")
	ErrSignature = errors.New("signature does not match")
)

// Verify returns nil when the token is a valid proof of the role's identity for
// this cluster at the given time. The rules are those of
// aws-iam-authenticator's verifier and of STS; a token for another cluster has
// the wrong signature, because the cluster's name is signed and not sent.
func (v Verifier) Verify(token string, now time.Time) error {
	u, err := v.decode(token)
	if err != nil {
		return err
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fmt.Errorf("%w: query: %w", ErrForm, err)
	}
	if err := checkQuery(q); err != nil {
		return err
	}
	at, err := time.Parse(amzTime, q.Get("X-Amz-Date"))
	if err != nil {
		return fmt.Errorf("%w: X-Amz-Date: %w", ErrForm, err)
	}
	if now.After(at.Add(maxAge)) || at.After(now.Add(maxAhead)) {
		return fmt.Errorf("%w: signed at %s, now %s", ErrTime, at, now.UTC())
	}
	return v.checkSignature(u.Host, q, at)
}

func (v Verifier) decode(token string) (*url.URL, error) {
	encoded, ok := strings.CutPrefix(token, tokenPrefix)
	if !ok || len(token) > maxToken {
		return nil, fmt.Errorf("%w: no prefix %s, or longer than %d bytes", ErrForm, tokenPrefix, maxToken)
	}
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForm, err)
	}
	u, err := url.Parse(string(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForm, err)
	}
	if u.Scheme != "https" || u.Path != "/" || u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("%w: want https://HOST/", ErrForm)
	}
	if !slices.Contains(v.Hosts, u.Host) {
		return nil, fmt.Errorf("%w: %s", ErrHost, u.Host)
	}
	return u, nil
}

// checkQuery allows each known parameter once and no other.
func checkQuery(q url.Values) error {
	known := []string{
		"Action", "Version", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date",
		"X-Amz-Expires", "X-Amz-Security-Token", "X-Amz-Signature", "X-Amz-SignedHeaders",
	}
	for k, vs := range q {
		if len(vs) != 1 || !slices.Contains(known, k) {
			return fmt.Errorf("%w: parameter %s", ErrForm, k)
		}
	}
	if q.Get("Action") != "GetCallerIdentity" || q.Get("Version") != "2011-06-15" || q.Get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256" {
		return fmt.Errorf("%w: not a signed GetCallerIdentity", ErrForm)
	}
	signed := strings.Split(q.Get("X-Amz-SignedHeaders"), ";")
	if !slices.Equal(signed, []string{"host", clusterHeader}) {
		return fmt.Errorf("%w: signed headers %v", ErrForm, signed)
	}
	expires, err := strconv.Atoi(q.Get("X-Amz-Expires"))
	if err != nil || expires < 0 || expires > int(maxAge.Seconds()) {
		return fmt.Errorf("%w: X-Amz-Expires", ErrForm)
	}
	return nil
}

// checkSignature computes the AWS Signature Version 4 of the request with the
// role's key ("Signing AWS API requests" in the IAM User Guide).
func (v Verifier) checkSignature(host string, q url.Values, at time.Time) error {
	credential := strings.Split(q.Get("X-Amz-Credential"), "/")
	if len(credential) != 5 || credential[0] != v.AccessKeyID || credential[1] != at.Format("20060102") ||
		credential[3] != "sts" || credential[4] != "aws4_request" || q.Get("X-Amz-Security-Token") != v.SessionToken {
		return fmt.Errorf("%w: unknown credential", ErrSignature)
	}
	got, err := hex.DecodeString(q.Get("X-Amz-Signature"))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrForm, err)
	}
	q.Del("X-Amz-Signature")
	empty := sha256.Sum256(nil)
	canonical := strings.Join([]string{
		"GET", "/",
		strings.ReplaceAll(q.Encode(), "+", "%20"),
		"host:" + host,
		clusterHeader + ":" + v.ClusterName,
		"",
		"host;" + clusterHeader,
		hex.EncodeToString(empty[:]),
	}, "\n")
	digest := sha256.Sum256([]byte(canonical))
	key := []byte("AWS4" + v.SecretAccessKey)
	for _, part := range credential[1:] {
		key = mac(key, part)
	}
	want := mac(key, strings.Join([]string{
		"AWS4-HMAC-SHA256", q.Get("X-Amz-Date"), strings.Join(credential[1:], "/"), hex.EncodeToString(digest[:]),
	}, "\n"))
	if subtle.ConstantTimeCompare(got, want) != 1 {
		return ErrSignature
	}
	return nil
}

func mac(key []byte, s string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(s)) // a hash never returns an error
	return h.Sum(nil)
}
