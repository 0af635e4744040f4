package ec2meta

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// The metadata service on IPv4 and on IPv6. The latter
// exists on Nitro instances whose HttpProtocolIpv6 is enabled.
const (
	endpoint4 = "http://169.254.169.254"
	endpoint6 = "http://[fd00:ec2::254]"
)

// usualTimeout is how long one request may take by default.
const usualTimeout = 2 * time.Second

// Options configure a Client.
type Options struct {
	// Endpoint is the service's base URL; a path in it is ignored. Empty means
	// 169.254.169.254, and fd00:ec2::254 on a machine that has no route to that:
	// AWS_EC2_METADATA_SERVICE_ENDPOINT is the caller's to read.
	Endpoint string
	// Timeout bounds each request from connecting to the last byte; 0 means
	// 2 s. Connecting may take half of it.
	Timeout time.Duration
}

// A Client talks to the metadata service, version 2 only. Of the environment
// it honours nothing: no proxy setting, since a proxy would be given the session
// token, and not AWS_EC2_METADATA_DISABLED, since there is no other source.
// It keeps its session token, which lives for five minutes and is renewed when
// needed, and its connections, at most eight. It never repeats a request that failed,
// but for one whose token the service no longer accepts: when to ask again is
// the caller's decision. A Client may be used by several goroutines.
type Client struct {
	imds *imds.Client
	wire *wire

	endpoint string
	// second is asked when there is no route to the endpoint; nil for nobody.
	second *Client

	mu sync.Mutex
	// incomplete is a reading in which only the role or its credentials were not
	// as they should be; nil when there was none.
	incomplete *bootstrap.Metadata
}

// New returns a client. It sends nothing yet; a malformed endpoint shows as an
// error of the first reading.
func New(o Options) *Client {
	if o.Timeout == 0 {
		o.Timeout = usualTimeout
	}
	if o.Endpoint != "" {
		return newClient(o)
	}
	second := newClient(Options{Endpoint: endpoint6, Timeout: o.Timeout})
	o.Endpoint = endpoint4
	c := newClient(o)
	c.second = second
	return c
}

func newClient(o Options) *Client {
	w := newWire(o.Timeout)
	return &Client{wire: w, endpoint: o.Endpoint, imds: imds.New(imds.Options{
		Endpoint:                 o.Endpoint,
		HTTPClient:               w,
		Retryer:                  aws.NopRetryer{},
		DisableDefaultMaxBackoff: true, // would wrap the Retryer
		DisableDefaultTimeout:    true, // ours is tighter
		ClientEnableState:        imds.ClientEnabled,
		EnableFallback:           aws.FalseTernary,
	})}
}

// Close closes idle connections. The client remains usable.
func (c *Client) Close() {
	c.wire.base.CloseIdleConnections()
	if c.second != nil {
		c.second.Close()
	}
}

// forget makes the SDK drop its token, as a 401 does. The wire keeps the service's
// own 401s from it: with several requests under way the late ones would drop
// the token that replaced the one they are about.
func (c *Client) forget(ctx context.Context) {
	rec := &exchange{local: http.StatusUnauthorized}
	_, _ = c.imds.GetMetadata(rec.attach(ctx), nil) // fails by design
}

// An answer is what the service said about one path.
type answer struct {
	exchange

	took time.Duration
	body []byte
	err  error // nil for 200 with a whole body, and for 404
}

// absent reports whether the service answered that there is no such value.
func (a answer) absent() bool { return a.err == nil && a.status == http.StatusNotFound }

// answers holds answers by metadata path ("meta-data/mac").
type answers map[string]answer

// authorize makes sure that there is a session token, with one PUT or none.
//
// The SDK fetches the token within the first request that needs it. Several
// requests at once would make it try again once for each when it fails, one
// after the other; so one request comes first which the wire answers itself.
func (c *Client) authorize(ctx context.Context) error {
	rec := &exchange{method: http.MethodPut, path: tokenPath, local: http.StatusOK}
	if _, err := c.imds.GetMetadata(rec.attach(ctx), nil); err != nil {
		return rec.failure(err)
	}
	return nil
}

// examine adds to a failed token request what a request without a token gets, where that
// tells something: of a service without tokens (404, 405), and of one whose
// answers with a token do not arrive.
func (c *Client) examine(ctx context.Context, err error) error {
	failed, ok := errors.AsType[*bootstrap.MetadataError](err)
	if !ok || ctx.Err() != nil {
		return err
	}
	silent := failed.Status == 0 && failed.Phase == phaseHTTP && errors.Is(failed.Err, os.ErrDeadlineExceeded)
	if silent || failed.Status == http.StatusNotFound || failed.Status == http.StatusMethodNotAllowed {
		failed.Tokenless = c.tokenless(ctx)
	}
	return err
}

// tokenless is the status of a GET without a token, 0 when there was no answer within
// half the timeout.
func (c *Client) tokenless(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, c.wire.timeout/2)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.endpoint, nil)
	if err != nil {
		return 0
	}
	req.URL.Path = "/latest/" + pathMAC
	rec := &exchange{}
	resp, err := c.wire.Do(req.WithContext(rec.attach(ctx)))
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return rec.status // Do changes the response's
}

// fetchInto asks for all paths and adds the answers to got.
func (c *Client) fetchInto(ctx context.Context, got answers, paths []string) error {
	more, err := c.fetch(ctx, paths)
	maps.Copy(got, more)
	return err
}

// fetch asks for all paths at the same time. A request that the service refuses
// with 401 is sent once more with a new token: the service's clock or a restart
// can end a token early, as can a step of this machine's clock.
func (c *Client) fetch(ctx context.Context, paths []string) (answers, error) {
	got := c.fetchOnce(ctx, paths)
	var refused []string
	for _, p := range paths {
		if got[p].status == http.StatusUnauthorized && got[p].method == http.MethodGet {
			refused = append(refused, p)
		}
	}
	if len(refused) == 0 {
		return got, nil
	}
	c.forget(ctx)
	if err := c.authorize(ctx); err != nil {
		return nil, err
	}
	maps.Copy(got, c.fetchOnce(ctx, refused))
	return got, nil
}

func (c *Client) fetchOnce(ctx context.Context, paths []string) answers {
	// Should the token expire just now and its renewal fail, the others need not try as well.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	list := make([]answer, len(paths))
	var wg sync.WaitGroup
	for i, path := range paths {
		wg.Go(func() {
			list[i] = c.get(ctx, path)
			if list[i].err != nil && list[i].method == http.MethodPut {
				cancel()
			}
		})
	}
	wg.Wait()
	got := make(answers, len(paths))
	for i, path := range paths {
		got[path] = list[i]
	}
	return got
}

// get asks for one path below /latest/.
func (c *Client) get(ctx context.Context, path string) answer {
	rec := &exchange{method: http.MethodGet, path: "/latest/" + path}
	body, err := c.call(rec.attach(ctx), path)
	a := answer{exchange: *rec, took: time.Since(rec.began), body: body}
	if err != nil && (rec.method != http.MethodGet || rec.status != http.StatusNotFound) {
		a.err = rec.failure(err)
	}
	return a
}

func (c *Client) call(ctx context.Context, path string) ([]byte, error) {
	var content io.ReadCloser
	kind, rest, _ := strings.Cut(path, "/")
	switch kind {
	case "user-data":
		out, err := c.imds.GetUserData(ctx, nil)
		if err != nil {
			return nil, err
		}
		content = out.Content
	case "dynamic":
		out, err := c.imds.GetDynamicData(ctx, &imds.GetDynamicDataInput{Path: rest})
		if err != nil {
			return nil, err
		}
		content = out.Content
	default:
		out, err := c.imds.GetMetadata(ctx, &imds.GetMetadataInput{Path: rest})
		if err != nil {
			return nil, err
		}
		content = out.Content
	}
	defer func() { _ = content.Close() }()
	return io.ReadAll(content) // already in memory, and limited by the wire
}

// join returns the failures as one error, the most telling one first: without a
// token nothing else matters, and what the service said beats what it did not say.
func join(failures []*bootstrap.MetadataError) error {
	const ranks = 5
	rank := func(e *bootstrap.MetadataError) int {
		switch {
		case e.Method == http.MethodPut:
			return 0
		case e.Status >= 400 && e.Status != http.StatusNotFound:
			return 1
		case e.Status != 0:
			return 2
		case !errors.Is(e.Err, context.Canceled):
			return 3
		default:
			return 4
		}
	}
	var sorted []error
	for r := range ranks {
		for _, e := range failures {
			if rank(e) == r {
				sorted = append(sorted, e)
			}
		}
	}
	if len(sorted) == 1 {
		return sorted[0]
	}
	return errors.Join(sorted...)
}
