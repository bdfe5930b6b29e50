package main

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// submission attempts of the demo, over real sockets, written out command by
// command so that the reply that ends each one can be shown.

// attempt is one try to submit a message.
type attempt struct {
	what               string // for the reader
	address            string
	tls                string // "", tlsStart or tlsImplicit
	username, password string // no AUTH where username is empty
	from               string
	to                 []string
	size               int      // of the SIZE parameter, 0 for none
	header             []string // besides From, To, Subject
	text               string   // of the body, as it goes over the wire
	want               string   // how the last reply begins
}

// reply is the answer that ended an attempt: the one to the final dot, or the
// first refusal.
type reply struct {
	command string
	text    string // code and text
}

func (a attempt) content() string {
	lines := append([]string{"From: Demo <" + a.from + ">", "To: " + strings.Join(a.to, ", "), "Subject: " + a.what}, a.header...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + a.text
}

const demoTimeout = 20 * time.Second

// submit speaks the whole session. Its error is for broken connections; a
// refusal is a reply.
func (a attempt) submit() (reply, error) {
	c, err := net.DialTimeout("tcp", a.address, demoTimeout)
	if err != nil {
		return reply{}, err
	}
	defer func() { c.Close() }()
	_ = c.SetDeadline(time.Now().Add(demoTimeout))
	if a.tls == tlsImplicit {
		c = tls.Client(c, demoTLS())
	}
	s := &demoSession{conn: c}
	s.use(c)
	s.expect("connect", 220)
	s.command("EHLO", "EHLO demo.example", 250)
	if a.tls == tlsStart {
		s.startTLS()
	}
	if a.username != "" {
		s.command("AUTH", "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+a.username+"\x00"+a.password)), 235)
	}
	mail := "MAIL FROM:<" + a.from + ">"
	if a.size > 0 {
		mail += " SIZE=" + strconv.Itoa(a.size)
	}
	s.command("MAIL", mail, 250)
	for _, to := range a.to {
		s.command("RCPT", "RCPT TO:<"+to+">", 250)
	}
	s.command("DATA", "DATA", 354)
	s.command("final dot", strings.TrimSuffix(a.content(), "\r\n")+"\r\n.", 0)
	return s.last, s.err
}

// demoTLS does not verify: the demo's certificate was made a second ago.
func demoTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
}

// demoSession stops by itself at the first reply that is not the one hoped for.
type demoSession struct {
	conn net.Conn
	text *textproto.Reader
	last reply
	done bool
	err  error
}

func (s *demoSession) use(c net.Conn) {
	s.conn, s.text = c, textproto.NewReader(bufio.NewReader(c))
}

func (s *demoSession) command(name, line string, want int) {
	if s.done {
		return
	}
	if _, err := io.WriteString(s.conn, line+"\r\n"); err != nil {
		s.done, s.err = true, fmt.Errorf("%s: %w", name, err)
		return
	}
	s.expect(name, want)
}

func (s *demoSession) expect(name string, want int) {
	code, text, err := s.text.ReadResponse(0)
	if err != nil && code == 0 {
		s.done, s.err = true, fmt.Errorf("%s: %w", name, err)
		return
	}
	first, _, _ := strings.Cut(text, "\n")
	s.last = reply{name, fmt.Sprintf("%d %s", code, first)}
	s.done = code != want
}

func (s *demoSession) startTLS() {
	s.command("STARTTLS", "STARTTLS", 220)
	if s.done {
		return
	}
	s.use(tls.Client(s.conn, demoTLS()))
	s.command("EHLO", "EHLO demo.example", 250)
}
