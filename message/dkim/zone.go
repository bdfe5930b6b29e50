package dkim

import (
	"fmt"
	"strings"
)

// maxString is how many octets one string of a TXT record holds (RFC 1035 section 3.3.14).
const maxString = 255

// SplitTXT cuts the value of a TXT record into the strings that hold it. Their order matters and nothing stands between them
// (RFC 6376 section 3.6.2.2). There is always at least one.
func SplitTXT(record string) []string {
	var strs []string
	for len(record) > maxString {
		strs = append(strs, record[:maxString])
		record = record[maxString:]
	}
	return append(strs, record)
}

// ZoneTXT returns the line of a zone file, without a line end, for a TXT record of that value at name, which is taken as
// complete. Whatever the arguments contain, it is one line and one record.
func ZoneTXT(name, record string) string {
	var b strings.Builder
	for i := range len(strings.TrimSuffix(name, ".")) {
		if c := name[i]; isAlnum(c) || c == '.' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\%03d`, c)
		}
	}
	b.WriteString(". IN TXT")
	for _, s := range SplitTXT(record) {
		b.WriteString(` "`)
		for i := range len(s) {
			if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
				fmt.Fprintf(&b, `\%03d`, c)
			} else {
				b.WriteByte(c)
			}
		}
		b.WriteByte('"')
	}
	return b.String()
}
