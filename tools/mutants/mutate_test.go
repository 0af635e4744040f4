package main

import (
	"strings"
	"testing"
)

func TestMutate(t *testing.T) {
	t.Parallel()
	const source = `package p

const big = 1 > 0

func f(a, b int, ok bool) (int, bool) {
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
	got, found, pkg, err := mutate("p.go", []byte(source), 5, "")
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
	want := "a == b|ok|ok|a < b|a > 1|g(func() bool { return b != 2 })|b != 2|x|a >= b"
	if s := strings.Join(texts, "|"); s != want || pkg != "p" {
		t.Errorf("found %s\n want %s", s, want)
	}
	for _, want := range []string{
		"if mutant(5, a == b) && !mutant(6, ok) {",
		"return 1, mutant(7, ok)",
		"case mutant(8, a < b), false:",
		"mutant(9, a > 1) || mutant(10, g(func() bool { return mutant(11, b != 2) }))",
		"return 2, (mutant(13, a >= b))",
		"const big = 1 > 0",
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
	if _, none, _, _ := mutate("p.go", []byte(source), 1, "nowhere"); len(none) != 0 {
		t.Errorf("only nothing: %v", none)
	}
}
