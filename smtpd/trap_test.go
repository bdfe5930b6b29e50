package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mailchute/mailchute/message"
)

// commandsAsBody is what a web form could get somebody to send as text.
const commandsAsBody = `RSET\r\nMAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nFrom: evil@example.org\r\n\r\nevil\r\n.\r\n`

// TestTrap_DataTimeoutIsNotCommands: go-smtp answers a read timeout inside DATA
// with 554 and reads the rest of the body as commands (upstream issue 196).
func TestTrap_DataTimeoutIsNotCommands(t *testing.T) {
	opts := quick()
	opts.RateWindow = 50 * time.Millisecond
	r := newRig(t, opts)
	r.dial().play("S: 220 …\nLOGIN\nMAIL\n" + data + `R: From: a@example.org\r\n\r\nbegin
		S: 421 4.4.2 transfer too slow, closing connection
		R: \r\n` + commandsAsBody + `
		S: CLOSED`)
	r.wantQueued()
	if r.in.submissions() != 1 {
		t.Errorf("%d submissions began, want the one that was cut", r.in.submissions())
	}
}

// TestTrap_SteadyUploadIsNotCut: go-smtp sets one deadline for all of DATA, which
// cuts a steady upload that takes longer.
func TestTrap_SteadyUploadIsNotCut(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		const lines = 30 * 60 // one a second: far longer than Idle and RateWindow
		line := strings.Repeat("x", 598) + "\r\n"
		p.play("S: 220 …\nLOGIN\nMAIL\n" + data)
		for range lines {
			time.Sleep(time.Second)
			p.send(line)
		}
		p.play("C: .\nS: 250 2.0.0 queued as …\nC: QUIT\nS: 221 …\nS: CLOSED")
		r.wantQueued(strings.Repeat(line, lines))
	})
}

// TestTrap_LostConnectionInData: an end of the connection is no end of data, nor
// is what has come of a command line a command.
func TestTrap_LostConnectionInData(t *testing.T) {
	r := newRig(t, quick())
	r.dial().play("S: 220 …\nLOGIN\nMAIL\n" + data + "R: From: a@example.org\\r\\n\\r\\nx\\r\\n.\\r\nEOF\nS: 421 4.4.2 …\nS: CLOSED")
	r.dial().play("S: 220 …\nLOGIN\nMAIL\nR: RSET\nEOF\nS: CLOSED")
	r.wantQueued()
}

// TestTrap_HalfBdatChunkQueuesNothing: go-smtp delivers the torn message when the
// connection ends inside the last chunk.
func TestTrap_HalfBdatChunkQueuesNothing(t *testing.T) {
	tests := map[string]string{
		"inside the last chunk": `R: BDAT 100 LAST\r\nFrom: a@example.org\r\n\r\nhalf`,
		"inside a chunk":        `R: BDAT 100\r\nFrom: a@example.org\r\n\r\nhalf`,
		"between chunks":        "R: BDAT 4\\r\\nhalf\nS: 250 2.0.0 chunk taken",
		"before the last chunk": "R: BDAT 4\\r\\nhalf\nS: 250 2.0.0 chunk taken\nR: BDAT 100 LAST\\r",
	}
	for name, script := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, quick())
			p := r.dial()
			p.play("S: 220 …\nLOGIN\nMAIL\n" + script + "\nEOF")
			if got := p.reply(); got != "CLOSED" && !strings.HasPrefix(got, "421 4.4.2 ") {
				t.Errorf("got %s", got)
			}
			r.wantQueued()
			if !errors.Is(r.in.readErr, errTransfer) {
				t.Errorf("intake read %v, want %v", r.in.readErr, errTransfer)
			}
		})
	}
}

// TestTrap_ChunksAreOneMessage: what may stand between chunks, and what ends the
// message.
func TestTrap_ChunksAreOneMessage(t *testing.T) {
	const first = "LOGIN\nMAIL\nR: BDAT 25\\r\\nFrom: a@example.org\\r\\n\\r\\nab\nS: 250 2.0.0 chunk taken\n"
	tests := []struct {
		name, script string
		queued       []string
	}{
		{"whole", first + "C: NOOP\nS: 250 2.0.0 ok\nR: BDAT 2 last\\r\\nc\\n\nS: 250 2.0.0 queued as …\n" + alive, []string{"From: a@example.org\r\n\r\nabc\r\n"}},
		{"empty last", first + "C: BDAT 0 LAST\nS: 250 2.0.0 queued as …\n" + alive, []string{"From: a@example.org\r\n\r\nab\r\n"}},
		{"pipelined", "LOGIN\nMAIL\nR: BDAT 2\\r\\nabBDAT 0\\r\\nBDAT 1 LAST\\r\\ncNOOP\\r\\n\nS: 250 2.0.0 chunk …\nS: 250 2.0.0 chunk …\nS: 250 2.0.0 queued …\nS: 250 2.0.0 ok",
			[]string{"abc\r\n"}},
		{"dots are text", "LOGIN\nMAIL\nR: BDAT 8 LAST\\r\\na\\r\\n..b\\r\\n\nS: 250 2.0.0 queued …", []string{"a\r\n..b\r\n"}},
		{"RSET", first + "C: RSET\nS: 250 2.0.0 reset\nR: BDAT 6 LAST\\r\\nQUIT\\r\\n\nS: 503 5.5.1 …\n" + alive, nil},
		{"QUIT", first + "C: QUIT\nS: 221 …\nS: CLOSED", nil},
		{"EHLO", first + "C: EHLO again\nS: 250 …\nMAIL\n" + data + okMail, []string{"From: a@example.org\r\n\r\nx\r\n"}},
		{"MAIL", first + "C: MAIL FROM:<evil@example.org>\nS: 503 5.5.1 …\nC: RCPT TO:<v@example.net>\nS: 503 5.5.1 …\n" + alive, nil},
		{"DATA", first + "C: DATA\nS: 503 5.5.1 …\nR: BDAT 6 LAST\\r\\nRSET\\r\\n\nS: 503 5.5.1 …\n" + alive, nil},
		{"STARTTLS", first + "C: STARTTLS\nS: 503 5.5.1 …\n" + alive, nil},
		{"unknown", first + "C: FROB\nS: 500 5.5.2 …\nC: BDAT 0 LAST\nS: 250 2.0.0 queued …", []string{"From: a@example.org\r\n\r\nab\r\n"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, quick())
			r.dial().play("S: 220 …\n" + test.script)
			r.wantQueued(test.queued...)
		})
	}
}

// TestTrap_RefusedChunkIsSwallowed: go-smtp before 0.25.1 read the octets of a
// refused chunk as commands; a malformed BDAT leaves octets that nobody can
// count.
func TestTrap_RefusedChunkIsSwallowed(t *testing.T) {
	early := func(r *rig) { r.in.early = errors.New("disk on fire") }
	const evil = `MAIL FROM:<x@example.org>\r\n`
	tests := []struct {
		name, script string
		tweak        func(*rig)
	}{
		{"no transaction", "LOGIN\nR: BDAT 27\\r\\n" + evil + "NOOP\\r\\n\nS: 503 5.5.1 …\nS: 250 2.0.0 ok", nil},
		{"not logged in", "C: EHLO x\nS: 250 …\nR: BDAT 27 LAST\\r\\n" + evil + "NOOP\\r\\n\nS: 503 5.5.1 …\nS: 250 2.0.0 ok", nil},
		{"refused by intake", "LOGIN\nMAIL\nR: BDAT 27\\r\\n" + evil + "BDAT 27 LAST\\r\\n" + evil + "NOOP\\r\\n\nS: 451 4.3.0 …\nS: 503 5.5.1 …\nS: 250 2.0.0 ok", early},
		{"malformed size", "LOGIN\nMAIL\nR: BDAT -27\\r\\n" + evil + "\nS: 501 5.5.4 …\nS: CLOSED", nil},
		{"size over 64 bits", "LOGIN\nMAIL\nR: BDAT 99999999999999999999\\r\\n" + evil + "\nS: 501 5.5.4 …\nS: CLOSED", nil},
		{"malformed second size", "LOGIN\nMAIL\nR: BDAT 1\\r\\nxBDAT 1 FIRST\\r\\n" + evil + "\nS: 250 2.0.0 chunk …\nS: 501 5.5.4 …\nS: CLOSED", nil},
		{"bare LF", "LOGIN\nMAIL\nR: BDAT 27\\n" + evil + "\nS: 500 5.5.2 …\nS: 501 5.5.4 …\nS: CLOSED", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, quick())
			if test.tweak != nil {
				test.tweak(r)
			}
			r.dial().play("S: 220 …\n" + test.script)
			r.wantQueued()
		})
	}
}

// TestTrap_WrappedErrorIsTemporary: go-smtp does not unwrap; it answered 554 with
// the whole text of a wrapped error, a path among it, and lost the mail.
func TestTrap_WrappedErrorIsTemporary(t *testing.T) {
	inner := &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "never"}
	for _, err := range []error{fmt.Errorf("writing /var/lib/mailchute: %w", inner), inner, errors.New("open /etc/secret"), context.DeadlineExceeded} {
		r := newRig(t, quick())
		r.in.err = err
		r.dial().play("S: 220 …\nLOGIN\nMAIL\n" + data + "C: .\nS: 451 4.3.0 temporary fault, try again later\n" + alive)
		r.wantQueued()
	}
}

// TestTrap_NestedMail: go-smtp takes a second MAIL, which replaces the sender and
// keeps the recipients.
func TestTrap_NestedMail(t *testing.T) {
	r := newRig(t, quick())
	r.dial().play("S: 220 …\nLOGIN\nMAIL\nC: MAIL FROM:<evil@example.org>\nS: 503 5.5.1 …\n" + data + okMail +
		"C: MAIL FROM:<c@example.org>\nS: 250 …\nC: DATA\nS: 503 5.5.1 …")
	r.wantQueued("From: a@example.org\r\n\r\nx\r\n")
	if e := r.in.queued()[0].envelope; e.From != "a@example.org" || len(e.Recipients) != 1 {
		t.Errorf("envelope %+v", e)
	}
}

// TestTrap_FailedStartTLSCloses: go-smtp goes on in plaintext after a failed
// handshake, and executes what was sent behind STARTTLS.
func TestTrap_FailedStartTLSCloses(t *testing.T) {
	r := newRig(t, quick())
	p := r.dial()
	p.play("S: 220 …\nC: EHLO x\nS: 250 …\nC: STARTTLS\nS: 220 …\nC: AUTH PLAIN " + plainIR(testUser, testSecret) + "\nC: NOOP")
	wantNothingButEOF(t, p.conn)
	if r.auth.asked.Load() != 0 {
		t.Error("a command behind STARTTLS has been executed")
	}
}

// TestTrap_StartTLSForgets: nothing of the plaintext session survives, and
// nothing sent before the handshake.
func TestTrap_StartTLSForgets(t *testing.T) {
	r := newRig(t, quick())
	r.dial().play("S: 220 …\nC: EHLO x\nS: 250 …\nC: STARTTLS\nS: 220 …\nTLS\nC: AUTH PLAIN " + plainIR(testUser, testSecret) +
		"\nS: 503 5.5.1 send EHLO first\nC: MAIL FROM:<a@example.org>\nS: 503 5.5.1 …\nC: EHLO x\nS: 250 …\nC: MAIL FROM:<a@example.org>\nS: 530 5.7.0 …")
	r.dial().play("S: 220 …\nC: EHLO x\nS: 250 …\nC: STARTTLSxyz\nS: 500 5.5.2 …\n" + alive)
}

// TestTrap_UnlimitedAuthFailures: go-smtp serves any number of failures.
func TestTrap_UnlimitedAuthFailures(t *testing.T) {
	r := newRig(t, quick())
	wrong := "AUTH PLAIN " + plainIR("a", "b") + "\\r\\n"
	r.dial().play("S: 220 …\nC: EHLO x\nS: 250 …\nR: " + strings.Repeat(wrong, 30) + "\nS: 535 5.7.8 …\nS: 535 5.7.8 …\nS: 421 4.7.0 …\nS: CLOSED")
	if n := r.auth.asked.Load(); n != 3 {
		t.Errorf("verifier asked %d times", n)
	}
}

// TestTrap_MailWithoutAuth: go-smtp leaves it to its user, with 502.
func TestTrap_MailWithoutAuth(t *testing.T) {
	r := newRig(t, quick())
	r.dial().play("S: 220 …\nC: EHLO x\nS: 250 …\nR: MAIL FROM:<a@example.org>\\r\\nRCPT TO:<b@example.net>\\r\\nDATA\\r\\n" +
		"\nS: 530 5.7.0 …\nS: 503 5.5.1 …\nS: 503 5.5.1 …\n" + alive)
	r.wantQueued()
}

// TestTrap_RevokedAtNextMail: a credential that has been revoked works no more on
// open connections.
func TestTrap_RevokedAtNextMail(t *testing.T) {
	r := newRig(t, quick())
	p := r.dial()
	p.play("S: 220 …\nLOGIN\nMAIL\n" + data + okMail)
	r.auth.revoked.Store(true)
	p.play("C: MAIL FROM:<a@example.org>\nS: 535 5.7.8 …\nS: CLOSED")
	r.wantQueued("From: a@example.org\r\n\r\nx\r\n")
}

// TestTrap_CRCRLFDot: go-smtp's reader misses the terminator behind CR CR LF and
// waits for its timeout.
func TestTrap_CRCRLFDot(t *testing.T) {
	r := newRig(t, quick())
	r.dial().play("S: 220 …\nLOGIN\nMAIL\n" + data + "R: x\\r\\r\\n.\\r\\n\nS: 550 5.5.2 …\nS: CLOSED")
	r.wantQueued()
}

// TestTrap_LostDotCR: go-smtp drops both octets of a dot and a CR at the start of
// a line; here intake gets to see all, and the message is refused.
func TestTrap_LostDotCR(t *testing.T) {
	r := newRig(t, quick())
	r.dial().play("S: 220 …\nLOGIN\nMAIL\n" + data + "R: x\\r\\n.\\rX\\r\\n.\\r\\n\nS: 550 5.5.2 …\nS: CLOSED")
	r.wantQueued()
	if !errors.Is(r.in.readErr, message.ErrSmuggling) {
		t.Errorf("intake read %v", r.in.readErr)
	}
}

// TestTrap_MalformedAuthIsPermanent: go-smtp answers bad base64 and PLAIN of a
// wrong shape with 454, which clients repeat for ever.
func TestTrap_MalformedAuthIsPermanent(t *testing.T) {
	r := newRig(t, quick())
	r.dial().play("S: 220 …\nC: EHLO x\nS: 250 …\nC: AUTH PLAIN !\nS: 501 5.5.2 …\nC: AUTH LOGIN\nS: 334 …\nC: !\nS: 501 5.5.2 …\n" +
		"C: AUTH PLAIN YQ==\nS: 501 5.5.2 …\nC: AUTH LOGIN\nS: 334 …\nC: dXNlcg==\nS: 334 …\nC: *\nS: 501 5.0.0 …\nLOGIN")
}

// TestTrap_ShutdownClosesIdle: go-smtp's Shutdown waits for idle clients, and
// serves them meanwhile. A running transfer may finish.
func TestTrap_ShutdownClosesIdle(t *testing.T) {
	r := newRig(t, quick())
	r.in.entered = make(chan struct{}, 1)
	idle, busy, handshake := r.dial(), r.dial(), r.dial()
	idle.play("S: 220 …\nLOGIN")
	busy.play("S: 220 …\nLOGIN\nMAIL\n" + data)
	handshake.play("S: 220 …\nC: EHLO x\nS: 250 …\nC: STARTTLS\nS: 220 …")
	<-r.in.entered
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	idle.play("S: 421 4.3.2 …\nS: CLOSED")
	wantNothingButEOF(t, handshake.conn)
	if c, err := net.Dial("tcp", r.plain); err == nil {
		c.Close()
		t.Error("still accepting")
	}
	busy.play("R: From: a@example.org\\r\\n\\r\\nx\\r\\n.\\r\\nMAIL FROM:<c@example.org>\\r\\n\nS: 250 2.0.0 queued as …\nS: 421 4.3.2 …\nS: CLOSED")
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	r.wantQueued("From: a@example.org\r\n\r\nx\r\n")
}

// TestTrap_GraceEnds: a transfer that never ends does not keep the server.
func TestTrap_GraceEnds(t *testing.T) {
	opts := quick()
	opts.Grace = 50 * time.Millisecond
	r := newRig(t, opts)
	r.in.entered = make(chan struct{}, 2)
	r.in.hold = make(chan struct{})
	upload, stuck := r.dial(), r.dial()
	upload.play("S: 220 …\nLOGIN\nMAIL\n" + data + "R: never")
	stuck.play("S: 220 …\nLOGIN\nMAIL\n" + data + "R: x\\r\\n.\\r\\n")
	<-r.in.entered
	<-r.in.entered
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	upload.play("S: 421 4.3.2 …\nS: CLOSED")
	stuck.play("S: 421 4.3.2 …\nS: CLOSED")
	r.wantQueued()
}

// TestTrap_ServeAfterShutdown: go-smtp greets after Shutdown; a server whose
// context has ended must not accept.
func TestTrap_ServeAfterShutdown(t *testing.T) {
	s, err := New(&fakeAuth{}, &fakeIntake{}, quick())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l := listen(t)
	if err := s.Run(ctx, Listener{Listener: l}); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("still accepting")
	}
}

// TestTrap_EarlyReturn: intake that refuses before it has read does not leave the
// body to be read as commands.
func TestTrap_EarlyReturn(t *testing.T) {
	r := newRig(t, quick())
	r.in.early = errors.New("disk on fire")
	r.dial().play("S: 220 …\nLOGIN\nMAIL\n" + data + "R: text\\r\\n" + commandsAsBody + "NOOP\\r\\n\nS: 451 4.3.0 …\nS: 250 2.0.0 ok")
	r.wantQueued()
}

// TestTrap_LongBodyLine: go-smtp applies its limit for command lines to the body.
func TestTrap_LongBodyLine(t *testing.T) {
	r := newRig(t, quick())
	r.in.discard = true
	r.dial().play("S: 220 …\nLOGIN\nMAIL\n" + data + "C: " + long(100000) + "\nC: .\nS: 250 2.0.0 …\n" + alive)
}

// TestTrap_SecretsStayOutOfTheLog: not even a password sent blindly behind a
// refused AUTH, where it looks like an unknown command.
func TestTrap_SecretsStayOutOfTheLog(t *testing.T) {
	opts := quick()
	opts.CleartextAuth = cleartextNowhere()
	r := newRig(t, opts)
	ir := plainIR(testUser, testSecret)
	r.dial().play("S: 220 …\nC: EHLO x\nS: 250 …\nC: AUTH PLAIN\nS: 538 …\nC: " + ir + "\nS: 500 5.5.2 …\nC: AUTH PLAIN " + ir + "\nS: 538 …\nC: " + ir[:6] + "\nS: 500 …")
	r.dialTLS().play("S: 220 …\nC: EHLO x\nS: 250 …\nC: AUTH PLAIN\nS: 334 …\nC: " + ir + "=\nS: 501 …\nC: " + ir + "\nS: 500 …\nLOGIN\nC: BOGUS\nS: 500 …")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	log := r.log.String()
	for _, secret := range []string{testSecret, ir, ir[:6], "correct"} {
		if strings.Contains(strings.ToUpper(log), strings.ToUpper(secret)) {
			t.Errorf("log contains %q:\n%s", secret, log)
		}
	}
	if !strings.Contains(log, "BOGUS") {
		t.Errorf("an unknown command after login is not in the log:\n%s", log)
	}
}

// TestTLSVersion: nothing below TLS 1.2, on either port.
func TestTLSVersion(t *testing.T) {
	r := newRig(t, quick())
	c, err := tls.Dial("tcp", r.implicit, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err == nil {
		c.Close()
		t.Error("TLS 1.1 accepted")
	}
}

// TestPipelinedRepliesLeaveTogether: RFC 2920 3.2, and fewer packets.
func TestPipelinedRepliesLeaveTogether(t *testing.T) {
	r := newRig(t, quick())
	p := r.dial()
	p.play("S: 220 …\nLOGIN\nR: MAIL FROM:<a@example.org>\\r\\nRCPT TO:<b@example.net>\\r\\nDATA\\r\\n")
	want := string(replySenderOK) + "\r\n" + string(replyRecipientOK) + "\r\n" + string(replyGoAhead) + "\r\n"
	b := make([]byte, 1024)
	_ = p.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, err := io.ReadAtLeast(p.conn, b, 1)
	if err != nil || string(b[:n]) != want {
		t.Errorf("one read gave %q, %v; want %q", b[:n], err, want)
	}
}

// TestManyChunks: the limit of commands is not one of chunks.
func TestManyChunks(t *testing.T) {
	opts := quick()
	opts.MaxCommands = 20
	r := newRig(t, opts)
	p := r.dial()
	p.play("S: 220 …\nLOGIN\nMAIL")
	p.send(strings.Repeat("BDAT 3\r\na\r\n", 100) + "BDAT 0 LAST\r\n")
	p.play(strings.Repeat("S: 250 2.0.0 chunk …\n", 100) + "S: 250 2.0.0 queued …\n")
	p.play("MAIL\nR: " + strings.Repeat("BDAT 0\\r\\n", 30) + "\n" + strings.Repeat("S: 250 2.0.0 chunk …\n", 18) + "S: 421 4.7.0 …\nS: CLOSED")
	r.wantQueued(strings.Repeat("a\r\n", 100))
}
