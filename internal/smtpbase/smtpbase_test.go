package smtpbase_test

import (
	"context"
	"net"
	"net/smtp"
	"testing"

	"github.com/mailchute/mailchute/internal/smtpbase"
)

func TestRun_TakesAMessageAndStops(t *testing.T) {
	var listeners [2]net.Listener
	for i := range listeners {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = l
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- smtpbase.Run(ctx, listeners[0], listeners[1], nil) }()
	auth := smtp.PlainAuth("", "anyone", "anything", "127.0.0.1")
	err := smtp.SendMail(listeners[0].Addr().String(), auth, "a@example.org", []string{"b@example.org"}, []byte("Subject: x\r\n\r\ny\r\n"))
	if err != nil {
		t.Errorf("SendMail: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v, want nil after a stop", err)
	}
	if c, err := net.Dial("tcp", listeners[0].Addr().String()); err == nil {
		c.Close()
		t.Error("the listener is open after Run")
	}
}
