package compose

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// owned are fields that the other parts of a Letter, or the relay, write.
var owned = []string{
	"from", "to", "cc", "bcc", "resent-bcc", "subject", "mime-version", "content-type", "content-transfer-encoding",
	"content-disposition", "content-id", "received", "return-path", "dkim-signature",
}

// CheckField tells whether a field can stand in Letter.Fields. The text of the
// error is for the client and holds the name at most.
func CheckField(f Field) error {
	if f.Name == "" || len(f.Name) > 200 || strings.ContainsFunc(f.Name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) {
		return fmt.Errorf("a header name is empty, too long, or has characters other than printable ASCII")
	}
	for _, name := range owned {
		if strings.EqualFold(name, f.Name) {
			return fmt.Errorf("header '%s' cannot be set here", f.Name)
		}
	}
	switch {
	case strings.ContainsFunc(f.Value, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) || !utf8.ValidString(f.Value):
		return fmt.Errorf("the value of header '%s' has a control character", f.Name)
	case longestWord(f.Value) > maxWord-len(f.Name):
		return fmt.Errorf("the value of header '%s' has a word of more than %d octets", f.Name, maxWord-len(f.Name))
	}
	return nil
}
