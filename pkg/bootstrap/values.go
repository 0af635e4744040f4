package bootstrap

import (
	"fmt"
	"math"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

// value converts a node of any shape to what JSON can hold: nil, bool, int64,
// uint64, float64, string, []any, or a *tree for a mapping.
func (w *walker) value(n *yaml.Node, path string, depth int) (any, bool) {
	if n = w.visit(n, depth); n == nil {
		return nil, false
	}
	switch n.Kind {
	case yaml.MappingNode:
		t := newTree()
		for _, p := range w.pairs(n, path, depth) {
			child := joinPath(path, p.name)
			v, ok := w.value(p.value, child, depth+1)
			if !ok || v == nil {
				continue // null is the same as absent
			}
			if sub, isTree := v.(*tree); isTree {
				t.set(p.name, sub)
			} else {
				t.set(p.name, leaf{v, w.place(p.key)})
			}
		}
		return t, true
	case yaml.SequenceNode:
		list := make([]any, 0, min(len(n.Content), 64))
		for i, c := range n.Content {
			v, ok := w.value(c, fmt.Sprintf("%s[%d]", path, i), depth+1)
			if !ok {
				return nil, false
			}
			if t, isTree := v.(*tree); isTree {
				v = t.plain()
			}
			list = append(list, v)
		}
		return list, true
	default:
		return w.scalar(n, path)
	}
}

// yaml11Bools are the booleans of YAML 1.1 beyond true and false.
// sigs.k8s.io/yaml, which reads NodeConfig everywhere else, knows them.
var yaml11Bools = map[string]bool{
	"y": true, "Y": true, "yes": true, "Yes": true, "YES": true, "on": true, "On": true, "ON": true,
	"n": false, "N": false, "no": false, "No": false, "NO": false, "off": false, "Off": false, "OFF": false,
}

// scalar converts a scalar node.
func (w *walker) scalar(n *yaml.Node, path string) (any, bool) {
	tag := n.ShortTag()
	if tag == "!!str" && n.Style == 0 {
		if b, ok := yaml11Bools[n.Value]; ok {
			return b, true
		}
	}
	if tag == "!!timestamp" {
		return n.Value, true // JSON has no timestamps
	}
	if !slices.Contains([]string{"!!str", "!!int", "!!float", "!!bool", "!!null"}, tag) {
		w.problem(n, path, "has the YAML tag "+excerpt(tag)+", which means nothing here", "Remove the tag.")
		return nil, false
	}
	var v any
	if err := n.Decode(&v); err != nil {
		w.problem(n, path, "does not fit its YAML tag "+excerpt(tag), "Remove the tag.")
		return nil, false
	}
	switch v := v.(type) {
	case int:
		return int64(v), true
	case time.Time:
		return n.Value, true
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			w.problem(n, path, "is not a finite number", "Write a number.")
			return nil, false
		}
	}
	return v, true
}

// typeName names a node's type for people.
func typeName(n *yaml.Node) string {
	if n.Kind == yaml.MappingNode {
		return "a mapping"
	}
	if n.Kind == yaml.SequenceNode {
		return "a list"
	}
	if n.Style == 0 {
		if _, ok := yaml11Bools[n.Value]; ok {
			return "a boolean"
		}
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "a boolean"
	case "!!null":
		return "nothing"
	default:
		return "a string"
	}
}

// describeNode names a node's type and, for a scalar that may be shown, its value.
func describeNode(n *yaml.Node, secret bool) string {
	if n.Kind != yaml.ScalarNode || secret || n.Value == "" {
		return typeName(n)
	}
	return typeName(n) + " (" + excerpt(n.Value) + ")"
}
