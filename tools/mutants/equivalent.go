package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
)

// An equivalent is a line of equivalent.txt: FILE: FUNCTION: PREDICATE — REASON.
// Of several equal predicates of a function the second has #2 behind it, and so on.
type equivalent struct {
	line      int
	file, key string
}

// is reports whether the line means the mutant.
func (m mutant) is(e equivalent) bool { return m.key() == e.key }

// key is how equivalent.txt names the mutant.
func (m mutant) key() string {
	key := m.file + ": " + m.function + ": " + m.text
	if m.nth > 1 {
		key += fmt.Sprintf(" #%d", m.nth)
	}
	return key
}

func readEquivalents(name string) ([]equivalent, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	var out []equivalent
	var bad []error
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		key, _, found := strings.Cut(text, " — ")
		if !found || strings.Count(key, ": ") < 2 {
			bad = append(bad, fmt.Errorf("%s:%d: not of the form FILE: FUNCTION: PREDICATE — REASON", name, n))
			continue
		}
		source, _, _ := strings.Cut(key, ": ")
		out = append(out, equivalent{line: n, file: source, key: key})
	}
	return out, errors.Join(append(bad, lines.Err())...)
}
