package bootstrap

import "slices"

// A setting is one field as one document sets it.
type setting struct {
	field *fieldSpec
	path  string // spec.kubelet.flags
	at    place
	// value is a string, bool, int64, []listItem, *tree or []element,
	// as the field's shape says.
	value any
}

// A listItem is one element of a list of strings.
type listItem struct {
	text string
	at   place
}

// An element is one object of a list of objects.
type element struct {
	at       place
	settings []setting
}

// get returns the element's setting of the named field.
func (e element) get(name string) (setting, bool) {
	for _, s := range e.settings {
		if s.field.name == name {
			return s, true
		}
	}
	return setting{}, false
}

// A leaf is a value below a free-form map, with its place.
type leaf struct {
	value any
	at    place
}

// A tree is a free-form map that remembers where each value came from and the
// order of its keys.
type tree struct {
	names []string
	nodes map[string]any // *tree or leaf
}

func newTree() *tree { return &tree{nodes: map[string]any{}} }

// set adds or replaces an entry.
func (t *tree) set(name string, node any) {
	if _, ok := t.nodes[name]; !ok {
		t.names = append(t.names, name)
	}
	t.nodes[name] = node
}

// merge puts later's entries over t's: maps are merged entry by entry,
// everything else, lists too, is replaced.
func (t *tree) merge(later *tree) {
	for _, name := range later.names {
		sub, isTree := later.nodes[name].(*tree)
		old, wasTree := t.nodes[name].(*tree)
		if isTree && wasTree {
			old.merge(sub)
			continue
		}
		t.set(name, clone(later.nodes[name]))
	}
}

// clone copies a tree so that merging into it leaves the document's own alone.
func clone(node any) any {
	t, ok := node.(*tree)
	if !ok {
		return node
	}
	c := newTree()
	c.merge(t)
	return c
}

// plain returns the values without their places.
func (t *tree) plain() map[string]any {
	m := make(map[string]any, len(t.names))
	for name, node := range t.nodes {
		switch node := node.(type) {
		case *tree:
			m[name] = node.plain()
		case leaf:
			m[name] = node.value
		}
	}
	return m
}

// leaves calls f for every value that is not a map.
func (t *tree) leaves(path string, f func(path string, at place)) {
	for _, name := range t.names {
		switch node := t.nodes[name].(type) {
		case *tree:
			node.leaves(joinPath(path, name), f)
		case leaf:
			f(joinPath(path, name), node.at)
		}
	}
}

// A merger holds the settings of all documents so far, later ones over earlier.
type merger struct {
	paths    []string // in the order first set
	settings map[string]setting
	// empty remembers where a field was given without a value.
	empty map[string]place
}

func newMerger() merger { return merger{settings: map[string]setting{}, empty: map[string]place{}} }

// add puts one setting over what is there. Empty values do not override: tools write
// null, {} and "" for what their user left out. An empty list does where it says
// something (fieldSpec.none).
func (m *merger) add(s setting) {
	if s.isEmpty() {
		m.empty[s.path] = s.at
		return
	}
	old, ok := m.settings[s.path]
	if !ok {
		m.paths = append(m.paths, s.path)
		if t, isTree := s.value.(*tree); isTree {
			s.value = clone(t)
		}
		m.settings[s.path] = s
		return
	}
	switch v := s.value.(type) {
	case *tree:
		if t, isTree := old.value.(*tree); isTree {
			t.merge(v)
			s.value = t
		}
	case []listItem:
		if items, isList := old.value.([]listItem); isList && s.field.appends {
			s.value = slices.Concat(items, v)
		}
	}
	m.settings[s.path] = s
}

// isEmpty reports whether the setting says nothing.
func (s setting) isEmpty() bool {
	if groups, ok := s.value.([]element); ok && len(groups) == 0 && s.field.none {
		return false
	}
	return isEmpty(s.value)
}

// isEmpty reports whether a value says nothing. A false boolean and a zero do
// say something.
func isEmpty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []listItem:
		return len(v) == 0
	case []element:
		return len(v) == 0
	case *tree:
		empty := true
		v.leaves("", func(string, place) { empty = false })
		return empty
	default:
		return false
	}
}
