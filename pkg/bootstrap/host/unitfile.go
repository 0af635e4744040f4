package host

import (
	"strconv"
	"strings"
)

// The forms of systemd that tell which environment a unit gets. go-systemd's own reader is
// of no use here: it refuses lines of more than 2048 bytes, which a list of hosts that need
// no proxy may well have, and refuses a whole file for one bad line, which systemd passes over.

const whiteSpace = " \t\n\r"

// An assignment is one line KEY=VALUE of a unit file.
type assignment struct{ key, value string }

// assignments returns those of one section of a unit file or of system.conf, in their
// order (systemd.syntax(7)). Lines that are none are passed over.
func assignments(data []byte, section string) []assignment {
	var (
		out     []assignment
		current string
		joined  strings.Builder // lines so far that go on
	)
	finish := func(line string) {
		line = strings.Trim(line, whiteSpace)
		if name, ok := strings.CutPrefix(line, "["); ok {
			current = strings.TrimSuffix(name, "]")
			return
		}
		key, value, ok := strings.Cut(line, "=")
		if ok && current == section {
			out = append(out, assignment{strings.Trim(key, whiteSpace), strings.Trim(value, whiteSpace)})
		}
	}
	text := strings.TrimPrefix(string(data), "\ufeff")
	for line := range strings.Lines(text) {
		line = strings.TrimLeft(strings.TrimRight(line, "\r\n"), whiteSpace)
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue // also between lines that are one
		}
		if goesOn(line) {
			joined.WriteString(line[:len(line)-1] + " ")
			continue
		}
		finish(joined.String() + line)
		joined.Reset()
	}
	finish(joined.String())
	return out
}

// goesOn reports whether a line ends in a backslash that no other one escapes.
func goesOn(line string) bool {
	n := len(line) - len(strings.TrimRight(line, `\`))
	return n%2 == 1
}

// splitWords splits a value at white space, minding quotes and escapes anywhere in a
// word (systemd.syntax(7), "Quoting"). What follows a mistake is lost, as in systemd.
func splitWords(s string) []string {
	var (
		words []string
		word  strings.Builder
		in    bool // a word
		quote byte // 0 outside of quotes
	)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\':
			text, n := unescape(s[i+1:])
			if n == 0 {
				return words
			}
			word.WriteString(text)
			in = true
			i += n
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, in = c, true
		case quote == 0 && strings.IndexByte(whiteSpace, c) >= 0:
			if in {
				words = append(words, word.String())
			}
			word.Reset()
			in = false
		default:
			word.WriteByte(c)
			in = true
		}
	}
	if in && quote == 0 {
		words = append(words, word.String())
	}
	return words
}

// unescape reads what follows a backslash and returns what it stands for and its
// length, 0 for a sequence that is none (the table in systemd.syntax(7)).
func unescape(s string) (string, int) {
	const simple, stands = `abfnrtv\"'s`, "\a\b\f\n\r\t\v\\\"' "
	if s == "" {
		return "", 0
	}
	if i := strings.IndexByte(simple, s[0]); i >= 0 {
		return stands[i : i+1], 1
	}
	number := func(from, digits, base, bits int) (uint64, bool) {
		if len(s) < from+digits || strings.ContainsAny(s[from:from+digits], "+-_") {
			return 0, false
		}
		n, err := strconv.ParseUint(s[from:from+digits], base, bits)
		return n, err == nil && n != 0
	}
	switch s[0] {
	case 'x':
		if n, ok := number(1, 2, 16, 8); ok {
			return string([]byte{byte(n)}), 3
		}
	case 'u':
		if n, ok := number(1, 4, 16, 16); ok {
			return string(rune(n)), 5
		}
	case 'U':
		if n, ok := number(1, 8, 16, 31); ok {
			return string(rune(n)), 9
		}
	default:
		if n, ok := number(0, 3, 8, 8); ok {
			return string([]byte{byte(n)}), 3
		}
	}
	return "", 0
}

// expand replaces the specifiers whose meaning is the same on every machine, and the
// unit's name (systemd.unit(5), "Specifiers"). The others stay, as unknown ones do in
// systemd: what is kept of an environment seldom has any, but %% in passwords.
// unit is empty in system.conf, which knows no names of units.
func expand(s, unit string) string {
	pairs := []string{
		"%%", "%", "%t", "/run", "%S", "/var/lib", "%C", "/var/cache", "%L", "/var/log", "%E", "/etc",
		"%T", "/tmp", "%V", "/var/tmp",
	}
	if prefix, _, ok := strings.Cut(unit, "."); ok {
		pairs = append(pairs, "%n", unit, "%N", prefix, "%p", prefix)
	}
	return strings.NewReplacer(pairs...).Replace(s)
}

// environmentFile reads the form of EnvironmentFile= (systemd.exec(5)): one variable a
// line, shell-like quotes, no expansion. A line that is no assignment is passed over.
func environmentFile(data []byte) []assignment {
	f := envFile{text: string(data)}
	for f.at < len(f.text) {
		f.line()
	}
	return f.out
}

// An envFile is being read.
type envFile struct {
	text string
	at   int
	out  []assignment
}

// line reads one assignment with all its lines.
func (f *envFile) line() {
	for f.at < len(f.text) && strings.IndexByte(whiteSpace, f.text[f.at]) >= 0 {
		f.at++
	}
	if f.at == len(f.text) {
		return
	}
	rest := f.text[f.at:]
	end := strings.IndexAny(rest, "\n\r")
	if end < 0 {
		end = len(rest)
	}
	key, _, ok := strings.Cut(rest[:end], "=")
	if rest[0] == '#' || rest[0] == ';' || !ok {
		f.at += end
		return
	}
	f.at += len(key) + 1
	f.out = append(f.out, assignment{strings.TrimRight(key, whiteSpace), f.value()})
}

// value reads up to the end of the line on which the value ends.
func (f *envFile) value() string {
	var v strings.Builder
	kept := 0 // length of v without the white space that is at its end
	bare := false
	for ; f.at < len(f.text); f.at++ {
		c := f.text[f.at]
		switch {
		case c == '\n' || c == '\r':
			return v.String()[:kept]
		case c == '\\':
			// Outside of quotes it takes the meaning from whatever follows, and a line's
			// end away.
			bare = true
			if f.at++; f.at < len(f.text) && f.text[f.at] != '\n' && f.text[f.at] != '\r' {
				v.WriteByte(f.text[f.at])
			}
			kept = v.Len()
		case !bare && (c == '"' || c == '\''):
			f.at++
			f.quoted(&v, c)
			kept = v.Len()
		case strings.IndexByte(whiteSpace, c) >= 0:
			if bare {
				v.WriteByte(c)
			}
		default:
			bare = true // from here on quotes are like any other character
			v.WriteByte(c)
			kept = v.Len()
		}
	}
	return v.String()[:kept]
}

// quoted reads up to the closing quote, or to the end of the file.
func (f *envFile) quoted(v *strings.Builder, quote byte) {
	for ; f.at < len(f.text); f.at++ {
		c := f.text[f.at]
		switch {
		case c == quote:
			return
		case c == '\\' && quote == '"' && f.at+1 < len(f.text):
			f.at++
			switch next := f.text[f.at]; next {
			case '"', '\\', '`', '$':
				v.WriteByte(next)
			case '\n':
			default:
				v.WriteByte('\\')
				v.WriteByte(next)
			}
		default:
			v.WriteByte(c)
		}
	}
}
