package smtpd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// BenchmarkSubmit backs the claim that the wire costs less than go-smtp's own
// reading and writing saves: pipelined messages of 4 KiB on kept connections,
// against go-smtp with a backend that discards. One operation is one message.
func BenchmarkSubmit(b *testing.B) {
	servers := []struct {
		name  string
		start func(b *testing.B) string
	}{{"go-smtp", startStock}, {"wire", startWire}}
	for _, conns := range []int{1, 10, 50} {
		for _, s := range servers {
			b.Run(fmt.Sprintf("%s/conns=%d", s.name, conns), func(b *testing.B) { benchSubmit(b, s.start(b), conns) })
		}
	}
}

func benchSubmit(b *testing.B, addr string, conns int) {
	body := strings.Repeat(strings.Repeat("x", 62)+"\r\n", 64)
	msg := []byte("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n" + body + ".\r\n")
	clients := make([]net.Conn, conns)
	for i := range clients {
		clients[i] = benchLogin(b, addr)
		defer clients[i].Close()
	}
	work := make(chan struct{}, b.N)
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	errs := make(chan error, conns)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	b.ResetTimer()
	for _, c := range clients {
		go func() { errs <- benchClient(c, msg, work) }()
	}
	for range clients {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
}

func benchLogin(b *testing.B, addr string) net.Conn {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	br := bufio.NewReader(c)
	fmt.Fprintf(c, "EHLO x\r\nAUTH PLAIN %s\r\n", plainIR(testUser, testSecret))
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			b.Fatal(err)
		}
		if strings.HasPrefix(line, "235") {
			return c
		}
	}
}

// benchClient sends a message in one write and waits for its four replies.
func benchClient(c net.Conn, msg []byte, work <-chan struct{}) error {
	br := bufio.NewReader(c)
	for range work {
		if _, err := c.Write(msg); err != nil {
			return err
		}
		for _, code := range []string{"250", "250", "354", "250"} {
			line, err := br.ReadSlice('\n')
			if err != nil || string(line[:3]) != code {
				return fmt.Errorf("got %q, %v", line, err)
			}
		}
	}
	return nil
}

// discardIntake reads and forgets.
type discardIntake struct{}

func (discardIntake) CheckSender(auth.Principal, message.Address) error    { return nil }
func (discardIntake) CheckRecipient(auth.Principal, message.Address) error { return nil }
func (discardIntake) Submit(_ context.Context, _ intake.Envelope, content io.Reader) (store.ID, error) {
	_, err := io.Copy(io.Discard, content)
	return testID, err
}

func startWire(b *testing.B) string {
	opts := quick()
	opts.MaxMessages = -1
	r := &rig{t: b, auth: &fakeAuth{}, in: &fakeIntake{}}
	s, err := New(r.auth, discardIntake{}, opts)
	if err != nil {
		b.Fatal(err)
	}
	r.server = s
	l := listen(b)
	r.run(Listener{Listener: l})
	return l.Addr().String()
}

func startStock(b *testing.B) string {
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return stockSession{}, nil }))
	s.Domain, s.AllowInsecureAuth, s.EnableSMTPUTF8, s.EnableDSN = "mail.test", true, true, true
	l := listen(b)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	b.Cleanup(func() { s.Close(); <-done })
	return l.Addr().String()
}

type stockSession struct{}

func (stockSession) AuthMechanisms() []string { return mechanisms() }
func (stockSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, _, _ string) error { return nil }), nil
}
func (stockSession) Reset()                               {}
func (stockSession) Logout() error                        { return nil }
func (stockSession) Mail(string, *smtp.MailOptions) error { return nil }
func (stockSession) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (stockSession) Data(r io.Reader) error               { _, err := io.Copy(io.Discard, r); return err }
