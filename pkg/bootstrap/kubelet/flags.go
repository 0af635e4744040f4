package kubelet

import (
	_ "embed" // flags.txt
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// flagTable lists the flags of the kubelet on Linux, one a line, as
//
//	NAME [bool] [since=MINOR] [gone=MINOR]
//
// Read in the sources of Kubernetes 1.30.14 and 1.36.3 (cmd/kubelet/app/options
// and the flags registered by component-base and cAdvisor); the versions of
// the removals are those of their change logs. A kubelet exits on a flag that
// it does not know.
//
//go:embed flags.txt
var flagTable string

// The versions that flagTable is complete for. A newer kubelet may know more.
const firstMinor, lastMinor = 30, 36

// A knownFlag is one row of flagTable.
type knownFlag struct {
	name        string
	boolean     bool // takes no separate value
	since, gone Version
}

// lookUp finds a flag by its name without the dashes. The kubelet treats _ like -.
func lookUp(name string) (knownFlag, bool) {
	name = strings.ReplaceAll(name, "_", "-")
	for row := range strings.Lines(flagTable) {
		fields := strings.Fields(row)
		if fields[0] != name {
			continue
		}
		f := knownFlag{name: name}
		for _, field := range fields[1:] {
			key, value, _ := strings.Cut(field, "=")
			// The table is ours and tested: its versions parse.
			v, _ := ParseVersion(value)
			switch key {
			case "bool":
				f.boolean = true
			case "since":
				f.since = v
			case "gone":
				f.gone = v
			}
		}
		return f, true
	}
	return knownFlag{}, false
}

// refusedBy says why the kubelet of version v would exit on the flag, empty
// when it would not, or when that is not known.
func refusedBy(name string, v Version) (reason, remedy string) {
	f, known := lookUp(name)
	complete := v.IsZero() || v.Major == 1 && v.Minor >= firstMinor && v.Minor <= lastMinor
	switch {
	case !known && complete:
		remedy = fmt.Sprintf("Remove --%s.", name)
		if near := nearest(name); near != "" {
			remedy = fmt.Sprintf("Write --%s, or remove --%s.", near, name)
		}
		return fmt.Sprintf("the kubelet has no flag --%s and exits on it", name), remedy
	case known && !f.gone.IsZero() && v.AtLeast(f.gone.Major, f.gone.Minor):
		return fmt.Sprintf("the kubelet has no flag --%s since 1.%d; %s exits on it", name, f.gone.Minor, v),
			fmt.Sprintf("Remove --%s.", name)
	case known && v.Below(f.since.Major, f.since.Minor):
		return fmt.Sprintf("the kubelet has --%s only since 1.%d; %s exits on it", name, f.since.Minor, v),
			fmt.Sprintf("Remove --%s.", name)
	}
	return "", ""
}

// nearest is the known flag within two edits of name, empty for none.
func nearest(name string) string {
	best, distance := "", 3
	for row := range strings.Lines(flagTable) {
		known, _, _ := strings.Cut(strings.TrimSpace(row), " ")
		if d := editDistance(strings.ReplaceAll(name, "_", "-"), known); d < distance {
			best, distance = known, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions and replacements of bytes that
// turn a into b (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Words splits flags as systemd does when kubelet.service expands its
// variable: at blanks, honouring single and double quotes. One element may
// hold several words, as NodeConfig documents do.
//
// A text that systemd cannot hand to the kubelet unchanged is an error:
// backslashes (one level is lost in the environment file, another in the
// expansion), line breaks and other control characters, bytes that are not
// UTF-8, and quotes without an end.
func Words(flags string) ([]string, error) {
	if !utf8.ValidString(flags) {
		return nil, errors.New("it is not UTF-8, which systemd requires")
	}
	var words []string
	var text strings.Builder
	var quote rune
	inWord := false
	for _, r := range flags {
		switch {
		case r == '\\':
			return nil, errors.New(`it has a backslash, which systemd would drop`)
		case r < ' ' && r != '\t' || r == 0x7f:
			return nil, fmt.Errorf("it has the control character %U, which an environment file cannot hold", r)
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			text.WriteRune(r)
		case r == '"' || r == '\'':
			quote, inWord = r, true
		case r == ' ' || r == '\t':
			if inWord {
				words = append(words, text.String())
				text.Reset()
				inWord = false
			}
		default:
			text.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("it has a %c without its counterpart", quote)
	}
	if inWord {
		words = append(words, text.String())
	}
	return words, nil
}

// A userFlag is one flag as the kubelet reads it.
type userFlag struct {
	name    string // with hyphens; empty for a word that is no flag
	value   string
	element int // of spec.kubelet.flags
}

// A word is one argument and the element of spec.kubelet.flags it stands in.
type word struct {
	text    string
	element int
}

// parseFlags reads the words as the kubelet does: a flag that is not boolean
// takes the next word as its value when it has none of its own, also when that
// stands in the next element.
func parseFlags(words []word) []userFlag {
	var flags []userFlag
	for i := 0; i < len(words); i++ {
		w := words[i]
		text, long := strings.CutPrefix(w.text, "--")
		switch {
		case long && text != "":
			name, value, given := strings.Cut(text, "=")
			f := userFlag{name: strings.ReplaceAll(name, "_", "-"), value: value, element: w.element}
			if known, ok := lookUp(f.name); ok && !known.boolean && !given && i+1 < len(words) {
				i++
				f.value = words[i].text
			}
			flags = append(flags, f)
		case strings.HasPrefix(w.text, "-v"):
			// The one shorthand that is in use: -v2, -v=2, -v 2.
			if w.text == "-v" && i+1 < len(words) {
				i++
			}
			flags = append(flags, userFlag{name: "v", element: w.element})
		default:
			flags = append(flags, userFlag{value: w.text, element: w.element})
		}
	}
	return flags
}
