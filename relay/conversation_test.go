package relay_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

type steps = map[testmx.Phase][]testmx.Step

func at(p testmx.Phase, s ...testmx.Step) testmx.Script {
	return testmx.Script{Steps: steps{p: s}}
}

func reply(s string) testmx.Step { return testmx.Step{Reply: s, Always: true} }

// TestConversations is one hostile host after the other: what it does, and what becomes of two recipients.
func TestConversations(t *testing.T) {
	stall := testmx.Step{Stall: true, Always: true}
	drop := testmx.Step{Drop: true, Always: true}
	big := strings.Repeat("0123456789abcdef\r\n", 400_000) // 7 MB: more than any socket buffer takes
	for _, c := range []struct {
		name   string
		script testmx.Script
		tune   func(*relay.Options)
		job    func(*relay.Job)
		want   string // both recipients
		stored int    // messages that the host has taken
	}{
		{name: "plain success", want: "delivered 250 dot, delivered 250 dot", stored: 1},
		{name: "success without pipelining", script: testmx.Script{Lack: []string{"PIPELINING"}}, want: "delivered 250 dot, delivered 250 dot", stored: 1},
		{name: "HELO only", script: testmx.Script{NoEHLO: true, TLS: testmx.NoTLS, Lack: everything}, want: "delivered 250 dot, delivered 250 dot", stored: 1},
		{name: "no extensions", script: testmx.Script{Lack: everything}, want: "delivered 250 dot, delivered 250 dot", stored: 1},

		{name: "banner 554", script: at(testmx.Connect, reply("554 5.7.1 not you")), want: "temporary 554 connect, temporary 554 connect"},
		{name: "banner 521", script: at(testmx.Connect, reply("521 no mail here")), want: "permanent 521 connect, permanent 521 connect"},
		{name: "banner 421", script: at(testmx.Connect, reply("421 4.3.2 busy")), want: "temporary 421 connect, temporary 421 connect"},
		{name: "banner stalls", script: at(testmx.Connect, stall), tune: func(o *relay.Options) { o.Timeouts.Banner = quick }, want: "temporary 0 connect, temporary 0 connect"},
		{name: "banner drops", script: at(testmx.Connect, drop), want: "temporary 0 connect, temporary 0 connect"},
		{name: "banner never ends", script: at(testmx.Connect, testmx.Step{Endless: true, Always: true}), want: "temporary 0 connect, temporary 0 connect"},
		{name: "banner is garbage", script: at(testmx.Connect, testmx.Step{Raw: "\x00\xff\x1b[2J hello\r\n", Always: true}), want: "temporary 0 connect, temporary 0 connect"},
		{name: "banner of HTTP", script: at(testmx.Connect, testmx.Step{Raw: "HTTP/1.1 400 Bad Request\r\n\r\n", Always: true}), want: "temporary 0 connect, temporary 0 connect"},
		{name: "banner drips", script: at(testmx.Connect, testmx.Step{Drip: 20 * time.Millisecond, Always: true}), tune: func(o *relay.Options) { o.Timeouts.Banner = quick }, want: "temporary 0 connect, temporary 0 connect"},
		{name: "banner without line end", script: at(testmx.Connect, testmx.Step{Raw: "220 hello", Drop: true, Always: true}), want: "temporary 0 connect, temporary 0 connect"},
		{name: "banner with two codes", script: at(testmx.Connect, testmx.Step{Raw: "220-hello\r\n250 there\r\n", Always: true}), want: "temporary 0 connect, temporary 0 connect"},
		{name: "banner without text", script: at(testmx.Connect, testmx.Step{Raw: "220\r\n", Always: true}), want: "delivered 250 dot, delivered 250 dot", stored: 1},

		{name: "EHLO 451", script: at(testmx.Hello, reply("451 4.3.0 later")), want: "temporary 451 ehlo, temporary 451 ehlo"},
		{name: "EHLO and HELO 550", script: at(testmx.Hello, reply("550 5.7.1 bad name")), want: "temporary 550 ehlo, temporary 550 ehlo"},
		{name: "EHLO stalls", script: at(testmx.Hello, stall), tune: func(o *relay.Options) { o.Timeouts.Hello = quick }, want: "temporary 0 ehlo, temporary 0 ehlo"},
		{name: "EHLO 299", script: at(testmx.Hello, testmx.Step{Reply: "299 odd", Always: true}), want: "delivered 250 dot, delivered 250 dot", stored: 1},
		{name: "EHLO 600", script: at(testmx.Hello, testmx.Step{Raw: "600 odd\r\n", Always: true}), want: "temporary 0 ehlo, temporary 0 ehlo"},
		{name: "many keywords", script: testmx.Script{Extra: keywords(90)}, want: "delivered 250 dot, delivered 250 dot", stored: 1},
		{name: "too many lines", script: testmx.Script{Extra: keywords(110)}, want: "temporary 0 ehlo, temporary 0 ehlo"},

		{name: "STARTTLS refused", script: at(testmx.StartTLS, reply("454 4.7.0 no TLS now")), want: "delivered 250 dot, delivered 250 dot", stored: 1},
		{name: "TLS fails, plain follows", script: testmx.Script{TLS: testmx.BrokenTLS}, want: "delivered 250 dot, delivered 250 dot", stored: 1},
		{name: "TLS fails, demanded", script: testmx.Script{TLS: testmx.BrokenTLS}, job: func(j *relay.Job) { j.Route.TLS = store.TLSStartTLS }, want: "temporary 0 starttls, temporary 0 starttls"},
		{name: "STARTTLS stalls", script: at(testmx.StartTLS, stall), tune: func(o *relay.Options) { o.Timeouts.Hello = time.Second }, want: "temporary 0 starttls, temporary 0 starttls"},
		{name: "STARTTLS injection", script: testmx.Script{Inject: "250 2.0.0 believe me\r\n"}, want: "temporary 0 starttls, temporary 0 starttls"},

		{name: "MAIL 550", script: at(testmx.Mail, reply("550 5.1.8 sender unknown")), want: "permanent 550 mail, permanent 550 mail"},
		{name: "MAIL 550 without pipelining", script: testmx.Script{Lack: []string{"PIPELINING"}, Steps: steps{testmx.Mail: {reply("550 5.1.8 sender unknown")}}}, want: "permanent 550 mail, permanent 550 mail"},
		{name: "MAIL 451", script: at(testmx.Mail, reply("451 4.3.0 later")), want: "temporary 451 mail, temporary 451 mail"},
		{name: "MAIL 552 too large", script: at(testmx.Mail, reply("552 5.3.4 too large")), want: "permanent 552 mail, permanent 552 mail"},
		{name: "MAIL 530", script: at(testmx.Mail, reply("530 5.7.0 log in")), want: "temporary 530 mail, temporary 530 mail"},
		{name: "MAIL 421", script: at(testmx.Mail, reply("421 4.7.0 slow down")), want: "temporary 421 mail, temporary 421 mail"},
		{name: "MAIL stalls", script: at(testmx.Mail, stall), tune: func(o *relay.Options) { o.Timeouts.Mail = quick }, want: "temporary 0 mail, temporary 0 mail"},
		{name: "MAIL drops", script: at(testmx.Mail, drop), want: "temporary 0 mail, temporary 0 mail"},

		{name: "second recipient 550", script: testmx.Script{Rcpt: map[string][]testmx.Step{"c@example.test": {reply("550 5.1.1 unknown")}}}, want: "delivered 250 dot, permanent 550 rcpt", stored: 1},
		{name: "second recipient 450", script: testmx.Script{Rcpt: map[string][]testmx.Step{"c@example.test": {reply("450 4.2.1 busy")}}}, want: "delivered 250 dot, temporary 450 rcpt", stored: 1},
		{name: "second recipient 552", script: testmx.Script{Rcpt: map[string][]testmx.Step{"c@example.test": {reply("552 5.2.2 full")}}}, want: "delivered 250 dot, temporary 552 rcpt", stored: 1},
		{name: "second recipient too many", script: testmx.Script{Rcpt: map[string][]testmx.Step{"c@example.test": {{Reply: "452 4.5.3 too many"}}}}, want: "delivered 250 dot, delivered 250 dot", stored: 2},
		{name: "all recipients refused, 554 to DATA", script: at(testmx.Rcpt, reply("550 5.1.1 unknown")), want: "permanent 550 rcpt, permanent 550 rcpt"},
		{name: "all recipients refused, 354 to DATA", script: testmx.Script{Steps: steps{testmx.Rcpt: {reply("550 5.1.1 unknown")}, testmx.Data: {reply("354 go on")}}}, want: "permanent 550 rcpt, permanent 550 rcpt"},
		{name: "all refused without pipelining", script: testmx.Script{Lack: []string{"PIPELINING"}, Steps: steps{testmx.Rcpt: {reply("550 5.1.1 unknown")}}}, want: "permanent 550 rcpt, permanent 550 rcpt"},
		{name: "RCPT 421", script: at(testmx.Rcpt, testmx.Step{}, reply("421 4.3.2 bye")), want: "temporary 421 rcpt, temporary 421 rcpt"},
		{name: "RCPT stalls", script: at(testmx.Rcpt, stall), tune: func(o *relay.Options) { o.Timeouts.Rcpt = quick }, want: "temporary 0 rcpt, temporary 0 rcpt"},
		{name: "greylisted", script: at(testmx.Rcpt, testmx.Step{Reply: "451 4.7.1 greylisted"}, testmx.Step{Reply: "451 4.7.1 greylisted"}), want: "temporary 451 rcpt, temporary 451 rcpt"},

		{name: "DATA 451", script: at(testmx.Data, reply("451 4.3.0 later")), want: "temporary 451 data, temporary 451 data"},
		{name: "DATA 554", script: at(testmx.Data, reply("554 5.7.1 no")), want: "permanent 554 data, permanent 554 data"},
		{name: "DATA 250", script: at(testmx.Data, reply("250 odd")), want: "temporary 250 data, temporary 250 data"},
		{name: "DATA stalls", script: at(testmx.Data, stall), tune: func(o *relay.Options) { o.Timeouts.Data = quick }, want: "temporary 0 data, temporary 0 data"},
		{name: "DATA drops", script: at(testmx.Data, drop), want: "temporary 0 data, temporary 0 data"},
		{name: "DATA answered twice", script: at(testmx.Data, testmx.Step{Raw: "354 go on\r\n250 2.0.0 taken\r\n", Always: true}), want: "temporary 0 data, temporary 0 data"},
		{name: "body stalls", script: at(testmx.Body, stall), tune: func(o *relay.Options) { o.Timeouts.Block = quick }, job: content(big), want: "temporary 0 body, temporary 0 body"},
		{name: "body drops", script: at(testmx.Body, drop), job: content(big), want: "temporary 0 body, temporary 0 body"},

		{name: "dot 451", script: at(testmx.Dot, reply("451 4.3.0 later")), want: "temporary 451 dot, temporary 451 dot"},
		{name: "dot 554", script: at(testmx.Dot, reply("554 5.7.1 spam")), want: "permanent 554 dot, permanent 554 dot"},
		{name: "dot 421", script: at(testmx.Dot, reply("421 4.3.2 bye")), want: "temporary 421 dot, temporary 421 dot"},
		{name: "dot stalls", script: at(testmx.Dot, stall), tune: func(o *relay.Options) { o.Timeouts.Dot = quick }, want: "uncertain 0 dot, uncertain 0 dot"},
		{name: "dot drops", script: at(testmx.Dot, drop), want: "uncertain 0 dot, uncertain 0 dot"},
		{name: "dot accepted and not told", script: at(testmx.Dot, testmx.Step{Drop: true, Take: true}), want: "uncertain 0 dot, uncertain 0 dot", stored: 1},
		{name: "dot half a reply", script: at(testmx.Dot, testmx.Step{Raw: "250", Drop: true, Take: true}), want: "uncertain 0 dot, uncertain 0 dot", stored: 1},
		{name: "dot garbage", script: at(testmx.Dot, testmx.Step{Raw: "OK\r\n"}), want: "uncertain 0 dot, uncertain 0 dot"},
		{name: "QUIT stalls", script: at(testmx.Quit, stall), want: "delivered 250 dot, delivered 250 dot", stored: 1},
		{name: "QUIT drops", script: at(testmx.Quit, drop), want: "delivered 250 dot, delivered 250 dot", stored: 1},

		{name: "8-bit without 8BITMIME", script: testmx.Script{Lack: []string{"8BITMIME"}}, job: func(j *relay.Job) { j.Message.EightBit = true }, want: "permanent 554 mail, permanent 554 mail"},
		{name: "UTF-8 without SMTPUTF8", script: testmx.Script{Lack: []string{"SMTPUTF8"}}, job: func(j *relay.Job) { j.Message.UTF8 = true }, want: "permanent 550 mail, permanent 550 mail"},
		{name: "UTF-8 recipient without SMTPUTF8", script: testmx.Script{Lack: []string{"SMTPUTF8"}}, job: func(j *relay.Job) { j.Recipients[0].Address = "bøb@example.test" }, want: "permanent 550 rcpt, delivered 250 dot", stored: 1},
		{name: "beyond SIZE", script: testmx.Script{Lack: []string{"SIZE"}, Extra: []string{"SIZE 10"}}, want: "permanent 552 mail, permanent 552 mail"},
		{name: "recipient that cannot be parsed", job: func(j *relay.Job) { j.Recipients[0].Address = "b@@example.test" }, want: "permanent 553 rcpt, delivered 250 dot", stored: 1},
		{name: "sender that cannot be parsed", job: func(j *relay.Job) { j.Message.From = "a b" }, want: "permanent 553 mail, permanent 553 mail"},
	} {
		try := func(t *testing.T) {
			t.Parallel()
			script := c.script
			script.Chunking = strings.Contains(t.Name(), "BDAT:")
			w, mx := single(t, script)
			o := w.options()
			if c.tune != nil {
				c.tune(&o)
			}
			j := job("b@example.test", "c@example.test")
			if c.job != nil {
				c.job(&j)
			}
			tr := transport(t, o)
			got := tr.Send(context.Background(), j)
			if fates(got) != c.want {
				t.Errorf("Send = %s, want %s\n%q\n%+v", fates(got), c.want, mx.Transcripts(), got)
			}
			if n := len(mx.Messages()); n != c.stored {
				t.Errorf("host has %d messages, want %d", n, c.stored)
			}
			for _, m := range mx.Messages() {
				if string(m.Body) != body {
					t.Errorf("content = %q, want %q", m.Body, body)
				}
			}
			if script.Chunking && c.script.Steps[testmx.Hello] == nil && mx.Reached(testmx.Data) > 0 {
				t.Error("DATA came, although CHUNKING was offered")
			}
		}
		t.Run(c.name, try)
		if c.script.Steps[testmx.Data] == nil && !c.script.NoEHLO {
			t.Run("BDAT: "+c.name, try)
		}
	}
}

var everything = []string{"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"}

func keywords(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("XKEY%d", i)
	}
	return out
}

func content(s string) func(*relay.Job) {
	return func(j *relay.Job) { j.Open, j.Message.Size = open(s), int64(len(s)) }
}

func steadyScript() testmx.Script { return testmx.Script{} }
