package testmx

import (
	"strings"
)

func (c *session) onData() error {
	normal := "354 go on"
	if c.mail == nil || len(c.mail.To) == 0 {
		normal = "554 5.5.1 no recipients"
	}
	agreed := false
	if err := c.answer(Data, "", normal, func() { agreed = true }); err != nil || !agreed {
		return err
	}
	body, err := c.readBody()
	if err != nil {
		return err
	}
	m := c.mail
	c.mail = nil
	return c.answer(Dot, "", "250 2.0.0 taken", func() {
		if m == nil || len(m.To) == 0 {
			return
		}
		m.Body = body
		c.s.update(func() { c.s.messages = append(c.s.messages, *m) })
	})
}

// readBody reads up to CRLF.CRLF and unstuffs the dots. The Body step is played when the first line has come, and again
// every 64 KiB.
func (c *session) readBody() ([]byte, error) {
	var body []byte
	next := 0
	for {
		line, err := c.br.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		if !strings.HasSuffix(string(line), "\r\n") || strings.Contains(string(line[:len(line)-2]), "\r") {
			c.violation("content with a bare CR or LF")
		}
		if string(line) == ".\r\n" {
			c.note("C", "(content, dot)")
			return body, nil
		}
		if line[0] == '.' {
			line = line[1:]
		}
		body = append(body, line...)
		if len(body) > next {
			next = len(body) + 64<<10
			if err := c.bodyStep(); err != nil {
				return nil, err
			}
		}
	}
}

func (c *session) bodyStep() error {
	step := c.s.step(Body, "")
	if step.Stall {
		if err := c.stallReading(); err != nil {
			return err
		}
	}
	if step.Raw != "" {
		if err := c.write(step.Raw, step.Drip); err != nil {
			return err
		}
	}
	if step.Reply != "" {
		if err := c.sendSlowly(step.Reply, step.Drip); err != nil {
			return err
		}
	}
	if step.Drop {
		return errGone
	}
	return nil
}

// stallReading leaves the window to fill up.
func (c *session) stallReading() error {
	c.s.update(func() { c.s.stalled[Body]++ })
	defer c.s.update(func() { c.s.stalled[Body]-- })
	select {
	case <-c.s.released:
		return nil
	case <-c.s.closed:
		return errGone
	}
}
