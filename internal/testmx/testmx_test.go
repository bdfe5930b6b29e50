package testmx_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
)

// talk sends lines one at a time and returns the first line of each reply, the greeting first.
type client struct {
	t  *testing.T
	c  net.Conn
	br *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &client{t, c, bufio.NewReader(c)}
}

// reply reads one reply and returns its lines.
func (c *client) reply() []string {
	c.t.Helper()
	var lines []string
	for {
		l, err := c.br.ReadString('\n')
		if err != nil {
			return append(lines, fmt.Sprintf("(%v)", err))
		}
		l = strings.TrimRight(l, "\r\n")
		lines = append(lines, l)
		if len(l) < 4 || l[3] != '-' {
			return lines
		}
	}
}

func (c *client) say(line string) string {
	c.t.Helper()
	if _, err := io.WriteString(c.c, line+"\r\n"); err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	return strings.Join(c.reply(), "|")
}

func code(reply string) string { return reply[:min(3, len(reply))] }

func TestServer_TakesAMessage(t *testing.T) {
	mx := testmx.New(t, testmx.Script{})
	c := dial(t, mx.Addr())
	c.reply()
	if got := c.say("EHLO client.test"); !strings.Contains(got, "250-PIPELINING") || !strings.Contains(got, "250 STARTTLS") {
		t.Errorf("EHLO = %s", got)
	}
	c.say(`MAIL FROM:<a@x.test> SIZE=10 RET=FULL`)
	c.say(`RCPT TO:<"b> X"@y.test> NOTIFY=NEVER`)
	c.say("DATA")
	if got := c.say("a: b\r\n\r\n..\r\n..x\r\n."); code(got) != "250" {
		t.Errorf("dot = %s", got)
	}
	m := mx.Wait(1)[0]
	want := testmx.Message{Conn: 1, Hello: "client.test", From: "a@x.test", Params: "SIZE=10 RET=FULL"}
	if m.Conn != want.Conn || m.Hello != want.Hello || m.From != want.From || m.Params != want.Params || m.TLS {
		t.Errorf("message = %+v, want %+v", m, want)
	}
	if len(m.To) != 1 || m.To[0] != (testmx.Recipient{Address: `"b> X"@y.test`, Params: "NOTIFY=NEVER"}) || string(m.Body) != "a: b\r\n\r\n.\r\n.x\r\n" {
		t.Errorf("recipients %+v, content %q", m.To, m.Body)
	}
	if got := code(c.say("QUIT")); got != "221" {
		t.Errorf("QUIT = %s", got)
	}
	mx.WaitClosed()
}

func TestServer_StepsAreUsedUp(t *testing.T) {
	mx := testmx.New(t, testmx.Script{
		Steps: map[testmx.Phase][]testmx.Step{testmx.Mail: {{Reply: "451 one"}, {}, {Reply: "452 three\nof two lines", Always: true}}},
		Rcpt:  map[string][]testmx.Step{"b@y.test": {{Reply: "550 no"}}},
	})
	c := dial(t, mx.Addr())
	c.reply()
	c.say("EHLO x")
	got := []string{c.say("MAIL FROM:<>"), c.say("MAIL FROM:<>"), c.say("RCPT TO:<b@y.test>"), c.say("RCPT TO:<b@y.test>"), c.say("RSET"), c.say("MAIL FROM:<>"), c.say("MAIL FROM:<>")}
	want := "451 one, 250 2.1.0 sender ok, 550 no, 250 2.1.5 recipient ok, 250 2.0.0 clean, 452-three|452 of two lines, 452-three|452 of two lines"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("replies = %s, want %s", s, want)
	}
	if mx.Reached(testmx.Mail) != 4 {
		t.Errorf("MAIL was reached %d times, want 4", mx.Reached(testmx.Mail))
	}
}

func TestServer_StallsUntilReleased(t *testing.T) {
	mx := testmx.New(t, testmx.Script{Steps: map[testmx.Phase][]testmx.Step{testmx.Hello: {{Stall: true, Always: true}}}})
	c := dial(t, mx.Addr())
	c.reply()
	replied := make(chan string, 1)
	go func() { replied <- c.say("EHLO x") }()
	mx.WaitStalled(testmx.Hello, 1)
	select {
	case r := <-replied:
		t.Errorf("answered %q while stalled", r)
	default:
	}
	gone := dial(t, mx.Addr())
	gone.reply()
	if _, err := io.WriteString(gone.c, "EHLO y\r\n"); err != nil {
		t.Fatal(err)
	}
	mx.WaitStalled(testmx.Hello, 2)
	gone.c.Close()
	mx.Release()
	if r := <-replied; code(r) != "250" {
		t.Errorf("answered %q after the release", r)
	}
}

func TestServer_StalledClientThatHangsUpIsNoticed(t *testing.T) {
	mx := testmx.New(t, testmx.Script{Steps: map[testmx.Phase][]testmx.Step{testmx.Connect: {{Stall: true}}}})
	c := dial(t, mx.Addr())
	mx.WaitStalled(testmx.Connect, 1)
	c.c.Close()
	mx.WaitClosed()
}

func TestServer_Credentials(t *testing.T) {
	mx := testmx.New(t, testmx.Script{Users: map[string]string{"u": "p"}, TLS: testmx.ImplicitTLS})
	raw := dial(t, mx.Addr())
	tc := tls.Client(raw.c, &tls.Config{RootCAs: mx.RootCAs(), ServerName: "mx.test"})
	c := &client{t, tc, bufio.NewReader(tc)}
	c.reply()
	c.say("EHLO x")
	for _, step := range [][2]string{
		{"MAIL FROM:<>", "530"},
		{"AUTH PLAIN AHUAeA==", "535"},
		{"AUTH LOGIN", "334"}, {"dQ==", "334"}, {"cA==", "235"},
		{"AUTH CRAM-MD5", "504"},
		{"MAIL FROM:<>", "250"},
	} {
		if got := c.say(step[0]); code(got) != step[1] {
			t.Errorf("%s = %s, want %s", step[0], got, step[1])
		}
	}
	want := "[{PLAIN u x false true} {LOGIN u p true true}]"
	if got := fmt.Sprint(mx.Credentials()); got != want {
		t.Errorf("credentials = %s, want %s", got, want)
	}
}

// TestServer_Violations is what a client of ours must never do.
func TestServer_Violations(t *testing.T) {
	for text, script := range map[string]testmx.Script{
		"EHLO x\n":                                                         {},
		"EHLO x\r\nMAIL FROM:<>\r\n":                                       {Lack: []string{"PIPELINING"}},
		"EHLO x\r\nMAIL FROM:<> SIZE=1\r\n":                                {Lack: []string{"SIZE"}},
		"EHLO x\r\nMAIL FROM:<> FOO=1\r\n":                                 {},
		"NOOP " + strings.Repeat("x", 3000) + "\r\n":                       {},
		"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\na\nb\r\n.\r\n": {},
	} {
		mx := testmx.New(t, script)
		c := dial(t, mx.Addr())
		c.reply()
		if _, err := io.WriteString(c.c, text+"QUIT\r\n"); err != nil {
			t.Fatal(err)
		}
		mx.WaitPhase(testmx.Quit, 1)
		if len(mx.Violations()) == 0 {
			t.Errorf("%.60q breaks no rule", text)
		}
		mx.Forgive()
	}
}

// recorder is a testing.TB that keeps its errors.
type recorder struct {
	testing.TB
	mu     sync.Mutex
	errors []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func TestServer_ViolationFailsTheTest(t *testing.T) {
	r := &recorder{TB: t}
	mx := testmx.New(r, testmx.Script{})
	c := dial(t, mx.Addr())
	c.reply()
	c.say("EHLO x\n")
	mx.Close()
	mx.Close()
	if len(r.errors) != 1 || !strings.Contains(r.errors[0], "line without CR") {
		t.Errorf("errors = %q, want one about the line end", r.errors)
	}
}

// TestServer_Misbehaves is each way not to answer.
func TestServer_Misbehaves(t *testing.T) {
	for name, c := range map[string]struct {
		step testmx.Step
		want string
	}{
		"drop":      {testmx.Step{Drop: true}, "(EOF)"},
		"421":       {testmx.Step{Reply: "421 bye"}, "421 bye"},
		"raw":       {testmx.Step{Raw: "rubbish\r\n"}, "rubbish"},
		"half":      {testmx.Step{Raw: "250", Drop: true}, "(EOF)"},
		"drip":      {testmx.Step{Drip: time.Millisecond}, "250-"},
		"endless":   {testmx.Step{Endless: true}, "250-and"},
		"two lines": {testmx.Step{Reply: "550 a\n550 b"}, "550-a|550 b"},
	} {
		mx := testmx.New(t, testmx.Script{Steps: map[testmx.Phase][]testmx.Step{testmx.Hello: {c.step}}})
		cl := dial(t, mx.Addr())
		cl.reply()
		if name == "endless" {
			if _, err := io.WriteString(cl.c, "EHLO x\r\n"); err != nil {
				t.Fatal(err)
			}
			line, err := cl.br.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, c.want) {
				t.Errorf("%s: %q %v", name, line, err)
			}
			if _, err := io.CopyN(io.Discard, cl.br, 4<<20); err != nil {
				t.Errorf("%s: it ends: %v", name, err)
			}
			continue
		}
		if got := cl.say("EHLO x"); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
