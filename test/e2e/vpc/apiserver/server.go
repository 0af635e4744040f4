package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nodeprep/nodeprep/test/e2e/vpc/internal/layer"
)

// Config is what the API server knows of its cluster.
type Config struct {
	Verifier Verifier
	// NodeName is the name of the node whose role the Verifier accepts; the
	// control plane takes it from EC2.
	NodeName string
	// ServiceIP is the cluster IP of the kubernetes service.
	ServiceIP netip.Addr
	// Now is the server's clock, this machine's when nil.
	Now func() time.Time
	// Version is the git version, v1.34.1 when empty.
	Version string
}

// A Behaviour is what is wrong with the API server. The zero value is a healthy one.
type Behaviour struct {
	// Busy answers 429 with Retry-After to everything.
	Busy bool
	// BusyEvery, when not 0, answers so to every request whose number it divides.
	BusyEvery int
	// HTML, when not 0, is the status of a web page that answers every request:
	// something else is at this address.
	HTML int
	// Unmapped rejects every token, as when the role has no access entry.
	Unmapped bool
	// Anonymous, when not 0, is the status of the answer to every request
	// without a token, also to the health endpoints: 401 or 403.
	Anonymous int
}

// A Node is one registered Node object.
type Node struct {
	Name string
	// Created is when the object was first posted.
	Created time.Time
	// Object is the Node as it is now.
	Object json.RawMessage
	// Renewals counts writes to the node's Lease.
	Renewals int
}

// A Rejection is a token that was not accepted.
type Rejection struct {
	At   time.Time
	Path string
	Err  error
}

// Server is an http.Handler. Its methods may be called at any time from any goroutine.
type Server struct {
	config     Config
	behaviours layer.Stack[Behaviour]

	mu         sync.Mutex
	version    int // resourceVersion of the latest write
	requests   int // counted with BusyEvery
	objects    map[string]object
	rejections []Rejection
}

// New returns an API server without any node.
func New(c Config) *Server {
	if c.Version == "" {
		c.Version = "v1.34.1"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Server{config: c, objects: map[string]object{}}
}

// Behave makes the server misbehave until undo is called. Of several
// behaviours the latest holds.
func (s *Server) Behave(b Behaviour) (undo func()) { return s.behaviours.Push(b) }

// Nodes returns the registered nodes, sorted by name.
func (s *Server) Nodes() []Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	var nodes []Node
	for path, o := range s.objects {
		name, ok := strings.CutPrefix(path, nodesPath+"/")
		if !ok {
			continue
		}
		nodes = append(nodes, Node{
			Name: name, Created: o.created, Object: o.encode(),
			Renewals: s.objects[leasesPath+"/"+name].writes,
		})
	}
	slices.SortFunc(nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes
}

// Rejections returns the tokens that were not accepted, oldest first.
func (s *Server) Rejections() []Rejection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.rejections)
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b := s.behaviours.Top()
	if b.BusyEvery > 0 {
		s.mu.Lock()
		s.requests++
		b.Busy = b.Busy || s.requests%b.BusyEvery == 0
		s.mu.Unlock()
	}
	switch {
	case b.HTML != 0:
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Server", "nginx")
		write(w, b.HTML, []byte("<!DOCTYPE html>\n<html><head><title>Intranet</title></head><body>This is not a cluster.</body></html>\n"))
		return
	case b.Busy:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Retry-After", "1")
		write(w, http.StatusTooManyRequests, []byte("Too many requests, please try again later.\n"))
		return
	}
	w.Header().Set("Audit-Id", "00000000-0000-4000-8000-000000000000")
	w.Header().Set("Cache-Control", "no-cache, private")
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		s.anonymous(w, r, b)
		return
	}
	err := s.config.Verifier.Verify(token, s.config.Now())
	if err == nil && b.Unmapped {
		err = fmt.Errorf("role is not mapped in cluster %s", s.config.Verifier.ClusterName)
	}
	if err != nil {
		s.mu.Lock()
		s.rejections = append(s.rejections, Rejection{At: time.Now(), Path: r.URL.Path, Err: err})
		s.mu.Unlock()
		fail(w, http.StatusUnauthorized, "Unauthorized", "Unauthorized")
		return
	}
	s.authenticated(w, r)
}

// anonymous answers as EKS does from Kubernetes 1.32 on: health endpoints are
// open, everything else wants authentication.
func (s *Server) anonymous(w http.ResponseWriter, r *http.Request, b Behaviour) {
	switch {
	case b.Anonymous == http.StatusForbidden:
		fail(w, b.Anonymous, "Forbidden", fmt.Sprintf("forbidden: User %q cannot get path %q", "system:anonymous", r.URL.Path))
	case b.Anonymous == 0 && healthPath(r.URL.Path):
		healthy(w)
	default:
		fail(w, http.StatusUnauthorized, "Unauthorized", "Unauthorized")
	}
}

func healthPath(p string) bool { return p == "/readyz" || p == "/livez" || p == "/healthz" }

func healthy(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	write(w, http.StatusOK, []byte("ok"))
}

func (s *Server) authenticated(w http.ResponseWriter, r *http.Request) {
	switch p := r.URL.Path; {
	case healthPath(p):
		healthy(w)
	case p == "/version":
		reply(w, http.StatusOK, map[string]any{"major": "1", "minor": "34", "gitVersion": s.config.Version, "platform": "linux/amd64"})
	case p == "/apis/authentication.k8s.io/v1/selfsubjectreviews" && r.Method == http.MethodPost:
		reply(w, http.StatusCreated, map[string]any{
			"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1", "metadata": map[string]any{},
			"status": map[string]any{"userInfo": map[string]any{
				"username": "system:node:" + s.config.NodeName,
				"groups":   []string{"system:bootstrappers", "system:nodes", "system:authenticated"},
			}},
		})
	case p == "/api/v1/namespaces/default/services/kubernetes" && r.Method == http.MethodGet:
		reply(w, http.StatusOK, map[string]any{
			"kind": "Service", "apiVersion": "v1",
			"metadata": map[string]any{"name": "kubernetes", "namespace": "default"},
			"spec":     map[string]any{"clusterIP": s.config.ServiceIP, "type": "ClusterIP"},
		})
	case strings.HasPrefix(p, "/api/v1/namespaces/") && strings.HasSuffix(p, "/events") && r.Method == http.MethodPost:
		o, ok := decode(w, r)
		if ok {
			reply(w, http.StatusCreated, o)
		}
	case p == nodesPath || strings.HasPrefix(p, nodesPath+"/"):
		s.resource(w, r, nodesPath, "NodeList", "v1")
	case p == leasesPath || strings.HasPrefix(p, leasesPath+"/"):
		s.resource(w, r, leasesPath, "LeaseList", "coordination.k8s.io/v1")
	default:
		fail(w, http.StatusNotFound, "NotFound", "the server could not find the requested resource")
	}
}

// fail answers with a Status object.
func fail(w http.ResponseWriter, code int, reason, message string) {
	reply(w, code, map[string]any{
		"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{}, "status": "Failure",
		"message": message, "reason": reason, "code": code,
	})
}

func reply(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	write(w, code, append(b, '\n'))
}

func write(w http.ResponseWriter, code int, body []byte) {
	w.WriteHeader(code)
	// The client may have gone away; there is nobody to tell.
	_, _ = w.Write(body)
}
