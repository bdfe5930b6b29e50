package message

import (
	"bufio"
	"bytes"
	"mime"
	"net/textproto"
	"strings"
)

// Bounds of what FileNames keeps: a message can have any number of parts.
const (
	maxFileNames  = 100
	maxBoundaries = 50
	maxBoundary   = 70 // characters (RFC 2046 5.1.1)
	maxPartHeader = 8 << 10
)

// FileNames finds the names of attachments while the body of a message is written to it. It looks at the headers of parts
// alone, at any depth but not into attached messages, and decodes no content.
type FileNames struct {
	boundaries map[string]bool
	names      []string
	line       []byte // of the line that comes, where it can matter
	within     bool   // the rest of a line of content is to come
	inHeader   bool
	head       []byte // of the part whose header comes
}

// NewFileNames returns nil, which has no names, where the header tells of no parts.
func NewFileNames(h *Header) *FileNames {
	const kind = "multipart/"
	value := h.Get("Content-Type")
	if len(value) < len(kind) || !strings.EqualFold(value[:len(kind)], kind) { // most messages
		return nil
	}
	mediaType, params, _ := mime.ParseMediaType(value)
	n := &FileNames{boundaries: map[string]bool{}}
	if n.multipart(mediaType, params); len(n.boundaries) == 0 {
		return nil
	}
	return n
}

// Names are the names found so far, in order.
func (n *FileNames) Names() []string {
	if n == nil {
		return nil
	}
	return n.names
}

// Write implements io.Writer. It has no error.
func (n *FileNames) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		rest = n.step(rest)
	}
	return len(p), nil
}

// step goes over content up to a line that may be a delimiter, or takes a line that matters.
func (n *FileNames) step(p []byte) (rest []byte) {
	if !n.inHeader && len(n.line) == 0 && (n.within || p[0] != '-') {
		i := bytes.Index(p, []byte("\n-"))
		if n.within = i < 0 && p[len(p)-1] != '\n'; i < 0 {
			return nil
		}
		return p[i+1:]
	}
	end := bytes.IndexByte(p, '\n') + 1
	if end == 0 {
		n.keep(p)
		return nil
	}
	n.keep(p[:end])
	n.endLine()
	return p[end:]
}

func (n *FileNames) keep(p []byte) {
	n.line = append(n.line, p[:min(len(p), maxPartHeader-len(n.line))]...)
}

func (n *FileNames) endLine() {
	line := bytes.TrimRight(n.line, " \t\r\n")
	delimiter, opens := n.delimiter(line)
	switch {
	case delimiter:
		n.endHeader()
		n.inHeader = opens
	case n.inHeader && len(line) == 0:
		n.endHeader()
	case n.inHeader && len(n.head)+len(line)+2 <= maxPartHeader:
		n.head = append(append(n.head, line...), '\r', '\n')
	}
	n.line = n.line[:0]
}

// delimiter tells whether a line separates parts, and whether one begins behind it (RFC 2046 5.1.1).
func (n *FileNames) delimiter(line []byte) (is, opens bool) {
	text, dashes := bytes.CutPrefix(line, []byte("--"))
	if !dashes {
		return false, false
	}
	if n.boundaries[string(text)] {
		return true, true
	}
	text, dashes = bytes.CutSuffix(text, []byte("--"))
	return dashes && n.boundaries[string(text)], false
}

func (n *FileNames) endHeader() {
	if len(n.head) > 0 {
		r := bufio.NewReaderSize(bytes.NewReader(append(n.head, '\r', '\n')), 512)
		h, _ := textproto.NewReader(r).ReadMIMEHeader() // what could be read counts
		n.part(h)
	}
	n.head, n.inHeader = n.head[:0], false
}

func (n *FileNames) part(h textproto.MIMEHeader) {
	mediaType, params, _ := mime.ParseMediaType(h.Get("Content-Type"))
	disposition, attached, _ := mime.ParseMediaType(h.Get("Content-Disposition"))
	name := attached["filename"]
	if name == "" {
		name = params["name"]
	}
	switch {
	case strings.HasPrefix(mediaType, "multipart/"):
		n.multipart(mediaType, params)
	case len(n.names) < maxFileNames && (name != "" || disposition == "attachment"):
		n.names = append(n.names, decodedWords(name))
	}
}

func (n *FileNames) multipart(mediaType string, params map[string]string) {
	b := params["boundary"]
	if strings.HasPrefix(mediaType, "multipart/") && b != "" && len(b) <= maxBoundary && len(n.boundaries) < maxBoundaries {
		n.boundaries[b] = true
	}
}

// decodedWords decodes encoded words, which RFC 2047 5 forbids in parameters and programs write there all the same.
func decodedWords(s string) string {
	if d, err := wordDecoder().DecodeHeader(s); err == nil {
		return d
	}
	return s
}
