package bootstrap

import (
	"slices"
	"strings"
	"unicode"
)

// unknown reports a field that the kind does not have. It returns the field
// that was probably meant, nil when none of the siblings resembles it.
func (w *walker) unknown(p pair, kind *documentKind, siblings []fieldSpec, path string) *fieldSpec {
	problem := Problem{Code: CFG109, Path: joinPath(path, p.name)}
	near := nearestField(siblings, p.name)
	elsewhere := ""
	if near == nil {
		elsewhere = findElsewhere(kind.fields, "", p.name)
	}
	switch {
	case near != nil:
		known := joinPath(path, near.name)
		problem.Message = "is not a field of " + kind.kind + "; it resembles " + known
		problem.Remedy = "Rename it to " + near.name + "."
		w.r.attempted[known] = true
	case elsewhere != "":
		problem.Message = "is not a field of " + kind.kind + " here; " + elsewhere + " is"
		problem.Remedy = "Move it to " + elsewhere + " (look at the indentation)."
		w.r.attempted[elsewhere] = true
	case kind.lenient:
		problem.Warning = true
		problem.Message = "is not a field of " + kind.kind + " that this version knows; it is ignored"
		problem.Remedy = "Remove it, or use a version of nodeprep that knows it."
	default:
		problem.Message = "is not a field of " + kind.kind
		problem.Remedy = "Remove it. Fields here are: " + strings.Join(fieldNames(siblings), ", ") + "."
	}
	w.r.add(w.place(p.key), problem)
	return near
}

func fieldNames(fields []fieldSpec) []string {
	var names []string
	for _, f := range fields {
		names = append(names, f.name)
	}
	return names
}

// nearestField returns the field whose name was probably meant.
func nearestField(fields []fieldSpec, name string) *fieldSpec {
	folded := foldName(name)
	best, bestDistance := -1, 3
	for i, f := range fields {
		if foldName(f.name) == folded || slices.ContainsFunc(f.aka, func(a string) bool { return foldName(a) == folded }) {
			return &fields[i]
		}
		// A name of three letters is one typo away from too many words.
		allowed := min((len(f.name)-2)/2, 2)
		if d := editDistance(foldName(f.name), folded, allowed); d <= allowed && d < bestDistance {
			best, bestDistance = i, d
		}
	}
	if best < 0 {
		return nil
	}
	return &fields[best]
}

// foldName drops what people vary in a name: case, hyphens, underscores.
func foldName(s string) string {
	return strings.Map(func(c rune) rune {
		if isVaried(c) {
			return -1
		}
		return unicode.ToLower(c)
	}, s)
}

// isVaried reports whether people leave out or add a character in names.
func isVaried(c rune) bool { return c == '-' || c == '_' || c == ' ' }

// findElsewhere returns the path of a field of exactly this name in another
// place of the kind. Short names mean different things in different places.
func findElsewhere(fields []fieldSpec, path, name string) string {
	if len(name) < 8 {
		return ""
	}
	for _, f := range fields {
		here := joinPath(path, f.name)
		if strings.EqualFold(f.name, name) {
			return here
		}
		if f.shape == shapeObject {
			if found := findElsewhere(f.fields, here, name); found != "" {
				return found
			}
		}
	}
	return ""
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours between two names; above limit the result is only known to be
// larger than it.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	var before []int
	previous := make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, previous[j]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, previous = previous, row
	}
	return previous[len(b)]
}
