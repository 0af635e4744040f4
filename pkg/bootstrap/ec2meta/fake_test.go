package ec2meta_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap/ec2meta"
	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

func TestMain(m *testing.M) { os.Exit(probetest.Isolate(m)) }

// values are metadata texts by path, as in a metadata file.
type values map[string]string

func fixture(tb testing.TB, name string) values {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		tb.Fatal(err)
	}
	v := values{}
	if err := json.Unmarshal(data, &v); err != nil {
		tb.Fatal(err)
	}
	return v
}

func (v values) with(path, text string) values {
	out := maps.Clone(v)
	out[path] = text
	return out
}

func (v values) without(paths ...string) values {
	out := maps.Clone(v)
	for _, p := range paths {
		delete(out, p)
	}
	return out
}

func (v values) json() []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// A fake is a metadata service on the loopback interface.
type fake struct {
	URL    string
	server *httptest.Server
	values values

	delay time.Duration
	// ttl, when set, is the life it gives tokens, in seconds, whatever was asked.
	ttl int
	// fault answers a request in place of the service, when it returns true.
	fault func(w http.ResponseWriter, r *http.Request) bool

	mu     sync.Mutex
	tokens map[string]time.Time // to their end
	seen   []string             // method and path
	conns  int                  // opened in all
	open   int
	most   int // open at the same time
}

// serve starts a fake; change may be nil.
func serve(t *testing.T, v values, change func(*fake)) *fake {
	t.Helper()
	f := &fake{values: v, tokens: map[string]time.Time{}}
	if change != nil {
		change(f)
	}
	f.server = httptest.NewUnstartedServer(f)
	f.server.Config.ConnState = f.connState
	f.server.Start()
	t.Cleanup(f.server.Close)
	f.URL = f.server.URL
	return f
}

func (f *fake) connState(_ net.Conn, s http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch s {
	case http.StateNew:
		f.conns++
		f.open++
		f.most = max(f.most, f.open)
	case http.StateClosed, http.StateHijacked:
		f.open--
	default:
	}
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.seen = append(f.seen, r.Method+" "+r.URL.Path)
	f.mu.Unlock()
	if f.delay > 0 {
		<-time.After(f.delay)
	}
	w.Header().Set("Server", "EC2ws")
	if f.fault != nil && f.fault(w, r) {
		return
	}
	if r.URL.Path == "/latest/api/token" {
		f.token(w, r)
		return
	}
	f.mu.Lock()
	end, known := f.tokens[r.Header.Get("X-Aws-Ec2-Metadata-Token")]
	f.mu.Unlock()
	switch text, ok := f.value(strings.TrimPrefix(r.URL.Path, "/latest/")); {
	case r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Via") != "":
		w.WriteHeader(http.StatusForbidden)
	case !known || time.Now().After(end):
		w.WriteHeader(http.StatusUnauthorized)
	case r.Method != http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case !ok:
		http.Error(w, "404 - Not Found", http.StatusNotFound)
	default:
		fmt.Fprint(w, text)
	}
}

func (f *fake) token(w http.ResponseWriter, r *http.Request) {
	ttl, err := strconv.Atoi(r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
	if r.Method != http.MethodPut || err != nil || ttl < 1 || ttl > 21600 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if f.ttl != 0 {
		ttl = f.ttl
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	token := fmt.Sprintf("TOKEN-%d==", len(f.tokens))
	f.tokens[token] = time.Now().Add(time.Duration(ttl) * time.Second)
	w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", strconv.Itoa(ttl))
	fmt.Fprint(w, token)
}

func (f *fake) value(path string) (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	text, ok := f.values[path]
	return text, ok
}

// set replaces the texts.
func (f *fake) set(v values) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.values = v
}

// revoke ends all tokens before their time.
func (f *fake) revoke() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for token := range f.tokens {
		f.tokens[token] = time.Time{}
	}
}

// reset forgets what was counted.
func (f *fake) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen, f.conns = nil, 0
}

// counts returns the number of token requests, of other requests, and of
// connections opened.
func (f *fake) counts() (puts, gets, conns int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.seen {
		if strings.HasPrefix(s, "PUT") {
			puts++
		}
	}
	return puts, len(f.seen) - puts, f.conns
}

// mostOpen returns how many connections there were at the same time.
func (f *fake) mostOpen() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.most
}

// asked returns how often the path was asked for.
func (f *fake) asked(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, s := range f.seen {
		if strings.HasSuffix(s, " /latest/"+path) {
			n++
		}
	}
	return n
}

func client(t *testing.T, endpoint string) *ec2meta.Client {
	t.Helper()
	c := ec2meta.New(ec2meta.Options{Endpoint: endpoint})
	t.Cleanup(c.Close)
	return c
}
