package message

import (
	"bytes"
	"encoding/binary"
)

// lineCheck follows the lines of a stream and finds the faults in them. It is the one place that knows what a fault is:
// on the wire for DotReader, in content for Canonical and DotWriter. The zero value stands at the start of the content.
type lineCheck struct {
	max int  // octets of text in a line, 0 = no limit
	n   int  // octets of text in the current line so far, a pending CR not counted
	cr  bool // the last octet was a CR, so far neither bare nor part of a CRLF
	dot bool // the current line is "." so far
	odd bool // the line before ended in a bare LF
}

// step takes one octet. After an error the state is meaningless. A bare LF is no error but leaves l.odd.
func (l *lineCheck) step(c byte) error {
	if l.cr && c != '\n' {
		return ErrBareCR
	}
	switch c {
	case 0:
		return ErrNUL
	case '\r':
		l.cr = true
		return nil
	case '\n':
		if l.dot && (l.odd || !l.cr) {
			return ErrLoneDot
		}
		*l = lineCheck{max: l.max, odd: !l.cr}
		return nil
	}
	l.n++
	l.dot = l.n == 1 && c == '.'
	if l.max > 0 && l.n > l.max {
		return ErrLineTooLong
	}
	return nil
}

// end takes the end of the content.
func (l *lineCheck) end() error {
	switch {
	case l.cr:
		return ErrBareCR
	case l.dot && l.odd:
		return ErrLoneDot
	}
	return nil
}

// atLineStart reports whether the content so far is empty or ends in a line end.
func (l *lineCheck) atLineStart() bool { return l.n == 0 && !l.cr }

// clean takes a whole block if there is nothing in it that step would object to and no bare LF, and reports whether it
// did. Otherwise it takes nothing, and the caller goes through the block with step. It makes one pass of vector code
// each for NUL, CR and LF, which is what makes the ordinary message fast.
func (l *lineCheck) clean(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if l.cr && b[0] != '\n' || bytes.IndexByte(b, 0) >= 0 {
		return false
	}
	start, pairs, text := 0, 0, l.n
	for {
		i := bytes.IndexByte(b[start:], '\n')
		if i < 0 {
			break
		}
		end := start + i
		if start == 0 && l.odd { // leave it to step whether this line is a lone dot
			return false
		}
		switch {
		case end == 0 && l.cr: // its CR came with the block before
		case end == 0 || b[end-1] != '\r':
			return false
		default:
			pairs++
			text += i - 1
		}
		if l.max > 0 && text > l.max {
			return false
		}
		start, text = end+1, 0
	}
	return l.cleanTail(b, start, pairs, text)
}

// cleanTail takes the last, unfinished line of the block and compares the CRs of the block with those that were paired.
func (l *lineCheck) cleanTail(b []byte, start, pairs, text int) bool {
	cr := b[len(b)-1] == '\r'
	text += len(b) - start
	if cr {
		pairs++
		text--
	}
	if bytes.Count(b, []byte{'\r'}) != pairs || l.max > 0 && text > l.max {
		return false
	}
	dot := text == 1
	if dot && start < len(b) && b[start] != '\r' {
		dot = b[start] == '.'
	} else if dot {
		dot = l.dot
	}
	*l = lineCheck{max: l.max, n: text, cr: cr, dot: dot, odd: l.odd && start == 0}
	return true
}

// hasHigh reports whether b has an octet above 127.
func hasHigh(b []byte) bool {
	const high = 0x8080808080808080
	for len(b) >= 32 {
		v := binary.LittleEndian.Uint64(b) | binary.LittleEndian.Uint64(b[8:]) |
			binary.LittleEndian.Uint64(b[16:]) | binary.LittleEndian.Uint64(b[24:])
		if v&high != 0 {
			return true
		}
		b = b[32:]
	}
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
