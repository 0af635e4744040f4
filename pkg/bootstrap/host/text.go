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
	return beginning(s, n-utf8.RuneCountInString(mark)) + mark
}

// beginning is at most n runes of s, up to the end of a word when one ends near.
func beginning(s string, n int) string {
	runes := []rune(s)
	kept := string(runes[:min(len(runes), max(0, n))])
	if len(kept) < len(s) && s[len(kept)] != ' ' {
		if i := strings.LastIndexByte(kept, ' '); i > 0 && len(kept)-i < 20 {
			kept = kept[:i]
		}
	}
	return strings.TrimRight(kept, " ,;:")
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
// does not fit ends in "...". A word longer than a line, a host name say, is cut
// behind one of its separators.
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
				end := strings.LastIndexAny(word[:width], "./-,=") + 1
				if end < width/2 {
					end = width
				}
				lines = append(lines, word[:end])
				word = word[end:]
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
		lines[n-1] = beginning(lines[n-1], width-3) + "..."
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
