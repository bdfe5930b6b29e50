package compose

import (
	"fmt"
	"io"
	"strings"

	gomessage "github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // bodies of other charsets than UTF-8 become UTF-8
)

// Content is what a person reads of a message.
type Content struct {
	Text, HTML  string   // the first of each kind
	Attachments []string // file names
}

// MaxText is how many octets of a body Content has at most.
const MaxText = 5 << 20

// Bounds of what is looked at. Every level of parts within parts has a buffer, and
// what is below it goes through that.
const (
	maxDepth = 20
	maxParts = 1000
)

// ReadContent reads a message. Parts that cannot be decoded are left out: what was
// accepted as opaque octets need not be well-formed MIME. So are those that are too
// deep, or behind too many others. An error is one of r.
func ReadContent(r io.Reader) (Content, error) {
	source := &watched{r: r}
	var w walker
	entity, err := gomessage.Read(source)
	if err == nil || undecodable(err) {
		w.walk(entity, 0)
	}
	if source.err != nil {
		return Content{}, fmt.Errorf("reading a message: %w", source.err)
	}
	return w.Content, nil
}

// undecodable tells whether an entity was read whose own octets cannot be.
func undecodable(err error) bool {
	return gomessage.IsUnknownCharset(err) || gomessage.IsUnknownEncoding(err)
}

// walker goes through the parts of a message.
type walker struct {
	Content
	parts int
}

func (w *walker) walk(e *gomessage.Entity, depth int) {
	list := e.MultipartReader()
	if list == nil {
		w.take(e)
		return
	}
	for ; depth < maxDepth && w.parts < maxParts; w.parts++ {
		part, err := list.NextPart()
		switch {
		case err == nil:
			w.walk(part, depth+1)
		case !undecodable(err):
			return // what could be read counts
		}
	}
}

func (c *Content) take(e *gomessage.Entity) {
	mediaType, params, _ := e.Header.ContentType()
	disposition, attached, _ := e.Header.ContentDisposition()
	name := attached["filename"]
	if name == "" {
		name = params["name"]
	}
	switch {
	case name != "" || strings.EqualFold(disposition, "attachment"):
		c.Attachments = append(c.Attachments, name)
	case mediaType == "text/html" && c.HTML == "":
		c.HTML = text(e.Body)
	case (mediaType == "text/plain" || mediaType == "") && c.Text == "":
		c.Text = text(e.Body)
	}
}

func text(r io.Reader) string {
	var b strings.Builder
	_, _ = io.Copy(&b, io.LimitReader(r, MaxText)) // what could be decoded counts
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

// watched keeps the error of the source apart from those of the MIME reader.
type watched struct {
	r   io.Reader
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}
