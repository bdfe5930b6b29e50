//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"
)

// session opens an authenticated session in plaintext on loopback.
func (r *relay) session(user, pass string) (*smtp.Client, error) {
	conn, err := net.DialTimeout("tcp", r.plain, 5*time.Second)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		conn.Close()
		return nil, err
	}
	if err := c.Auth(smtp.PlainAuth("", user, pass, "localhost")); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// submit sends one message and returns the text of the final reply.
func submit(c *smtp.Client, from, to, content string) (string, error) {
	for _, step := range []struct {
		code int
		line string
	}{{250, "MAIL FROM:<" + from + ">"}, {250, "RCPT TO:<" + to + ">"}, {354, "DATA"}} {
		if _, err := command(c.Text, step.code, step.line); err != nil {
			return "", err
		}
	}
	w := c.Text.DotWriter()
	fmt.Fprint(w, content)
	if err := w.Close(); err != nil {
		return "", err
	}
	_, text, err := c.Text.ReadResponse(250)
	return text, err
}

func command(c *textproto.Conn, code int, line string) (string, error) {
	id, err := c.Cmd("%s", line)
	if err != nil {
		return "", err
	}
	c.StartResponse(id)
	defer c.EndResponse(id)
	_, text, err := c.ReadResponse(code)
	return text, err
}

func refused(err error, code int, text string) bool {
	var reply *textproto.Error
	return errors.As(err, &reply) && reply.Code == code && strings.HasPrefix(reply.Msg, text)
}

func TestStreams_HeaderChoosesAndTokenConfines(t *testing.T) {
	rcv := newReceiver(t)
	r := newRelay(t, rcv.address)
	r.run("stream", "pause", "broadcast")
	c, err := r.session(r.serverToken, r.serverToken)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text, err := submit(c, "a@sender.example", "b@dest.example", "X-PM-Message-Stream: broadcast\n"+letter("to-broadcast"))
	if err != nil || !strings.HasPrefix(text, "2.0.0 queued as ") {
		t.Fatalf("reply %q, error %v", text, err)
	}
	id := strings.TrimPrefix(text, "2.0.0 queued as ")
	var record struct {
		Message struct{ Stream string } `json:"message"`
	}
	if err := json.Unmarshal(r.run("message", "show", id, "--json"), &record); err != nil || record.Message.Stream != "broadcast" {
		t.Errorf("message is in stream %q, error %v; want broadcast", record.Message.Stream, err)
	}
	if got := string(r.run("queue", "list", "--stream", "broadcast")); !strings.Contains(got, id) {
		t.Errorf("queue list of broadcast lacks %s:\n%s", id, got)
	}
	pair, err := r.session(r.accessKey, r.secret)
	if err != nil {
		t.Fatal(err)
	}
	defer pair.Close()
	if _, err := submit(pair, "a@sender.example", "b@dest.example", "X-PM-Message-Stream: broadcast\n"+letter("astray")); !refused(err, 550, "5.7.1 ") {
		t.Errorf("SMTP token of outbound named broadcast: %v; want 550 5.7.1", err)
	}
	r.run("stream", "resume", "broadcast")
	if !until(10*time.Second, func() bool { return len(rcv.about("to-broadcast")) == 1 }) {
		t.Error("message was not delivered after resume")
	}
}

func TestRevokedToken_LosesItsOpenConnection(t *testing.T) {
	r := newRelay(t, newReceiver(t).address)
	made := r.made("token", "server", "create", "--name", "short-lived")
	c, err := r.session(made["token"], made["token"])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := submit(c, "a@sender.example", "b@dest.example", letter("before")); err != nil {
		t.Fatal(err)
	}
	r.run("token", "server", "revoke", made["id"])
	if text, err := command(c.Text, 535, "MAIL FROM:<a@sender.example>"); err != nil {
		t.Errorf("MAIL after revocation: %q, %v; want 535", text, err)
	}
}

// TestKill_LosesNothingAcknowledged kills the process while clients send and
// while it delivers, restarts it, and compares what was acknowledged with what
// arrived.
func TestKill_LosesNothingAcknowledged(t *testing.T) {
	rcv := newReceiver(t)
	r := newRelay(t, rcv.address)
	var acknowledged []string
	for round := range 5 {
		acknowledged = append(acknowledged, loadUntilKilled(t, r, round)...)
		r.start()
	}
	if len(acknowledged) < 100 {
		t.Fatalf("only %d messages were acknowledged in all rounds", len(acknowledged))
	}
	lost, twice := 0, 0
	for _, mark := range acknowledged {
		if !until(30*time.Second, func() bool { return len(rcv.about(mark)) > 0 }) {
			lost++
		}
		if len(rcv.about(mark)) > 1 {
			twice++
		}
	}
	t.Logf("acknowledged %d, lost %d, delivered twice %d", len(acknowledged), lost, twice)
	if lost > 0 {
		t.Errorf("%d of %d acknowledged messages were lost", lost, len(acknowledged))
	}
}

// loadUntilKilled returns the marks of the messages that got their 250.
func loadUntilKilled(t *testing.T, r *relay, round int) []string {
	t.Helper()
	var mu sync.Mutex
	var marks []string
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			c, err := r.session(r.serverToken, r.serverToken)
			if err != nil {
				return
			}
			defer c.Close()
			for n := 0; ; n++ {
				mark := fmt.Sprintf("<kill-%d-%d-%d@sender.example>", round, worker, n)
				if _, err := submit(c, "a@sender.example", "b@dest.example", strings.ReplaceAll(letter("k"), "<k@sender.example>", mark)); err != nil {
					return
				}
				mu.Lock()
				marks = append(marks, mark)
				mu.Unlock()
			}
		})
	}
	until(10*time.Second, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(marks) >= 100+37*round
	})
	r.kill()
	wg.Wait()
	return marks
}
