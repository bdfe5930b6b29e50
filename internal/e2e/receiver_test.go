//go:build e2e

package e2e

import (
	"io"
	"log"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// receiver is a real SMTP server, written on a library and not on our own
// reader, that keeps what it accepts.
type receiver struct {
	address string
	mu      sync.Mutex
	mails   []mail          // guarded by mu
	gone    map[string]bool // addresses that are refused for good; guarded by mu
}

type mail struct {
	from string
	to   []string
	data string
}

func newReceiver(t testing.TB) *receiver {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{address: l.Addr().String()}
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &delivery{r: r}, nil }))
	s.Domain, s.EnableSMTPUTF8, s.EnableDSN = "receiver.example", true, true
	s.ErrorLog = log.New(io.Discard, "", 0) // a sender that is killed resets its connections
	s.ReadTimeout, s.WriteTimeout = time.Minute, time.Minute
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done })
	return r
}

type delivery struct {
	r *receiver
	m mail
}

func (d *delivery) Reset()        { d.m = mail{} }
func (d *delivery) Logout() error { return nil }

func (d *delivery) Mail(from string, _ *smtp.MailOptions) error {
	d.m = mail{from: from}
	return nil
}

func (d *delivery) Rcpt(to string, _ *smtp.RcptOptions) error {
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	if d.r.gone[to] {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user here"}
	}
	d.m.to = append(d.m.to, to)
	return nil
}

func (d *delivery) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	d.m.data = string(data)
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	d.r.mails = append(d.r.mails, d.m)
	return nil
}

// setGone says whether an address is refused from now on.
func (r *receiver) setGone(address string, gone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = map[string]bool{address: gone}
}

// about returns the mails whose octets contain the mark.
func (r *receiver) about(mark string) []mail {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []mail
	for _, m := range r.mails {
		if strings.Contains(m.data, mark) {
			out = append(out, m)
		}
	}
	return out
}
