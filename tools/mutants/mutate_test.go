package main

import (
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

func TestMutate(t *testing.T) {
	t.Parallel()
	const source = `package p

const big = 1 > 0

type s struct{ x, y int; on, off bool }

type other struct{ off int }

func h(n int, ok bool) s { return s{} }

func f(a, b int, ok bool) (int, bool) {
	v := s{on: ok, off: ok, x: a}
	v.on, v.off = !ok, ok
	v.on = true
	h(a, has(b))
	h(a, true)
	if a == b && !ok {
		return 1, ok
	}
	switch {
	case a < b, false:
		x := a > 1 || g(func() bool { return b != 2 })
		return 0, x
	}
	return 2, (a >= b)
}
`
	known := newBools()
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	known.learn(file)
	got, found, pkg, err := mutate("p.go", []byte(source), 5, "", known)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for i, m := range found {
		if m.number != 5+i {
			t.Errorf("mutant %d has the number %d", i, m.number)
		}
		texts = append(texts, m.text)
		if m.function != "f" || m.nth != strings.Count(strings.Join(texts, "|")+"|", m.text+"|") {
			t.Errorf("%s is number %d of %q", m.text, m.nth, m.function)
		}
	}
	want := "ok|ok|has(b)|a == b|ok|ok|a < b|a > 1|g(func() bool { return b != 2 })|b != 2|x|a >= b"
	if s := strings.Join(texts, "|"); s != want || pkg != "p" {
		t.Errorf("found %s\n want %s", s, want)
	}
	for _, want := range []string{
		"s{on: mutant(5, ok), off: ok, x: a}",
		"v.on, v.off = !mutant(6, ok), ok",
		"h(a, mutant(7, has(b)))",
		"if mutant(8, a == b) && !mutant(9, ok) {",
		"return 1, mutant(10, ok)",
		"case mutant(11, a < b), false:",
		"mutant(12, a > 1) || mutant(13, g(func() bool { return mutant(14, b != 2) }))",
		"return 2, (mutant(16, a >= b))",
		"const big = 1 > 0",
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
	if _, none, _, _ := mutate("p.go", []byte(source), 1, "nowhere", known); len(none) != 0 {
		t.Errorf("only nothing: %v", none)
	}
}
