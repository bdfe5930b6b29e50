package message

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what is repeated of a remote's own words.
const (
	maxRemoteLines = 20
	maxRemoteLine  = 500 // octets
)

// cleanLines makes lines of s that can stand in a message: no control characters, none that turn the direction of the
// text around, valid UTF-8, no empty line, bounded in number and length.
func cleanLines(s string) []string {
	var lines []string
	for line := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if line = cleanLine(line); line == "" {
			continue
		}
		if len(lines) == maxRemoteLines {
			return append(lines, "[...]")
		}
		lines = append(lines, line)
	}
	return lines
}

// cleanLine makes one line of s, its runs of white space and control characters made one blank.
func cleanLine(s string) string {
	words := strings.FieldsFunc(strings.ToValidUTF8(s, "?"), func(r rune) bool {
		return unicode.IsControl(r) || unicode.IsSpace(r)
	})
	s = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Bidi_Control, r) || r == '\uFEFF' {
			return -1
		}
		return r
	}, strings.Join(words, " "))
	return cut(strings.TrimSpace(s), maxRemoteLine)
}

// cut shortens s to at most n octets without cutting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// toASCII replaces every other character by a question mark.
func toASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf {
			return r
		}
		return '?'
	}, s)
}
