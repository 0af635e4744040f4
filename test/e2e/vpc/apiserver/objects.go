package apiserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	nodesPath  = "/api/v1/nodes"
	leasesPath = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
)

// An object is one stored API object. Its fields are replaced, never changed in place.
type object struct {
	created time.Time
	writes  int
	fields  map[string]any
}

func (o object) encode() json.RawMessage {
	b, err := json.Marshal(o.fields)
	if err != nil {
		// The fields were decoded from JSON.
		panic(err)
	}
	return b
}

// resource serves one collection of objects that belong to the node.
func (s *Server) resource(w http.ResponseWriter, r *http.Request, base, listKind, version string) {
	name, sub, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, base), "/"), "/")
	if sub != "" && sub != "status" {
		fail(w, http.StatusNotFound, "NotFound", "the server could not find the requested resource")
		return
	}
	if name == "" && r.Method == http.MethodGet {
		if r.URL.Query().Get("watch") != "" {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusOK)
			// Nothing changes that the node did not change itself.
			<-r.Context().Done()
			return
		}
		s.list(w, base, listKind, version)
		return
	}
	if name != "" && name != s.config.NodeName {
		fail(w, http.StatusForbidden, "Forbidden", fmt.Sprintf("%q is forbidden: User %q cannot access it", name, "system:node:"+s.config.NodeName))
		return
	}
	s.one(w, r, base, name)
}

func (s *Server) list(w http.ResponseWriter, base, kind, version string) {
	s.mu.Lock()
	items := []any{}
	for _, path := range slices.Sorted(maps.Keys(s.objects)) {
		if strings.HasPrefix(path, base+"/") {
			items = append(items, s.objects[path].fields)
		}
	}
	rv := strconv.Itoa(s.version)
	s.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{
		"kind": kind, "apiVersion": version, "metadata": map[string]any{"resourceVersion": rv}, "items": items,
	})
}

// one serves a request about one object; name is empty for a new one.
func (s *Server) one(w http.ResponseWriter, r *http.Request, base, name string) {
	var body map[string]any
	if r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
		var ok bool
		if body, ok = decode(w, r); !ok {
			return
		}
	}
	if r.Method == http.MethodPost {
		meta, _ := body["metadata"].(map[string]any)
		name, _ = meta["name"].(string)
		if name != s.config.NodeName {
			fail(w, http.StatusForbidden, "Forbidden", fmt.Sprintf("node %q is not allowed to create %q", s.config.NodeName, name))
			return
		}
	}
	path := base + "/" + name
	s.mu.Lock()
	defer s.mu.Unlock()
	o, exists := s.objects[path]
	if !exists && r.Method != http.MethodPost {
		fail(w, http.StatusNotFound, "NotFound", fmt.Sprintf("%q not found", name))
		return
	}
	switch r.Method {
	case http.MethodGet:
		reply(w, http.StatusOK, o.fields)
	case http.MethodPost:
		if exists {
			fail(w, http.StatusConflict, "AlreadyExists", fmt.Sprintf("%q already exists", name))
			return
		}
		reply(w, http.StatusCreated, s.store(path, object{created: time.Now()}, body))
	case http.MethodPut:
		reply(w, http.StatusOK, s.store(path, o, body))
	case http.MethodPatch:
		strategic := mediaType(r) == "application/strategic-merge-patch+json"
		if !strategic && mediaType(r) != "application/merge-patch+json" {
			fail(w, http.StatusUnsupportedMediaType, "UnsupportedMediaType", "only merge patches are supported")
			return
		}
		reply(w, http.StatusOK, s.store(path, o, mergePatch(o.fields, body, strategic)))
	case http.MethodDelete:
		delete(s.objects, path)
		reply(w, http.StatusOK, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Success"})
	default:
		fail(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "the server does not allow this method on the requested resource")
	}
}

// store writes an object and returns it as stored. It needs s.mu.
func (s *Server) store(path string, o object, fields map[string]any) map[string]any {
	s.version++
	fields = maps.Clone(fields)
	given, _ := fields["metadata"].(map[string]any)
	meta := maps.Clone(given)
	if meta == nil {
		meta = map[string]any{}
	}
	meta["creationTimestamp"] = o.created.UTC().Format(time.RFC3339)
	meta["resourceVersion"] = strconv.Itoa(s.version)
	meta["uid"] = fmt.Sprintf("00000000-0000-4000-8000-%012d", len(path))
	fields["metadata"] = meta
	o.fields = fields
	o.writes++
	s.objects[path] = o
	return fields
}

// decode reads a JSON object, or answers why not.
func decode(w http.ResponseWriter, r *http.Request) (map[string]any, bool) {
	if m := mediaType(r); m != "" && m != "application/json" && !strings.HasSuffix(m, "+json") {
		fail(w, http.StatusUnsupportedMediaType, "UnsupportedMediaType", "the body's media type is not supported: "+m)
		return nil, false
	}
	var o map[string]any
	err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&o)
	if err == nil && o == nil {
		err = errors.New("null is not an object")
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "BadRequest", err.Error())
		return nil, false
	}
	return o, true
}

func mediaType(r *http.Request) string {
	// An unreadable type is as good as none.
	m, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return m
}

// mergePatch applies a JSON merge patch (RFC 7386) and returns the result; old
// is unchanged. A strategic patch merges lists of objects that have a type, as
// conditions and addresses have, by that type.
func mergePatch(old, patch map[string]any, strategic bool) map[string]any {
	out := maps.Clone(old)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(out, k)
		case map[string]any:
			sub, _ := out[k].(map[string]any)
			out[k] = mergePatch(sub, v, strategic)
		case []any:
			list, ok := out[k].([]any)
			if strings.HasPrefix(k, "$setElementOrder") {
				continue
			}
			if !ok || !strategic || !typed(list) || !typed(v) {
				out[k] = v
				continue
			}
			out[k] = mergeByType(list, v)
		default:
			out[k] = v
		}
	}
	return out
}

func elementType(e any) string {
	m, _ := e.(map[string]any)
	t, _ := m["type"].(string)
	return t
}

func typed(list []any) bool {
	return !slices.ContainsFunc(list, func(e any) bool { return elementType(e) == "" })
}

func mergeByType(old, patch []any) []any {
	out := slices.Clone(old)
	for _, e := range patch {
		m, _ := e.(map[string]any)
		at := slices.IndexFunc(out, func(o any) bool { return elementType(o) == elementType(e) })
		if at < 0 {
			out = append(out, e)
			continue
		}
		had, _ := out[at].(map[string]any)
		out[at] = mergePatch(had, m, true)
	}
	return out
}
