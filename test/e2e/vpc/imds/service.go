package imds

import (
	"context"
	"crypto/rand"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nodeprep/nodeprep/test/e2e/vpc/internal/layer"
)

// A Behaviour is what is wrong with the service. The zero value is a healthy one.
type Behaviour struct {
	// Off answers 403 to everything, as when the instance's HttpEndpoint is disabled.
	Off bool
	// Status, when not 0, answers every request with this status.
	Status int
	// TokenStatus, when not 0, answers the token request with this status.
	TokenStatus int
	// Silent accepts connections and answers nothing.
	Silent bool
	// Delay is how long every answer is held back.
	Delay time.Duration
	// Server replaces the Server header, for something else that answers in its place.
	Server string
}

// Counts is what the service was asked so far.
type Counts struct {
	Requests      int // all, token requests included
	TokenRequests int
	Connections   int
	MaxConcurrent int // most requests being answered at one time
	MaxConnected  int // most connections open at one time
}

// A Request is one line of the service's log.
type Request struct {
	At     time.Time
	Method string
	Path   string
	Status int // 0 when no answer was sent
}

// Service is the metadata service of one instance. Its methods may be called
// at any time from any goroutine.
type Service struct {
	base       Instance
	now        func() time.Time
	edits      layer.Stack[func(*Instance)]
	behaviours layer.Stack[Behaviour]

	mu        sync.Mutex
	tokens    map[string]time.Time // session token to its end
	counts    Counts
	active    int
	connected int
	log       []Request
}

// New returns the service of an instance. now is its clock, which the Date header and
// the credentials follow; nil means this machine's.
func New(i Instance, now func() time.Time) *Service {
	if now == nil {
		now = time.Now
	}
	return &Service{base: i, now: now, tokens: map[string]time.Time{}}
}

// Change applies edit to what the service knows, on top of earlier changes,
// until undo is called. edit must not keep or change what the Instance's maps
// and slices refer to; it may replace them.
func (s *Service) Change(edit func(*Instance)) (undo func()) { return s.edits.Push(edit) }

// Behave makes the service misbehave until undo is called. Of several
// behaviours the latest holds.
func (s *Service) Behave(b Behaviour) (undo func()) { return s.behaviours.Push(b) }

// Instance returns what the service knows now.
func (s *Service) Instance() Instance {
	i := s.base
	for _, edit := range s.edits.All() {
		edit(&i)
	}
	return i
}

// Counts returns what was asked so far.
func (s *Service) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// Requests returns the log, oldest first. It keeps the first 65536 requests.
func (s *Service) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// Reset forgets counts and log.
func (s *Service) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts, s.log = Counts{}, nil
}

type connKey struct{}

// HTTPServer returns a server for the service which counts connections and
// keeps to the instance's hop limit. The caller serves and closes it.
func (s *Service) HTTPServer() *http.Server {
	return &http.Server{
		Handler:   s,
		ConnState: s.connState,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
}

func (s *Service) connState(_ net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.counts.Connections++
		s.connected++
		s.counts.MaxConnected = max(s.counts.MaxConnected, s.connected)
	case http.StateClosed, http.StateHijacked:
		s.connected--
	default:
	}
}

// ServeHTTP answers one request.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, line := s.begin(r)
	defer s.end(line)
	if b.Silent {
		<-r.Context().Done()
		return
	}
	if b.Delay > 0 {
		timer := time.NewTimer(b.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	server := b.Server
	if server == "" {
		server = "EC2ws"
	}
	w.Header().Set("Server", server)
	w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
	a := s.answer(b, r)
	line.Status = a.status
	a.write(w)
}

// begin counts a request and returns the line it will be in the log.
func (s *Service) begin(r *http.Request) (Behaviour, *Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Requests++
	if r.Method == http.MethodPut {
		s.counts.TokenRequests++
	}
	s.active++
	s.counts.MaxConcurrent = max(s.counts.MaxConcurrent, s.active)
	return s.behaviours.Top(), &Request{At: time.Now(), Method: r.Method, Path: r.URL.Path}
}

func (s *Service) end(line *Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active--
	if len(s.log) < 1<<16 {
		s.log = append(s.log, *line)
	}
}

const (
	tokenPath   = "api/token"
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	maxTTL      = 21600 // seconds
)

// versions are the dated trees; all show the same values here.
func versions() []string {
	return []string{
		"1.0", "2009-04-04", "2016-09-02", "2018-09-24", "2019-10-01", "2020-10-27",
		"2021-03-23", "2021-07-15", "2022-09-24", "latest",
	}
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	if a.status != http.StatusOK && a.body == "" {
		w.Header().Set("Content-Type", "text/html")
		title := strconv.Itoa(a.status) + " - " + http.StatusText(a.status)
		a.body = "<html><head><title>" + title + "</title></head><body><h1>" + title + "</h1></body></html>\n"
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	// The client may have gone away; there is nobody to tell.
	_, _ = io.WriteString(w, a.body)
}

func status(code int) answer { return answer{status: code} }

func plain(body string) answer {
	return answer{status: http.StatusOK, body: body, header: http.Header{
		"Content-Type": {"text/plain"}, "Accept-Ranges": {"none"},
	}}
}

// answer decides on the answer to a request.
func (s *Service) answer(b Behaviour, r *http.Request) answer {
	s.limitHops(r)
	switch {
	case b.Off:
		return status(http.StatusForbidden)
	case b.Status != 0:
		return status(b.Status)
	case r.URL.Path == "/":
		return s.authorized(r, func(Instance, map[string]string) answer { return plain(strings.Join(versions(), "\n")) })
	}
	version, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if !slices.Contains(versions(), version) {
		return status(http.StatusNotFound)
	}
	switch r.Method {
	case http.MethodPut:
		if b.TokenStatus != 0 {
			return status(b.TokenStatus)
		}
		return s.token(version, path, r)
	case http.MethodGet, http.MethodHead:
		return s.authorized(r, func(i Instance, values map[string]string) answer { return s.get(i, values, path) })
	default:
		return status(http.StatusMethodNotAllowed)
	}
}

// token answers a request for a session token. A request that went through a
// proxy says so in X-Forwarded-For and is refused.
func (s *Service) token(version, path string, r *http.Request) answer {
	if version != "latest" || path != tokenPath || r.Header.Get("X-Forwarded-For") != "" {
		return status(http.StatusForbidden)
	}
	ttl, err := strconv.Atoi(r.Header.Get(ttlHeader))
	if err != nil || ttl < 1 || ttl > maxTTL {
		return status(http.StatusBadRequest)
	}
	token := rand.Text() + rand.Text() + "=="
	s.mu.Lock()
	s.tokens[token] = time.Now().Add(time.Duration(ttl) * time.Second)
	s.mu.Unlock()
	a := plain(token)
	a.header.Set(ttlHeader, strconv.Itoa(ttl))
	return a
}

// authorized calls f when the request may be answered.
func (s *Service) authorized(r *http.Request, f func(Instance, map[string]string) answer) answer {
	i := s.Instance()
	s.mu.Lock()
	end, known := s.tokens[r.Header.Get(tokenHeader)]
	s.mu.Unlock()
	given := r.Header.Get(tokenHeader) != ""
	if given && (!known || time.Now().After(end)) || !given && !i.TokensOptional {
		return status(http.StatusUnauthorized)
	}
	return f(i, i.tree())
}

// get answers with a value or with the listing of a directory.
func (s *Service) get(i Instance, values map[string]string, path string) answer {
	if v, ok := values[path]; ok {
		switch {
		case path == "user-data":
			a := plain(v)
			a.header.Set("Content-Type", "application/octet-stream")
			return a
		case i.Role != "" && path == "meta-data/iam/security-credentials/"+i.Role:
			return plain(i.credentials(s.now()))
		}
		return plain(v)
	}
	dir := strings.TrimSuffix(path, "/")
	if dir != "" {
		dir += "/"
	}
	entries := map[string]bool{}
	for p := range values {
		if rest, ok := strings.CutPrefix(p, dir); ok {
			name, _, deeper := strings.Cut(rest, "/")
			if deeper && dir != "" {
				name += "/"
			}
			entries[name] = true
		}
	}
	if len(entries) == 0 {
		return status(http.StatusNotFound)
	}
	return plain(strings.Join(slices.Sorted(maps.Keys(entries)), "\n"))
}
