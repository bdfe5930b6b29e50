package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/mailchute/mailchute/message"
)

// demoMX is the receiving end of the demo: a mail host on loopback that
// greylists mailboxes beginning with "grey", knows nobody called "nobody", and
// keeps what it takes. It speaks just enough SMTP for one well-behaved client.
type demoMX struct {
	listener net.Listener
	conns    sync.WaitGroup

	mu      sync.Mutex // guards the rest
	seen    map[string]bool
	letters []letter
}

// letter is a message that arrived.
type letter struct {
	from string
	to   []string
	body []byte
}

func listenMX() (*demoMX, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &demoMX{listener: l, seen: map[string]bool{}}, nil
}

// Run receives until ctx ends.
func (m *demoMX) Run(ctx context.Context) error {
	defer m.conns.Wait()
	defer context.AfterFunc(ctx, func() { _ = m.listener.Close() })()
	for {
		c, err := m.listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("demo mail host: %w", err)
		}
		m.conns.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			_ = m.talk(c) // the sender notices, and that is what the demo shows
		})
	}
}

// received returns what has arrived so far.
func (m *demoMX) received() []letter {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]letter(nil), m.letters...)
}

func (m *demoMX) talk(c net.Conn) error {
	r := bufio.NewReader(c)
	var now letter
	say := func(line string) error { _, err := io.WriteString(c, line+"\r\n"); return err }
	err := say("220 mx.example.org demo mail host")
	for err == nil {
		var line string
		if line, err = r.ReadString('\n'); err != nil {
			return err
		}
		verb, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		switch strings.ToUpper(verb) {
		case "EHLO", "HELO":
			err = say("250-mx.example.org\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SMTPUTF8")
		case "MAIL":
			now = letter{from: pathIn(rest)}
			err = say("250 2.1.0 sender ok")
		case "RCPT":
			answer, ok := m.recipient(pathIn(rest))
			if ok {
				now.to = append(now.to, pathIn(rest))
			}
			err = say(answer)
		case "DATA":
			err = m.data(r, say, now)
		case "RSET", "NOOP":
			now = letter{}
			err = say("250 2.0.0 ok")
		case "QUIT":
			return say("221 2.0.0 bye")
		default:
			err = say("502 5.5.1 not in the demo")
		}
	}
	return err
}

func (m *demoMX) recipient(address string) (answer string, ok bool) {
	switch local, _, _ := strings.Cut(address, "@"); {
	case local == "nobody":
		return "550 5.1.1 no such mailbox here", false
	case strings.HasPrefix(local, "grey"):
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.seen[address] {
			m.seen[address] = true
			return "451 4.7.1 greylisted, come back later", false
		}
	}
	return "250 2.1.5 recipient ok", true
}

func (m *demoMX) data(r *bufio.Reader, say func(string) error, now letter) error {
	if len(now.to) == 0 {
		return say("554 5.5.1 no valid recipients")
	}
	if err := say("354 go on"); err != nil {
		return err
	}
	dots := message.NewDotReader(r)
	body, err := io.ReadAll(dots)
	if err = errors.Join(err, dots.Fault()); err != nil {
		return err
	}
	now.body = body
	m.mu.Lock()
	m.letters = append(m.letters, now)
	m.mu.Unlock()
	return say("250 2.0.0 taken")
}

// pathIn returns the address between the angle brackets.
func pathIn(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}
