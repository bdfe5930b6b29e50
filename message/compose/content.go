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

// ReadContent reads a message to its end. Parts that cannot be decoded are left
// out: what was accepted as opaque octets need not be well-formed MIME. An error
// is one of r.
func ReadContent(r io.Reader) (Content, error) {
	source := &watched{r: r}
	var c Content
	entity, err := gomessage.Read(source)
	if err == nil || gomessage.IsUnknownCharset(err) || gomessage.IsUnknownEncoding(err) {
		_ = entity.Walk(c.take) // what could be read counts
	}
	if source.err != nil {
		return Content{}, fmt.Errorf("reading a message: %w", source.err)
	}
	return c, nil
}

func (c *Content) take(_ []int, e *gomessage.Entity, err error) error {
	if err != nil || e == nil || e.MultipartReader() != nil {
		return nil
	}
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
	return nil
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
