package smtpd

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/intake"
)

const aMessage = "From: a@example.org\r\nSubject: hello\r\n\r\n.dot\r\ntext\r\n"

// TestSubmission runs an ordinary session over each kind of connection.
func TestSubmission(t *testing.T) {
	const mail = `
		C: MAIL FROM:<a@example.org> SIZE=100 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B1
		S: 250 2.1.0 ok
		C: RCPT TO:<b@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;B+2Bx@example.net
		S: 250 2.1.5 ok
		C: RCPT TO:<"odd> SIZE=1"@example.net>
		S: 250 2.1.5 ok
		C: DATA
		S: 354 end data with <CR><LF>.<CR><LF>
		R: From: a@example.org\r\nSubject: hello\r\n\r\n..dot\r\ntext\r\n.\r\n
		S: 250 2.0.0 queued as 018f0000-0000-7000-8000-000000000001
		C: QUIT
		S: 221 2.0.0 bye
		S: CLOSED`
	tests := []struct {
		name, before, protocol string
		tls                    bool
	}{
		{"plain", "S: 220 mail.test ESMTP mailchute\nLOGIN", "UTF8SMTPA", false},
		{"starttls", "S: 220 …\nC: EHLO x\nS: 250 …\nC: STARTTLS\nS: 220 2.0.0 ready to start TLS\nTLS\nLOGIN", "UTF8SMTPSA", false},
		{"implicit", "S: 220 …\nLOGIN", "UTF8SMTPSA", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, quick())
			p := r.dial
			if test.tls {
				p = r.dialTLS
			}
			p().play(test.before + mail)
			r.wantQueued(aMessage)
			got := r.in.queued()[0].envelope
			want := intake.Envelope{
				Principal: auth.Principal{Kind: auth.KindServerToken, Token: 7, Server: 1},
				From:      "a@example.org",
				Recipients: []intake.Recipient{
					{Address: "b@example.net", Notify: "SUCCESS,FAILURE", ORcpt: "rfc822;B+x@example.net"},
					{Address: `"odd> SIZE=1"@example.net`},
				},
				UTF8: true, EightBit: true, Ret: "HDRS", EnvID: "QQ+1",
				Hello: "client.test", Protocol: test.protocol,
			}
			ignore := cmpopts.IgnoreFields(intake.Envelope{}, "Client", "TLS")
			if d := cmp.Diff(want, got, ignore); d != "" {
				t.Errorf("envelope (-want +got):\n%s", d)
			}
			if got.Client.String() != "127.0.0.1" || strings.HasPrefix(got.TLS, "TLS 1.3 TLS_") != strings.HasSuffix(test.protocol, "SA") {
				t.Errorf("client %v, TLS %q", got.Client, got.TLS)
			}
		})
	}
}

// TestEHLO pins what is offered where, in one reply.
func TestEHLO(t *testing.T) {
	const base = "250-mail.test\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n" +
		"250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n"
	noAuth := quick()
	noAuth.CleartextAuth = cleartextNowhere()
	noTLS := quick()
	noTLS.TLS = nil
	tests := []struct {
		name string
		opts Options
		tls  bool
		want string
	}{
		{"loopback", quick(), false, base + "250-DSN\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n"},
		{"no cleartext auth", noAuth, false, base + "250-DSN\r\n250 STARTTLS\r\n"},
		{"no cleartext auth, TLS", noAuth, true, base + "250-DSN\r\n250-REQUIRETLS\r\n250 AUTH PLAIN LOGIN\r\n"},
		{"no certificate", noTLS, false, base + "250-DSN\r\n250 AUTH PLAIN LOGIN\r\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, test.opts)
			p := r.dial
			if test.tls {
				p = r.dialTLS
			}
			c := p()
			c.play("S: 220 …\nC: EHLO x")
			got := make([]byte, len(test.want))
			if _, err := readFull(c, got); err != nil || string(got) != test.want {
				t.Fatalf("got %q %v\nwant %q", got, err, test.want)
			}
			c.play("C: HELO x\nS: 250 mail.test")
		})
	}
}

// TestReceiver: nobody logs in, a transaction has one recipient, and postmaster needs no domain.
func TestReceiver(t *testing.T) {
	const base = "250-mail.test\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n250 STARTTLS\r\n"
	r := newRig(t, quick(), func(r *rig) { r.receiving = true })
	c := r.dial()
	c.play("S: 220 …\nC: EHLO x")
	got := make([]byte, len(base))
	if _, err := readFull(c, got); err != nil || string(got) != base {
		t.Fatalf("got %q %v\nwant %q", got, err, base)
	}
	c.play(`C: AUTH PLAIN AHgAeA==
		S: 502 5.5.1 command not implemented
		C: MAIL FROM:<>
		S: 250 2.1.0 ok
		C: RCPT TO:<PostMaster>
		S: 250 2.1.5 ok
		C: RCPT TO:<b@example.net>
		S: 452 4.5.3 too many recipients
		C: DATA
		S: 354 …
		R: ` + strings.ReplaceAll(aMessage, "\r\n", `\r\n`) + `.\r\n
		S: 250 2.0.0 queued as …
		C: MAIL FROM:<a@example.org>
		S: 250 2.1.0 ok
		C: RCPT TO:<b@example.net>
		S: 250 2.1.5 ok
		C: RSET
		S: 250 2.0.0 reset
		C: STARTTLS
		S: 220 …
		TLS
		C: EHLO x
		S: 250 …
		C: AUTH LOGIN
		S: 502 5.5.1 command not implemented
		C: MAIL FROM:<>
		S: 250 2.1.0 ok`)
	e := r.in.queued()[0].envelope
	if e.From != "" || len(e.Recipients) != 1 || e.Recipients[0].Address != "postmaster@mail.test" || e.Principal != (auth.Principal{}) || e.Protocol != "ESMTP" {
		t.Errorf("envelope %+v", e)
	}
	if r.auth.asked.Load() != 0 {
		t.Error("somebody was asked for a password")
	}
}

// bigMessage is several megabytes of lines of all lengths, many with dots.
func bigMessage() string {
	var b strings.Builder
	b.WriteString("From: a@example.org\r\n\r\n")
	random := rand.New(rand.NewPCG(1, 2))
	for b.Len() < 4<<20 {
		b.WriteString(strings.Repeat(".", random.IntN(3)) + long(random.IntN(900)) + "\r\n")
	}
	return b.String()
}

// TestLargeMessage: what comes out of DATA and of BDAT is what went in, over
// many buffers and TLS records.
func TestLargeMessage(t *testing.T) {
	want := bigMessage()
	stuffed := strings.ReplaceAll(want, "\r\n.", "\r\n..")
	for _, way := range []string{"DATA", "BDAT"} {
		t.Run(way, func(t *testing.T) {
			r := newRig(t, quick())
			p := r.dialTLS()
			p.play("S: 220 …\nLOGIN\nMAIL")
			if way == "DATA" {
				p.play("C: DATA\nS: 354 …")
				p.send(stuffed + ".\r\n")
			} else {
				for rest := want; rest != ""; {
					n := min(len(rest), 70001)
					p.send(fmt.Sprintf("BDAT %d\r\n%s", n, rest[:n]))
					p.want("250 2.0.0 chunk taken")
					rest = rest[n:]
				}
				p.send("BDAT 0 LAST\r\n")
			}
			p.play("S: 250 2.0.0 queued as …\nC: QUIT\nS: 221 …\nS: CLOSED")
			if got := r.in.queued(); len(got) != 1 || got[0].body != want {
				t.Errorf("%d messages, not the one that was sent", len(got))
			}
		})
	}
}

// TestManyClients: sessions side by side, each with pipelined messages, while
// others hang up in the middle.
func TestManyClients(t *testing.T) {
	const clients, each = 16, 20
	r := newRig(t, quick())
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			p := r.dial()
			ok := p.reply() != "" && login(p)
			for range each {
				io.WriteString(p.conn, "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"+fmt.Sprintf("From: %d\r\n\r\nx\r\n.\r\n", i))
				for _, code := range []string{"250", "250", "354", "250"} {
					ok = ok && strings.HasPrefix(p.reply(), code)
				}
			}
			if !ok {
				t.Errorf("client %d: unexpected reply", i)
			}
		})
		wg.Go(func() {
			p := r.dial()
			p.reply()
			login(p)
			io.WriteString(p.conn, "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\nhalf")
			p.conn.Close()
		})
	}
	wg.Wait()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if got := len(r.in.queued()); got != clients*each {
		t.Errorf("%d messages queued, want %d", got, clients*each)
	}
}

func login(p *peer) bool {
	io.WriteString(p.conn, "EHLO x\r\nAUTH PLAIN "+plainIR(testUser, testSecret)+"\r\n")
	return strings.HasPrefix(p.reply(), "250") && strings.HasPrefix(p.reply(), "235")
}
