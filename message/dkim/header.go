package dkim

import (
	"bytes"
	"fmt"
)

// field is one header field.
type field struct {
	name  []byte // as it was written
	value []byte // what follows the colon, with its folds, without the last CRLF
}

// splitFields reads a header section: fields, each line ended with CRLF, and at most the blank line after them. It is as
// strict as the most wary verifier, because a field that two readers delimit differently would be signed for one of them.
func splitFields(header []byte) ([]field, error) {
	var fields []field
	for len(header) > 0 {
		n, err := fieldLen(header)
		if err != nil {
			return nil, err
		}
		if n == len(crlf) && len(header) == n {
			break
		}
		name, value, found := bytes.Cut(header[:n-len(crlf)], []byte{':'})
		name = bytes.TrimRight(name, " \t")
		if !found || !isFieldName(name) {
			return nil, fmt.Errorf("%w: field %d has no name", ErrHeader, len(fields)+1)
		}
		fields = append(fields, field{name: name, value: value})
		header = header[n:]
	}
	return fields, nil
}

// fieldLen returns the length of the first field with its continuation lines and last CRLF.
func fieldLen(header []byte) (int, error) {
	n := 0
	for {
		i := bytes.IndexByte(header[n:], '\n')
		if i < 1 || bytes.IndexByte(header[n:n+i], '\r') != i-1 {
			return 0, fmt.Errorf("%w: a line is not ended with CRLF alone", ErrHeader)
		}
		if bytes.IndexByte(header[n:n+i], 0) >= 0 {
			return 0, fmt.Errorf("%w: NUL", ErrHeader)
		}
		blank := i == 1
		n += i + 1
		if blank || n == len(header) || !isWSP(header[n]) {
			return n, nil
		}
	}
}

// isFieldName reports whether name is a field-name of RFC 5322 section 2.2.
func isFieldName(name []byte) bool {
	for _, c := range name {
		if c <= ' ' || c > '~' || c == ':' {
			return false
		}
	}
	return len(name) > 0
}

// appendRelaxed appends the field in relaxed canonical form (RFC 6376 section 3.4.2), without a CRLF.
func (f field) appendRelaxed(dst []byte) []byte {
	for _, c := range f.name {
		dst = append(dst, lower(c))
	}
	dst = append(dst, ':')
	blank, first := false, true
	for _, c := range f.value {
		if isWSP(c) || c == '\r' || c == '\n' {
			blank = true
			continue
		}
		if blank && !first {
			dst = append(dst, ' ')
		}
		dst = append(dst, c)
		blank, first = false, false
	}
	return dst
}

// is reports whether the field has that name, without case. Names beyond ASCII are never equal, unlike under Unicode case
// folding.
func (f field) is(name string) bool {
	if len(f.name) != len(name) {
		return false
	}
	for i, c := range f.name {
		if lower(c) != lower(name[i]) {
			return false
		}
	}
	return true
}

func isWSP(c byte) bool { return c == ' ' || c == '\t' }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
