package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
)

// load submits letters over SMTP and HTTP until the relay is gone.
type load struct {
	ledger *ledger
	smtp   string // address
	api    string
	token  string
	work   sync.WaitGroup
}

// Clients of the load. Each has at most one message in flight.
const (
	smtpClients = 6
	httpClients = 2
)

// start begins to submit; work ends when the relay dies or ctx ends.
func (l *load) start(ctx context.Context) {
	for range smtpClients {
		l.work.Go(func() { _ = l.overSMTP(ctx) }) // it ends with the relay, always in an error
	}
	for range httpClients {
		l.work.Go(func() { _ = l.overHTTP(ctx) })
	}
}

// dialogue is an SMTP client that knows what it will be answered.
type dialogue struct {
	r *bufio.Reader
	w *bufio.Writer
}

func (l *load) overSMTP(ctx context.Context) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", l.smtp)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	s := &dialogue{bufio.NewReader(c), bufio.NewWriter(c)}
	login := base64.StdEncoding.EncodeToString([]byte("\x00" + l.token + "\x00" + l.token))
	if _, err := s.ask("220", ""); err != nil {
		return err
	}
	if _, err := s.ask("250", "EHLO client.example\r\n"); err != nil {
		return err
	}
	if _, err := s.ask("235", "AUTH PLAIN "+login+"\r\n"); err != nil {
		return err
	}
	for {
		if err := l.pace(ctx); err != nil {
			return err
		}
		if err := l.submit(s); err != nil {
			return err
		}
	}
}

// pace waits while the way out is far behind.
func (l *load) pace(ctx context.Context) error {
	for l.ledger.behind() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

var queuedAs = regexp.MustCompile(`^250 2\.0\.0 queued as ([0-9a-f-]{36})$`)

// submit sends a letter whose answer was lost, or else a new one, and notes the
// promise once the whole line of the reply has come.
func (l *load) submit(s *dialogue) error {
	if again := l.ledger.repeat(false); again != nil {
		return l.send(s, again[0])
	}
	return l.send(s, l.ledger.take(false))
}

// send submits a letter. Where the answer does not come it will be sent again.
func (l *load) send(s *dialogue, letter letter) (err error) {
	defer func() {
		if err != nil && !errors.Is(err, errReply) {
			l.ledger.lost(false, letter)
		}
	}()
	if _, err := s.w.WriteString("MAIL FROM:<" + letter.from() + ">\r\nRCPT TO:<" + letter.to() + ">\r\n"); err != nil {
		return err
	}
	if _, err := s.ask("250", "DATA\r\n"); err != nil {
		return err
	}
	for _, code := range []string{"250", "354"} {
		if _, err := s.ask(code, ""); err != nil {
			return err
		}
	}
	reply, err := s.ask("250", letter.data())
	if err != nil {
		return err
	}
	m := queuedAs.FindStringSubmatch(reply)
	if m == nil {
		return fmt.Errorf("reply %q has no message ID", reply)
	}
	l.ledger.promised(letter.n, m[1], false)
	return nil
}

// ask sends text and returns the last line of the reply.
func (s *dialogue) ask(code, text string) (string, error) {
	if _, err := s.w.WriteString(text); err != nil {
		return "", err
	}
	if err := s.w.Flush(); err != nil {
		return "", err
	}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if !strings.HasPrefix(line, code) {
			return "", fmt.Errorf("%w: %q instead of %s", errReply, line, code)
		}
		if len(line) > 3 && line[3] == ' ' {
			return strings.TrimSpace(line), nil
		}
	}
}

var errReply = errors.New("the relay refuses")

// overHTTP sends single messages and batches in turns.
func (l *load) overHTTP(ctx context.Context) error {
	client := &http.Client{Transport: &http.Transport{}, Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	for batch := false; ; batch = !batch {
		if err := l.pace(ctx); err != nil {
			return err
		}
		letters := l.ledger.repeat(true)
		if letters == nil {
			letters = l.fresh(batch)
		}
		if err := l.post(ctx, client, len(letters) > 1, letters); err != nil {
			if !errors.Is(err, errReply) {
				l.ledger.lost(true, letters...)
			}
			return err
		}
	}
}

func (l *load) fresh(batch bool) []letter {
	letters := []letter{l.ledger.take(true)}
	for batch && len(letters) < 4 {
		letters = append(letters, l.ledger.take(true))
	}
	return letters
}

// answer is what the API says of one message.
type answer struct {
	ErrorCode int
	Message   string
	MessageID string
}

func (l *load) post(ctx context.Context, client *http.Client, batch bool, letters []letter) error {
	mails := make([]map[string]string, len(letters))
	for i, letter := range letters {
		mails[i] = map[string]string{"From": letter.from(), "To": letter.to(), "Subject": fmt.Sprint(letter.n), "TextBody": letter.body}
	}
	url, body := "http://"+l.api+"/email", any(mails[0])
	if batch {
		url, body = url+"/batch", mails
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("X-Postmark-Server-Token", l.token)
	req.Header.Set("Idempotency-Key", fmt.Sprintf("request-%d", letters[0].n))
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	return l.note(letters, batch, res.StatusCode, said)
}

// note writes down what the API has taken.
func (l *load) note(letters []letter, batch bool, code int, said []byte) error {
	var answers []answer
	if !batch {
		said = append(append([]byte{'['}, said...), ']')
	}
	if err := json.Unmarshal(said, &answers); err != nil || code != http.StatusOK || len(answers) != len(letters) {
		return fmt.Errorf("%w: %d %s", errReply, code, said)
	}
	for i, a := range answers {
		if a.ErrorCode == 0 {
			l.ledger.promised(letters[i].n, a.MessageID, true)
		}
	}
	return nil
}
