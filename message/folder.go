package message

// foldAt is the column that lines should not pass (RFC 5322 2.1.1).
const foldAt = 78

// folder writes one field word by word and begins a new line where the next word would pass foldAt. A word that is
// longer than a line stays whole.
type folder struct {
	buf  []byte
	line int // octets in the current line
}

// add writes a word of parts, which must be printable ASCII or UTF-8 and may contain blanks, at which it is never folded.
func (f *folder) add(parts ...string) {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	switch {
	case len(f.buf) == 0:
	case f.line+len(" ")+size >= foldAt: // one column is kept for the end of the clause
		f.buf = append(f.buf, "\r\n\t"...)
		f.line = len("\t")
	default:
		f.buf = append(f.buf, ' ')
		f.line++
	}
	for _, p := range parts {
		f.end(p)
	}
}

// end writes s right behind the last word.
func (f *folder) end(s string) {
	f.buf = append(f.buf, s...)
	f.line += len(s)
}

// bytes returns the field with its CRLF.
func (f *folder) bytes() []byte { return append(f.buf, "\r\n"...) }
