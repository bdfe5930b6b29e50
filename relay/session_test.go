package relay_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
)

// commands returns what the client said on a connection.
func commands(mx *testmx.Server, conn int) (out []string) {
	for _, l := range mx.Transcript(conn) {
		if c, ok := strings.CutPrefix(l, "C: "); ok {
			out = append(out, c)
		}
	}
	return out
}

func TestTranscript(t *testing.T) {
	for _, c := range []struct {
		name   string
		script testmx.Script
		job    func(*relay.Job)
		want   []string
	}{
		{name: "all extensions", want: []string{
			"EHLO relay.test", "STARTTLS", "EHLO relay.test",
			"MAIL FROM:<a@sender.test> SIZE=72 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb+20c",
			"RCPT TO:<b@example.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x+2By@example.test",
			`RCPT TO:<c@example.test> NOTIFY=NEVER ORCPT=utf-8;\x{F8}@example.test`,
			"DATA", "(content, dot)",
		}},
		{name: "no extensions but those needed", script: testmx.Script{TLS: testmx.NoTLS, Lack: []string{"PIPELINING", "SIZE", "DSN"}}, want: []string{
			"EHLO relay.test", "MAIL FROM:<a@sender.test> BODY=8BITMIME SMTPUTF8", "RCPT TO:<b@example.test>", "RCPT TO:<c@example.test>", "DATA", "(content, dot)",
		}},
		{name: "HELO", script: testmx.Script{NoEHLO: true, TLS: testmx.NoTLS, Lack: everything},
			job:  func(j *relay.Job) { j.Message.UTF8, j.Message.EightBit = false, false },
			want: []string{"EHLO relay.test", "HELO relay.test", "MAIL FROM:<a@sender.test>", "RCPT TO:<b@example.test>", "RCPT TO:<c@example.test>", "DATA", "(content, dot)"}},
		{name: "354 with nobody accepted gets a lone dot", script: testmx.Script{TLS: testmx.NoTLS, Steps: steps{testmx.Rcpt: {reply("550 no")}, testmx.Data: {reply("354 go")}}},
			job:  func(j *relay.Job) { *j = job() },
			want: []string{"EHLO relay.test", "MAIL FROM:<a@sender.test> SIZE=72", "RCPT TO:<b@example.test>", "DATA", "(content, dot)"}},
		{name: "one chunk, after the recipients are known", script: testmx.Script{TLS: testmx.NoTLS, Chunking: true}, job: func(j *relay.Job) { *j = job() }, want: []string{
			"EHLO relay.test", "MAIL FROM:<a@sender.test> SIZE=72", "RCPT TO:<b@example.test>", "BDAT 72 LAST", "(content)",
		}},
		{name: "no chunk for nobody", script: testmx.Script{TLS: testmx.NoTLS, Chunking: true, Steps: steps{testmx.Rcpt: {reply("550 no")}}},
			job:  func(j *relay.Job) { *j = job() },
			want: []string{"EHLO relay.test", "MAIL FROM:<a@sender.test> SIZE=72", "RCPT TO:<b@example.test>"}},
		{name: "no chunk of unknown size", script: testmx.Script{TLS: testmx.NoTLS, Chunking: true}, job: func(j *relay.Job) { *j = job(); j.Message.Size = 0 }, want: []string{
			"EHLO relay.test", "MAIL FROM:<a@sender.test>", "RCPT TO:<b@example.test>", "DATA", "(content, dot)",
		}},
		{name: "null sender", script: testmx.Script{TLS: testmx.NoTLS},
			job:  func(j *relay.Job) { *j = job(); j.Message.From = "" },
			want: []string{"EHLO relay.test", "MAIL FROM:<> SIZE=72", "RCPT TO:<b@example.test>", "DATA", "(content, dot)"}},
		{name: "nothing in an address or parameter can become a command", script: testmx.Script{TLS: testmx.NoTLS},
			job: func(j *relay.Job) {
				*j = job(`"b> NOTIFY=NEVER"@example.test`)
				j.Message.From = `"a> SIZE=5"@sender.test`
				j.Message.EnvID, j.Message.Ret = "x\r\nRSET", "FULL\r\nRSET"
				j.Recipients[0].Notify, j.Recipients[0].ORcpt = "NEVER\r\nRSET", "rfc822;x\r\nRSET"
			},
			want: []string{
				"EHLO relay.test", `MAIL FROM:<"a> SIZE=5"@sender.test> SIZE=72 ENVID=x+0D+0ARSET`,
				`RCPT TO:<"b> NOTIFY=NEVER"@example.test> ORCPT=rfc822;x+0D+0ARSET`, "DATA", "(content, dot)",
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, mx := single(t, c.script)
			j := job("b@example.test", "c@example.test")
			j.Message.UTF8, j.Message.EightBit, j.Message.Ret, j.Message.EnvID = true, true, "HDRS", "a+b c"
			j.Recipients[0].Notify, j.Recipients[0].ORcpt = "success,failure", "rfc822;x+y@example.test"
			j.Recipients[1].Notify, j.Recipients[1].ORcpt = "NEVER", "utf-8;ø@example.test"
			if c.job != nil {
				c.job(&j)
			}
			transport(t, w.options()).Send(context.Background(), j)
			if diff := cmp.Diff(c.want, commands(mx, 1)); diff != "" {
				t.Errorf("conversation (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReuse(t *testing.T) {
	w, mx := single(t, testmx.Script{Rcpt: map[string][]testmx.Step{"bad@example.test": {reply("550 no")}}})
	o := w.options()
	o.Pool.Messages = 4
	tr := transport(t, o)
	for i, to := range []string{"a@example.test", "bad@example.test", "b@example.test", "c@example.test", "d@example.test"} {
		got := tr.Send(context.Background(), job(to))[0]
		if want := fmt.Sprintf("message %d on this connection", i%4+1); !strings.Contains(got.Detail, want) || !strings.Contains(got.Detail, "TLS 1.3") {
			t.Errorf("Detail = %q, want %q and the TLS version", got.Detail, want)
		}
	}
	if n := mx.Connections(); n != 2 {
		t.Errorf("%d connections for 5 messages of at most 4 each, want 2", n)
	}
	mx.WaitPhase(testmx.Quit, 1)
	got := strings.Join(commands(mx, 1), "|")
	if strings.Count(got, "EHLO") != 2 || strings.Count(got, "RSET") != 1 || !strings.Contains(got, "RSET|MAIL FROM:<a@sender.test> SIZE=72|RCPT TO:<b@") {
		t.Errorf("conversation = %s, want RSET once, after the refused transaction", got)
	}
}

// TestReuse_NoResetAfterTheDot saves a round trip: the end of the data has ended the transaction, refused or not.
func TestReuse_NoResetAfterTheDot(t *testing.T) {
	w, mx := single(t, at(testmx.Dot, testmx.Step{Reply: "550 5.7.1 spam"}))
	tr := transport(t, w.options())
	first, second := tr.Send(context.Background(), job())[0], tr.Send(context.Background(), job())[0]
	if first.Verdict() != relay.Permanent || second.Verdict() != relay.Delivered || mx.Connections() != 1 || mx.Reached(testmx.Reset) != 0 {
		t.Errorf("%s, %s on %d connections with %d RSET", fate(first), fate(second), mx.Connections(), mx.Reached(testmx.Reset))
	}
}

// TestReuse_StaleConnection closes a kept connection behind the client's back.
func TestReuse_StaleConnection(t *testing.T) {
	for name, second := range map[string]testmx.Step{
		"closed": {Drop: true}, "421 and closed": {Reply: "421 4.4.2 idle too long"},
	} {
		t.Run(name, func(t *testing.T) {
			w, mx := single(t, at(testmx.Mail, testmx.Step{}, second))
			tr := transport(t, w.options())
			for range 2 {
				if got := tr.Send(context.Background(), job())[0]; got.Verdict() != relay.Delivered {
					t.Errorf("Send = %s, want delivered on a fresh connection", fate(got))
				}
			}
			if mx.Connections() != 2 || len(mx.Messages()) != 2 {
				t.Errorf("%d connections, %d messages, want 2 and 2", mx.Connections(), len(mx.Messages()))
			}
		})
	}
}

// TestReuse_StaleOnlyOnce must not try for ever.
func TestReuse_StaleOnlyOnce(t *testing.T) {
	w, mx := single(t, at(testmx.Mail, testmx.Step{}, testmx.Step{Drop: true, Always: true}))
	tr := transport(t, w.options())
	tr.Send(context.Background(), job())
	if got := tr.Send(context.Background(), job())[0]; got.Verdict() != relay.Temporary || mx.Connections() != 2 {
		t.Errorf("Send = %s on %d connections, want temporary on 2", fate(got), mx.Connections())
	}
}

func TestReuse_NotBetweenRoutes(t *testing.T) {
	o, route, mx := smarthost(t, testmx.Script{}, "")
	tr := transport(t, o)
	for _, user := range []string{"chute", "other", "chute"} {
		j := job()
		j.Route = route
		j.Route.Username = user
		tr.Send(context.Background(), j)
	}
	if n := len(mx.Messages()); n != 2 || mx.Connections() != 2 {
		t.Errorf("%d messages on %d connections, want 2 on 2: a session belongs to its user", n, mx.Connections())
	}
}

func TestReuse_IdleConnectionIsClosed(t *testing.T) {
	w, mx := single(t, testmx.Script{})
	o := w.options()
	o.Pool.Idle = 50 * time.Millisecond
	transport(t, o).Send(context.Background(), job())
	mx.WaitClosed()
	if mx.Reached(testmx.Quit) != 1 {
		t.Errorf("no QUIT before the connection was closed")
	}
}

func TestReuse_CloseSaysGoodbye(t *testing.T) {
	w, mx := single(t, testmx.Script{})
	tr := relay.NewTransport(w.options())
	tr.Send(context.Background(), job())
	if mx.Open() != 1 {
		t.Fatalf("%d connections are kept, want 1", mx.Open())
	}
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
	mx.WaitClosed()
	if mx.Reached(testmx.Quit) != 1 {
		t.Errorf("no QUIT")
	}
}

// TestReuse_NotWhenOutOfStep is a host that answers more than it was asked: its next answers would be taken for others.
func TestReuse_NotWhenOutOfStep(t *testing.T) {
	w, mx := single(t, at(testmx.Dot, testmx.Step{Raw: "250 2.0.0 taken\r\n250 2.0.0 and the next, too\r\n", Take: true}))
	tr := transport(t, w.options())
	for range 2 {
		if got := tr.Send(context.Background(), job())[0]; got.Verdict() != relay.Delivered {
			t.Errorf("Send = %s", fate(got))
		}
	}
	if mx.Connections() != 2 || len(mx.Messages()) != 2 {
		t.Errorf("%d connections, %d messages, want 2 and 2", mx.Connections(), len(mx.Messages()))
	}
}

// TestPlaintextAfterFailedTLS checks that the event tells what was achieved.
func TestPlaintextAfterFailedTLS(t *testing.T) {
	w, mx := single(t, testmx.Script{TLS: testmx.BrokenTLS})
	got := transport(t, w.options()).Send(context.Background(), job())[0]
	if !strings.Contains(got.Detail, "no TLS after a failed handshake") || mx.Connections() != 2 {
		t.Errorf("Detail = %q on %d connections", got.Detail, mx.Connections())
	}
}

// TestRelayed tells who sends a success notice.
func TestRelayed(t *testing.T) {
	for _, lack := range [][]string{nil, {"DSN"}} {
		w, _ := single(t, testmx.Script{Lack: lack})
		if got := transport(t, w.options()).Send(context.Background(), job())[0]; got.Relayed != (lack != nil) {
			t.Errorf("lacking %v: Relayed = %v", lack, got.Relayed)
		}
	}
}
