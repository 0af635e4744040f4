package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
)

// requestTimeout bounds one request, as the kubelet's node status client does.
const requestTimeout = 10 * time.Second

// maxAnswer bounds the bytes read of an answer.
const maxAnswer = 1 << 20

// A client makes JSON requests to the API server with client-go's transport:
// the cluster's CA and the exec plugin's token.
type client struct {
	base string
	http *http.Client
}

func newClient(c *rest.Config) (*client, error) {
	c.UserAgent = "kubelet/" + version + " (stand-in)"
	c.Timeout = requestTimeout
	h, err := rest.HTTPClientFor(c)
	if err != nil {
		return nil, err
	}
	base, _, err := rest.DefaultServerUrlFor(c)
	if err != nil {
		return nil, err
	}
	return &client{base: base.String(), http: h}, nil
}

// A statusError is an answer that is not 2xx.
type statusError struct {
	code    int
	message string // of the Status object
}

func (e *statusError) Error() string { return fmt.Sprintf("%s (HTTP status %d)", e.message, e.code) }

// do sends one request with a JSON body.
func (c *client) do(ctx context.Context, method, path, contentType string, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Accept", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if response.StatusCode/100 == 2 {
		return nil
	}
	var status struct{ Message string }
	if err := json.Unmarshal(answer, &status); err != nil || status.Message == "" {
		status.Message = response.Status
	}
	return &statusError{code: response.StatusCode, message: status.Message}
}
