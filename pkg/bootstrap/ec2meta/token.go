package ec2meta

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/smithy-go"
)

const (
	tokenPrefix = "k8s-aws-v1."
	// clusterHeader must be signed; EKS compares it with the cluster's own name.
	clusterHeader = "x-k8s-aws-id"
	// tokenLife is how long clients use a token. EKS accepts it for 15 minutes
	// after signing whatever X-Amz-Expires says (aws-iam-authenticator, pkg/token).
	tokenLife = 14 * time.Minute
)

// A Token is a bearer token for an EKS API server.
type Token struct {
	// Value is the token, a secret. It is left out when a Token is printed.
	Value string
	// Expires is 14 minutes after signing, in UTC and whole seconds.
	Expires time.Time
	// CredentialsExpired says that the role credentials had expired when the
	// token was signed: by the service's fault, or because the clock is ahead.
	// STS will refuse them if it is the former.
	CredentialsExpired bool
}

// String describes the token without its value.
func (t Token) String() string {
	return fmt.Sprintf("token of %d bytes, expires %s", len(t.Value), t.Expires.Format(time.RFC3339))
}

// GoString is String: %#v does not show the value either.
func (t Token) GoString() string { return t.String() }

// A RoleError says that the metadata service knows the role but has no credentials for it.
type RoleError struct {
	// Code and Message are the service's; Code is AssumeRoleUnauthorizedAccess
	// when the role does not trust EC2.
	Code    string
	Message string
}

// Error describes what the service said.
func (e *RoleError) Error() string {
	return fmt.Sprintf("no role credentials: %s: %s", e.Code, e.Message)
}

// ErrMalformedCredentials says that the metadata service's answer about the
// role's credentials is not one. It says no more, since the answer is a secret.
var ErrMalformedCredentials = errors.New("malformed role credentials")

// Token signs a token for the named cluster with the instance's role
// credentials. It asks the metadata service only; nothing goes to STS, whose host
// (of the cluster's region and partition, sts.us-west-2.amazonaws.com) becomes part of
// the token. Expired credentials are used all the same, see
// Token.CredentialsExpired: whether they or the clock are wrong is not decided here.
//
// The error is a *bootstrap.MetadataError for a request that failed (status 404: no
// instance profile), a *RoleError or ErrMalformedCredentials for an answer
// without credentials.
func (c *Client) Token(ctx context.Context, cluster, region, stsHost string, now time.Time) (Token, error) {
	target, err := callerIdentityURL(stsHost)
	if err != nil {
		return Token{}, err
	}
	if cluster == "" || !only(cluster, isPrintable) || region == "" {
		return Token{}, fmt.Errorf("sign a token: cluster %.100q in region %.40q", cluster, region)
	}
	creds, err := c.credentials(ctx)
	if c.second != nil && errors.Is(err, syscall.ENETUNREACH) {
		first := err
		if creds, err = c.second.credentials(ctx); err != nil {
			err = errors.Join(first, err)
		}
	}
	if err != nil {
		return Token{}, err
	}
	value, err := sign(ctx, creds, target, cluster, region, now)
	if err != nil {
		return Token{}, err
	}
	return Token{
		Value:              value,
		Expires:            now.Add(tokenLife).UTC().Truncate(time.Second),
		CredentialsExpired: creds.Expires.Before(now),
	}, nil
}

// credentials reads the role's credentials, once more with a new session token
// when the service refuses the one at hand.
func (c *Client) credentials(ctx context.Context) (aws.Credentials, error) {
	role := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = c.imds })
	rec := &exchange{method: http.MethodGet, path: "/latest/" + pathRole}
	creds, err := role.Retrieve(rec.attach(ctx))
	if err != nil && rec.status == http.StatusUnauthorized && rec.method == http.MethodGet {
		c.forget(ctx)
		creds, err = role.Retrieve(rec.attach(ctx))
	}
	var said smithy.APIError
	switch {
	case err == nil && creds.HasKeys() && creds.SessionToken != "":
		return creds, nil
	case errors.As(err, &said):
		return aws.Credentials{}, &RoleError{Code: said.ErrorCode(), Message: said.ErrorMessage()}
	case rec.status == http.StatusOK && rec.err == nil:
		// The SDK could not read the answer, and its error might quote it.
		return aws.Credentials{}, rec.failure(ErrMalformedCredentials)
	default:
		return aws.Credentials{}, rec.failure(err)
	}
}

func callerIdentityURL(stsHost string) (string, error) {
	if stsHost == "" || !only(stsHost, isNamePart) {
		return "", fmt.Errorf("sign a token: STS host %.100q is no host name", stsHost)
	}
	return "https://" + stsHost + "/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60", nil
}

// sign makes the token: the URL of a signed request that EKS sends to STS in
// our name, to learn who we are.
func sign(ctx context.Context, creds aws.Credentials, target, cluster, region string, now time.Time) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	req.Header.Set(clusterHeader, cluster)
	empty := sha256.Sum256(nil)
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, creds, req, hex.EncodeToString(empty[:]), "sts", region, now)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	u, err := url.Parse(signed)
	if err != nil {
		return "", errors.New("sign a token: the signer returned no URL") // which would be in err
	}
	u.RawQuery = orderAsCLI(u.RawQuery)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString([]byte(u.String())), nil
}

// orderAsCLI puts the query's parameters in the order in which the AWS CLI
// writes them, so that tokens can be compared byte by byte. The signature is over the
// sorted parameters and does not change.
func orderAsCLI(query string) string {
	order := []string{
		"Action", "Version",
		"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires",
		"X-Amz-SignedHeaders", "X-Amz-Security-Token", "X-Amz-Signature",
	}
	rank := func(param string) int {
		name, _, _ := strings.Cut(param, "=")
		return slices.Index(order, name)
	}
	params := strings.Split(query, "&")
	slices.SortStableFunc(params, func(a, b string) int { return rank(a) - rank(b) })
	return strings.Join(params, "&")
}
