package host

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// oneLine makes text that came from elsewhere safe to show in one line: runs of
// white space and control characters become one blank, so that nobody's answer
// moves the cursor of a console or adds a line to a protocol.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "?"), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || !unicode.IsPrint(r) && r != utf8.RuneError
	}), " ")
}

// clip shortens s to at most n runes and shows that it did with mark.
func clip(s string, n int, mark string) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	keep := []rune(s)[:max(0, n-utf8.RuneCountInString(mark))]
	return strings.TrimRight(string(keep), " ,;:") + mark
}

// ascii replaces what an ASCII console cannot show.
func ascii(s string) string {
	s = strings.NewReplacer(
		"…", "...", "–", "-", "—", "-", "−", "-", "→", "->", "←", "<-", "≥", ">=", "≤", "<=", "×", "x",
		"‘", "'", "’", "'", "“", `"`, "„", `"`, "”", `"`, "·", "-", "•", "*", "\u00a0", " ",
	).Replace(oneLine(s))
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// wrap breaks s between words into at most n lines of at most width bytes; what
// does not fit ends in "...". A word longer than a line is cut.
func wrap(s string, width, n int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		for {
			switch {
			case line == "" && len(word) <= width:
				line = word
			case line != "" && len(line)+1+len(word) <= width:
				line += " " + word
			case line != "":
				lines = append(lines, line)
				line = ""
				continue
			default:
				lines = append(lines, word[:width])
				word = word[width:]
				continue
			}
			break
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	if len(lines) > n {
		lines = lines[:n]
		last := lines[n-1]
		lines[n-1] = strings.TrimRight(last[:min(len(last), width-3)], " ,;:") + "..."
	}
	return lines
}

// clock prints a duration as 00:14:05.
func clock(d time.Duration) string {
	s := int(max(0, d) / time.Second)
	return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
}

// brief prints a duration with as many digits as a person reads: 0.07s, 3.2s, 14m5s.
func brief(d time.Duration) string {
	switch {
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.2fs", max(0, d).Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	default:
		return d.Round(time.Second).String()
	}
}
