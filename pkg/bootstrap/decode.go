package bootstrap

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// A fieldShape is the type of a field's value.
type fieldShape int

const (
	shapeObject   fieldShape = iota
	shapeText                // a string
	shapeBool                // true or false
	shapeSwitch              // always, never or another word; true is always, false is never
	shapeInteger             // a whole number
	shapeCount               // a whole number or one of words
	shapeDuration            // a Go duration or one of words
	shapeTexts               // a list of strings
	shapeTextMap             // string → string
	shapeTextMaps            // string → string → string
	shapeFree                // a mapping of anything
	shapeGroups              // a list of objects
	shapeIgnored             // anything; read elsewhere or meaningless here
)

// A fieldSpec describes one field of a kind of document.
type fieldSpec struct {
	name  string
	shape fieldShape
	// fields are an object's fields, or those of the objects in a list.
	fields []fieldSpec
	// bare is the field that a plain string in a list of objects stands for.
	bare string
	// words are the values allowed for a text or the elements of a list of
	// texts, or the words allowed beside a duration or count.
	words []string
	// def is the documented default as text; setting a field to it is the same
	// as leaving it out.
	def string
	// effect says that this version does what the field asks for. A field
	// without effect is refused when it is set.
	effect bool
	// appends says that a later document's list is appended, not put in place.
	appends bool
	// none says that an empty list is a value: nothing, in place of the default.
	none bool
	// secret says that no byte of the value may appear in a message.
	secret bool
	// aka are other names people give the field.
	aka []string
}

// wants names the shape for people.
func (f *fieldSpec) wants() string {
	switch f.shape {
	case shapeObject, shapeFree, shapeTextMap, shapeTextMaps:
		return "a mapping"
	case shapeBool:
		return "true or false"
	case shapeSwitch:
		return "one of " + strings.Join(f.words, ", ")
	case shapeInteger:
		return "a whole number"
	case shapeCount:
		return "a whole number or " + strings.Join(f.words, " or ")
	case shapeDuration:
		if len(f.words) == 0 {
			return "a duration such as 5m"
		}
		return "a duration such as 5m, or " + strings.Join(f.words, " or ")
	case shapeTexts:
		return "a list of strings"
	case shapeGroups:
		return "a list of mappings"
	default:
		return "a string"
	}
}

// A documentKind is one kind of document that nodeprep reads.
type documentKind struct {
	apiVersion, kind string
	fields           []fieldSpec
	// lenient says that a field resembling no known one is only a warning: a
	// newer version of the API may have it.
	lenient bool
}

// object decodes a mapping into settings.
func (w *walker) object(n *yaml.Node, kind *documentKind, fields []fieldSpec, path string, depth int, sink *[]setting) {
	if n = w.visit(n, depth); n == nil || isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		w.wrongType(n, path, "a mapping", false)
		return
	}
	pairs := w.pairs(n, path, depth)
	for _, p := range pairs {
		f := findField(fields, p.name)
		if f == nil {
			f = w.unknown(p, kind, fields, path)
			// The value of a misspelt field is still read, unless the field is
			// also there by its right name.
			if f == nil || slices.ContainsFunc(pairs, func(o pair) bool { return o.name == f.name }) {
				continue
			}
		}
		w.field(p, kind, f, joinPath(path, f.name), depth+1, sink)
	}
}

func findField(fields []fieldSpec, name string) *fieldSpec {
	for i := range fields {
		if fields[i].name == name {
			return &fields[i]
		}
	}
	return nil
}

// fieldOf returns the field at a dotted path such as spec.names.fips, nil for none. A
// path ends at a list.
func fieldOf(kind *documentKind, path string) *fieldSpec {
	var f *fieldSpec
	fields := kind.fields
	for name := range strings.SplitSeq(path, ".") {
		if f = findField(fields, name); f == nil {
			return nil
		}
		if fields = nil; f.shape == shapeObject {
			fields = f.fields
		}
	}
	return f
}

// field decodes one field's value.
func (w *walker) field(p pair, kind *documentKind, f *fieldSpec, path string, depth int, sink *[]setting) {
	if f.shape == shapeObject {
		w.object(p.value, kind, f.fields, path, depth, sink)
		return
	}
	n := w.visit(p.value, depth)
	if n == nil || f.shape == shapeIgnored || isNull(n) {
		return
	}
	var v any
	var ok bool
	switch f.shape {
	case shapeGroups:
		v, ok = w.groups(n, kind, f, path, depth)
	case shapeTexts:
		v, ok = w.texts(n, f, path, depth)
	case shapeFree, shapeTextMap, shapeTextMaps:
		v, ok = w.freeMap(n, f, path, depth)
	default:
		v, ok = w.single(n, f, path)
	}
	if ok {
		*sink = append(*sink, setting{field: f, path: path, at: w.place(p.key), value: v})
	}
}

// single decodes a scalar field and checks its words.
func (w *walker) single(n *yaml.Node, f *fieldSpec, path string) (any, bool) {
	if n.Kind != yaml.ScalarNode {
		w.wrongType(n, path, f.wants(), f.secret)
		return nil, false
	}
	v, ok := w.textScalar(n, path, f.shape == shapeBool || f.shape == shapeSwitch)
	if !ok {
		return nil, false
	}
	fits := false
	switch v := v.(type) {
	case string:
		fits = f.shape == shapeText || f.shape == shapeSwitch || f.shape == shapeCount || f.shape == shapeDuration
		if fits && v != "" && !f.allows(v) {
			w.r.attempted[path] = true
			w.problem(n, path, "is "+excerpt(v)+", not "+f.choices(), "Write "+f.choices()+".")
			return nil, false
		}
	case bool:
		if fits = f.shape == shapeBool || f.shape == shapeSwitch; f.shape == shapeSwitch {
			return switchWord(v), true
		}
	case int64:
		fits = f.shape == shapeInteger || f.shape == shapeCount
	}
	if !fits {
		w.wrongType(n, path, f.wants(), f.secret)
		return nil, false
	}
	return v, true
}

// switchWord is the word that a boolean stands for.
func switchWord(on bool) string {
	if on {
		return string(VariantAlways)
	}
	return string(VariantNever)
}

// textScalar converts a scalar of a field whose type is known: on and off are
// words where a text is wanted (console: off), and booleans where one is.
func (w *walker) textScalar(n *yaml.Node, path string, boolean bool) (any, bool) {
	if !boolean && n.ShortTag() == "!!str" {
		return n.Value, true
	}
	return w.scalar(n, path)
}

// allows reports whether a text is one of the field's words or a duration.
func (f *fieldSpec) allows(v string) bool {
	if slices.Contains(f.words, v) {
		return true
	}
	switch f.shape {
	case shapeDuration:
		d, err := time.ParseDuration(v)
		return err == nil && d >= 0
	case shapeCount:
		return false
	default:
		return len(f.words) == 0
	}
}

// choices names the allowed values for people.
func (f *fieldSpec) choices() string {
	if f.shape == shapeText || f.shape == shapeTexts {
		return "one of " + strings.Join(f.words, ", ")
	}
	return f.wants()
}

// texts decodes a list of strings.
func (w *walker) texts(n *yaml.Node, f *fieldSpec, path string, depth int) (any, bool) {
	if n.Kind != yaml.SequenceNode {
		w.wrongType(n, path, f.wants(), f.secret)
		return nil, false
	}
	var items []listItem
	for i, c := range n.Content {
		child := fmt.Sprintf("%s[%d]", path, i)
		if c = w.visit(c, depth+1); c == nil {
			return nil, false
		}
		v, ok := any(nil), c.Kind == yaml.ScalarNode
		if ok {
			if v, ok = w.textScalar(c, child, false); !ok {
				continue
			}
		}
		s, isText := v.(string)
		switch {
		case !isText:
			w.wrongType(c, child, "a string", f.secret)
		case len(f.words) > 0 && !f.allows(s):
			w.problem(c, child, "is "+excerpt(s)+", not "+f.choices(), "Write "+f.choices()+".")
		default:
			items = append(items, listItem{s, w.place(c)})
		}
	}
	return items, true
}

// freeMap decodes a mapping whose keys are the user's own.
func (w *walker) freeMap(n *yaml.Node, f *fieldSpec, path string, depth int) (any, bool) {
	if n.Kind != yaml.MappingNode {
		w.wrongType(n, path, f.wants(), f.secret)
		return nil, false
	}
	v, ok := w.value(n, path, depth)
	t, isTree := v.(*tree)
	if !ok || !isTree || w.exhausted {
		return nil, false
	}
	if f.shape != shapeFree {
		w.checkTexts(t, path, f.shape == shapeTextMaps)
	}
	return t, true
}

// checkTexts reports values of a map of strings that are something else.
func (w *walker) checkTexts(t *tree, path string, nested bool) {
	for _, name := range t.names {
		child := joinPath(path, name)
		wrong := Problem{Code: CFG102, Path: child, Message: "is not a string", Remedy: "Write a string; put numbers and booleans in quotes."}
		switch node := t.nodes[name].(type) {
		case *tree:
			if nested {
				w.checkTexts(node, child, false)
			} else {
				w.r.add(w.at, wrong)
			}
		case leaf:
			if nested {
				wrong.Message, wrong.Remedy = "is not a mapping", "Write names and values below it."
				w.r.add(node.at, wrong)
			} else if _, ok := node.value.(string); !ok {
				w.r.add(node.at, wrong)
			}
		}
	}
}

// groups decodes a list of objects.
func (w *walker) groups(n *yaml.Node, kind *documentKind, f *fieldSpec, path string, depth int) (any, bool) {
	if n.Kind != yaml.SequenceNode {
		w.wrongType(n, path, f.wants(), f.secret)
		return nil, false
	}
	var out []element
	for i, c := range n.Content {
		child := fmt.Sprintf("%s[%d]", path, i)
		if c = w.visit(c, depth+1); c == nil {
			return nil, false
		}
		g := element{at: w.place(c)}
		if f.bare == "" && c.Kind != yaml.MappingNode {
			w.wrongType(c, child, "a mapping", false)
			continue
		}
		if bare := findField(f.fields, f.bare); bare != nil && c.Kind == yaml.ScalarNode {
			if v, ok := w.single(c, bare, child); ok {
				g.settings = []setting{{field: bare, path: child, at: g.at, value: v}}
			}
		} else {
			w.object(c, kind, f.fields, child, depth+1, &g.settings)
		}
		out = append(out, g)
	}
	return out, true
}

// atDefault reports whether a value asks for nothing beyond what happens anyway.
func (s setting) atDefault() bool {
	if s.isEmpty() {
		return true
	}
	switch v := s.value.(type) {
	case string:
		if s.field.shape == shapeDuration {
			set, err1 := time.ParseDuration(v)
			def, err2 := time.ParseDuration(s.field.def)
			if err1 == nil && err2 == nil {
				return set == def
			}
		}
		return v == s.field.def
	case bool:
		return fmt.Sprint(v) == s.field.def || !v && s.field.def == ""
	case int64:
		return fmt.Sprint(v) == s.field.def
	default:
		return false
	}
}
