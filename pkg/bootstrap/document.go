package bootstrap

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	// maxDocumentNodes bounds the values of one document with all aliases
	// followed, so that a few lines cannot grow into gigabytes.
	maxDocumentNodes = 100_000
	maxDocumentDepth = 100
)

// parseDocuments parses YAML or JSON documents separated by "---". Documents
// before a syntax error are returned with it.
func parseDocuments(text []byte) (docs []*yaml.Node, err error) {
	// A parser that panics on hostile text must not take the node down; no
	// such text is known.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the parser failed: %v", p)
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(jsonAsYAML(text)))
	for {
		var doc yaml.Node
		switch err := decoder.Decode(&doc); {
		case errors.Is(err, io.EOF):
			return docs, nil
		case err != nil:
			return docs, err
		}
		if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 && !isNull(doc.Content[0]) {
			docs = append(docs, doc.Content[0])
		}
	}
}

// isJSON reports whether text is meant as JSON.
func isJSON(text []byte) bool { return bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{")) }

// jsonAsYAML rewrites the two escapes of JSON that YAML lacks or the parser
// refuses: \/ and surrogate pairs. All other text comes back unchanged.
func jsonAsYAML(text []byte) []byte {
	if !isJSON(text) || !bytes.ContainsRune(text, '\\') || !json.Valid(text) {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] != '\\': // which only strings contain
			out = append(out, text[i])
		case text[i+1] == '/':
			out = append(out, '/')
			i++
		case text[i+1] == 'u' && utf16.IsSurrogate(escapedRune(text[i:])):
			r := unicode.ReplacementChar
			if low := escapedRune(text[i+6:]); low >= 0 {
				r = utf16.DecodeRune(escapedRune(text[i:]), low)
			}
			if r != unicode.ReplacementChar {
				i += 6
			}
			out = utf8.AppendRune(out, r)
			i += 5
		default:
			out = append(out, text[i], text[i+1])
			i++
		}
	}
	return out
}

// escapedRune returns the code unit of an escape \uXXXX at the start of text,
// -1 when there is none.
func escapedRune(text []byte) rune {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// syntaxPosition splits the line off a syntax error. go.yaml.in/yaml/v3 gives
// it in the text only; it is shown to people, nothing is decided on it.
func syntaxPosition(err error) (line int, what string) {
	what = strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(what, "line "); ok {
		if number, after, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				return n, after
			}
		}
	}
	return 0, what
}

// tabLine returns the first line that is indented with a tab, 0 for none.
func tabLine(text []byte) int {
	for i, l := range bytes.Split(text, []byte("\n")) {
		indent := l[:len(l)-len(bytes.TrimLeft(l, " \t"))]
		if bytes.ContainsRune(indent, '\t') && len(indent) < len(l) {
			return i + 1
		}
	}
	return 0
}

// readDocuments reads every document of a piece of text. full says that the
// text may have been cut off at EC2's limit.
func (r *configReader) readDocuments(at place, text []byte, full bool) {
	docs, err := parseDocuments(text)
	for _, doc := range docs {
		at.line = doc.Line
		r.readDocument(at, doc)
	}
	if err == nil {
		if full && !bytes.HasSuffix(text, []byte("\n")) && at.part == "" {
			at.line = bytes.Count(text, []byte("\n")) + 1
			r.cut = &at
		}
		return
	}
	r.unreadable = true
	line, what := syntaxPosition(err)
	at.line = line
	p := Problem{Code: CFG102, Message: "not valid YAML: " + what, Remedy: "Correct the YAML at this place; nothing after it could be read."}
	if n := tabLine(text); n > 0 && !isJSON(text) {
		at.line = n
		p.Remedy = "Indent with spaces: YAML does not allow the tab on this line."
	}
	if full {
		p.Message = truncatedText("where the YAML is incomplete") + " (" + what + ")"
		p.Remedy = truncatedRemedy
	}
	r.add(at, p)
}

// A walker takes one document apart.
type walker struct {
	r         *configReader
	at        place // of the document
	nodes     int   // values visited
	exhausted bool
}

// visit counts a value and follows an alias. It returns nil when a limit is
// exceeded, which is reported once.
func (w *walker) visit(n *yaml.Node, depth int) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	w.nodes++
	if w.exhausted || w.nodes <= maxDocumentNodes && depth <= maxDocumentDepth {
		if w.exhausted {
			return nil
		}
		return n
	}
	w.exhausted = true
	w.r.unreadable = true
	message := fmt.Sprintf("the document has more than %d values once its aliases are expanded", maxDocumentNodes)
	if depth > maxDocumentDepth {
		message = fmt.Sprintf("the document is nested deeper than %d levels", maxDocumentDepth)
	}
	w.problem(n, "", message, "Write the values out without aliases, and fewer of them.")
	return nil
}

// place is where a node stands.
func (w *walker) place(n *yaml.Node) place {
	at := w.at
	at.line = n.Line
	return at
}

// problem reports a mistake at a node.
func (w *walker) problem(n *yaml.Node, path, message, remedy string) {
	w.r.add(w.place(n), Problem{Code: CFG102, Path: path, Message: message, Remedy: remedy})
}

// wrongType reports a value of another type than the field's.
func (w *walker) wrongType(n *yaml.Node, path, want string, secret bool) {
	w.r.attempted[path] = true
	remedy := "Write " + want + "."
	got := describeNode(n, secret)
	if n.Kind == yaml.ScalarNode && want == "a string" {
		remedy = "Put the value in quotes: to YAML it is " + typeName(n) + " without them."
	}
	w.problem(n, path, "is "+got+", not "+want, remedy)
}

// A pair is one entry of a mapping.
type pair struct {
	name       string
	key, value *yaml.Node
}

// pairs returns the entries of a mapping with merge keys (<<) resolved: the
// mapping's own entries win. A repeated key is reported and its first value kept.
func (w *walker) pairs(n *yaml.Node, path string, depth int) []pair {
	var out, inherited []pair
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := w.visit(n.Content[i], depth), n.Content[i+1]
		switch {
		case key == nil:
			return out
		case key.Kind != yaml.ScalarNode || isNull(key):
			w.problem(key, path, "has a key that is not a name", "Use plain names as keys.")
		case key.ShortTag() == "!!merge":
			inherited = append(inherited, w.merged(value, path, depth+1)...)
		case seen[key.Value] > 0:
			w.problem(key, joinPath(path, key.Value),
				fmt.Sprintf("is given twice, first on line %d", seen[key.Value]), "Remove one of the two.")
		default:
			seen[key.Value] = max(key.Line, 1)
			out = append(out, pair{key.Value, key, value})
		}
	}
	for _, p := range inherited {
		if seen[p.name] == 0 {
			seen[p.name] = max(p.key.Line, 1)
			out = append(out, p)
		}
	}
	return out
}

// merged returns the entries that a merge key brings in.
func (w *walker) merged(n *yaml.Node, path string, depth int) []pair {
	n = w.visit(n, depth)
	switch {
	case n == nil:
		return nil
	case n.Kind == yaml.MappingNode:
		return w.pairs(n, path, depth)
	case n.Kind == yaml.SequenceNode:
		var out []pair
		for _, c := range n.Content {
			if c = w.visit(c, depth); c != nil && c.Kind == yaml.MappingNode {
				out = append(out, w.pairs(c, path, depth)...)
			}
		}
		return out
	default:
		w.problem(n, path, "has a merge key (<<) without a mapping", "Let << name an anchor of a mapping.")
		return nil
	}
}

// excerpt quotes the start of a text, at most 40 characters of it.
func excerpt(s string) string {
	runes := []rune(s)
	if len(runes) > 40 {
		return strconv.Quote(string(runes[:39]) + "…")
	}
	return strconv.Quote(s)
}

// joinPath appends a key to a field path. A key that is no plain name is quoted.
func joinPath(path, key string) string {
	plain := key != ""
	for _, c := range key {
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			plain = false
		}
	}
	switch {
	case !plain || len(key) > 40:
		return path + "[" + excerpt(key) + "]"
	case path == "":
		return key
	default:
		return path + "." + key
	}
}
