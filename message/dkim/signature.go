package dkim

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"time"
)

const (
	crlf           = "\r\n"
	signatureField = "DKIM-Signature"
	foldAt         = 76           // columns of a line, as long as a word fits
	maxTime        = 999999999999 // t= and x= have at most 12 digits (RFC 6376 section 3.5)
)

// write returns the field up to and including "b=". That tag comes last and has no semicolon after it, so that what a verifier
// takes out of the field is everything behind it.
func (s *Signer) write(names []string, body [sha256.Size]byte, now time.Time) *foldWriter {
	w := &foldWriter{buf: make([]byte, 0, 1024)}
	w.word(signatureField + ":")
	w.tag("v=1;")
	w.tag("a=" + string(s.Key.Type()) + "-sha256;")
	w.tag("c=relaxed/relaxed;")
	w.tag("d=" + s.Domain + ";")
	w.tag("s=" + s.Selector + ";")
	w.tag("t=" + strconv.FormatInt(now.Unix(), 10) + ";")
	if s.Expiry > 0 {
		w.tag("x=" + strconv.FormatInt(now.Add(s.Expiry).Unix(), 10) + ";")
	}
	last := len(names) - 1
	w.tag("h=" + names[0] + ":") // From is oversigned: there is a second name
	for _, name := range names[1:last] {
		w.word(name + ":")
	}
	w.word(names[last] + ";")
	w.tag("bh=" + base64.StdEncoding.EncodeToString(body[:]) + ";")
	w.fold()
	w.word("b=")
	return w
}

// foldWriter writes one header field in lines of foldAt columns.
type foldWriter struct {
	buf []byte
	col int
}

// tag writes a word after a blank.
func (w *foldWriter) tag(text string) {
	if w.col+1+len(text) > foldAt {
		w.fold()
	} else {
		w.word(" ")
	}
	w.word(text)
}

// word writes text that may begin a new line but needs no blank before it.
func (w *foldWriter) word(text string) {
	if w.col > 1 && w.col+len(text) > foldAt {
		w.fold()
	}
	w.buf = append(w.buf, text...)
	w.col += len(text)
}

// split writes text that may be folded anywhere.
func (w *foldWriter) split(text string) {
	for len(text) > 0 {
		if w.col >= foldAt {
			w.fold()
		}
		n := min(len(text), foldAt-w.col)
		w.buf = append(w.buf, text[:n]...)
		w.col += n
		text = text[n:]
	}
}

func (w *foldWriter) fold() {
	w.buf = append(w.buf, "\r\n\t"...)
	w.col = 1
}
