package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"regexp"
	"strings"
	"sync"
	"time"
)

// sink is the mail host at the end of every route. What it answers depends on
// the recipient: nobody… does not exist, later… is put off until the sink is
// told to be patient no more. It writes everything down in the ledger before
// its 250 leaves. Every second connection offers CHUNKING.
type sink struct {
	listener net.Listener
	ledger   *ledger
	work     sync.WaitGroup

	mu      sync.Mutex
	lenient bool // guarded by mu, as is what follows
	conns   map[net.Conn]bool
	taken   int // connections so far
}

func openSink(l *ledger) (*sink, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{listener: listener, ledger: l, conns: map[net.Conn]bool{}}
	s.work.Go(s.accept)
	return s, nil
}

// relent makes the sink take what it has put off so far.
func (s *sink) relent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lenient = true
}

func (s *sink) close() {
	_ = s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.work.Wait()
}

func (s *sink) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		s.taken++
		chunking := s.taken%2 == 0
		s.mu.Unlock()
		s.work.Go(func() {
			_ = s.talk(c, chunking) // a relay that was killed leaves broken connections
			_ = c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

// session is one connection.
type session struct {
	*sink
	r    *bufio.Reader
	w    *bufio.Writer
	from string
	to   []string

	chunking bool // BDAT is offered
}

func (s *sink) talk(c net.Conn, chunking bool) error {
	e := &session{sink: s, chunking: chunking, r: bufio.NewReaderSize(c, 64<<10), w: bufio.NewWriter(c)}
	e.say("220 sink.example ESMTP")
	for {
		if e.r.Buffered() == 0 {
			if err := e.w.Flush(); err != nil {
				return err
			}
		}
		line, err := e.r.ReadString('\n')
		if err != nil {
			return err
		}
		if done, err := e.command(strings.TrimSpace(line)); done || err != nil {
			return errors.Join(err, e.w.Flush())
		}
	}
}

func (e *session) say(reply string) { _, _ = e.w.WriteString(reply + "\r\n") } // Flush has the error

func (e *session) command(line string) (done bool, err error) {
	switch verb, arg, _ := strings.Cut(line, " "); strings.ToUpper(verb) {
	case "EHLO":
		e.say("250-sink.example\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES")
		if e.chunking {
			e.say("250-CHUNKING")
		}
		e.say("250 8BITMIME")
	case "MAIL":
		e.from, e.to = pathOf(arg), nil
		e.say("250 2.1.0 ok")
	case "RCPT":
		e.recipient(pathOf(arg))
	case "DATA":
		return false, e.data()
	case "BDAT":
		return false, e.chunk(arg)
	case "RSET":
		e.from, e.to = "", nil
		e.say("250 2.0.0 ok")
	case "QUIT":
		e.say("221 2.0.0 bye")
		return true, nil
	default:
		e.say("250 2.0.0 ok")
	}
	return false, nil
}

// pathOf is the address in FROM:<…> or TO:<…>.
func pathOf(arg string) string {
	_, path, _ := strings.Cut(arg, "<")
	path, _, _ = strings.Cut(path, ">")
	return path
}

func (e *session) recipient(address string) {
	e.mu.Lock()
	lenient := e.lenient
	e.mu.Unlock()
	switch {
	case strings.HasPrefix(address, "nobody"):
		e.say("550 5.1.1 there is no such mailbox")
	case strings.HasPrefix(address, "later") && !lenient:
		e.say("450 4.2.1 not now")
	default:
		e.to = append(e.to, address)
		e.say("250 2.1.5 ok")
	}
}

func (e *session) data() error {
	if len(e.to) == 0 {
		e.say("554 5.5.1 no valid recipients")
		return nil
	}
	e.say("354 go on")
	if err := e.w.Flush(); err != nil {
		return err
	}
	content, err := io.ReadAll(textproto.NewReader(e.r).DotReader())
	if err != nil {
		return err // without its final dot it was never here
	}
	e.take(content)
	return nil
}

// chunk reads the only chunk of a message.
func (e *session) chunk(arg string) error {
	var size int64
	if _, err := fmt.Sscanf(arg, "%d LAST", &size); err != nil {
		return fmt.Errorf("BDAT %s: %w", arg, err)
	}
	content := make([]byte, size)
	if _, err := io.ReadFull(e.r, content); err != nil {
		return err
	}
	if len(e.to) == 0 {
		e.say("554 5.5.1 no valid recipients")
		return nil
	}
	e.take(bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n")))
	return nil
}

// take writes a message down, with LF, and says so.
func (e *session) take(content []byte) {
	for _, to := range e.to {
		e.ledger.arrived(e.from, to, idIn(content), bodySum(content))
	}
	e.say("250 2.0.0 taken")
}

// The trace that the relay adds names the message; what it writes itself is
// named by its Message-ID.
var (
	traceID   = regexp.MustCompile(`(?s)^Received: [^;]*\sid ([0-9a-f-]{36})`)
	messageID = regexp.MustCompile(`(?mi)^Message-ID: <([0-9a-f-]{36})`)
)

func idIn(content []byte) string {
	head := content[:min(len(content), 4<<10)]
	for _, pattern := range []*regexp.Regexp{traceID, messageID} {
		if m := pattern.FindSubmatch(head); m != nil {
			return string(m[1])
		}
	}
	return ""
}

// bodySum hashes what is behind the header. DotReader has made LF of CRLF.
func bodySum(content []byte) [sha256.Size]byte {
	_, body, _ := bytes.Cut(content, []byte("\n\n"))
	return sha256.Sum256(body)
}

// quiet waits until the connections of a process that is dead have been read to
// their end, so that what they brought counts as of its life.
func (s *sink) quiet() error {
	return await(10*time.Second, "the end of the connections of a dead relay", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.conns) == 0
	})
}

// await polls for what another process does.
func await(limit time.Duration, what string, done func() bool) error {
	for end := time.Now().Add(limit); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("waited %v in vain for %s", limit, what)
		}
	}
	return nil
}
