package testmx

import (
	"io"
	"strconv"
	"strings"
)

// onChunk takes the only chunk of a message: what a refused one holds is read, too (RFC 3030 2).
func (c *session) onChunk(arg string) error {
	word, last, _ := strings.Cut(arg, " ")
	size, err := strconv.ParseInt(word, 10, 32)
	if err != nil || last != "LAST" {
		c.violation("BDAT " + arg)
		return c.send("501 5.5.4 what size?")
	}
	body, err := c.readChunk(int(size))
	if err != nil {
		return err
	}
	c.note("C", "(content)")
	m := c.mail
	c.mail = nil
	if m == nil || len(m.To) == 0 {
		return c.send("503 5.5.1 no recipients")
	}
	return c.answer(Dot, "", "250 2.0.0 taken", func() {
		m.Body = body
		c.s.update(func() { c.s.messages = append(c.s.messages, *m) })
	})
}

// readChunk plays the Body step where readBody does.
func (c *session) readChunk(size int) ([]byte, error) {
	body := make([]byte, size)
	for from := 0; from < size; from += 64 << 10 {
		if _, err := io.ReadFull(c.br, body[from:min(from+64<<10, size)]); err != nil {
			return nil, err
		}
		if err := c.bodyStep(); err != nil {
			return nil, err
		}
	}
	if strings.ContainsAny(strings.ReplaceAll(string(body), "\r\n", ""), "\r\n") {
		c.violation("content with a bare CR or LF")
	}
	return body, nil
}
