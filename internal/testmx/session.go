package testmx

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// errGone ends a session.
var errGone = errors.New("connection given up")

// maxCommand is more than any client of ours may send in one line, AUTH apart.
const maxCommand = 2048

// session is one connection.
type session struct {
	s     *Server
	id    int
	nc    net.Conn
	br    *bufio.Reader
	tls   bool
	user  string
	hello string
	mail  *Message
	begun int // transactions
}

func newSession(s *Server, nc net.Conn, id int) *session {
	return &session{s: s, id: id, nc: nc, br: bufio.NewReaderSize(nc, 64<<10)}
}

func (c *session) run() {
	if c.s.script.TLS == ImplicitTLS && c.handshake() != nil {
		return
	}
	if c.answer(Connect, "", "220 "+c.s.script.Hostname+" ESMTP testmx", nil) != nil {
		return
	}
	for {
		line, err := c.readLine(maxCommand)
		if err != nil || c.command(line) != nil {
			return
		}
	}
}

func (c *session) note(side, line string) {
	c.s.update(func() { c.s.transcripts[c.id] = append(c.s.transcripts[c.id], side+": "+line) })
}

func (c *session) violation(text string) {
	c.s.update(func() { c.s.violations = append(c.s.violations, text) })
}

func (c *session) readLine(limit int) (string, error) {
	line, err := c.br.ReadString('\n')
	if err != nil {
		return "", err
	}
	if !strings.HasSuffix(line, "\r\n") {
		c.violation("line without CR: " + line)
	}
	line = strings.TrimRight(line, "\r\n")
	if len(line) > limit {
		c.violation("line too long: " + line[:100])
	}
	c.note("C", line)
	return line, nil
}

// command executes one line.
func (c *session) command(line string) error {
	verb, arg, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	if !c.offers("PIPELINING") && c.br.Buffered() > 0 && verb != "BDAT" {
		c.violation("pipelining behind " + verb + " was not offered")
	}
	switch verb {
	case "EHLO", "HELO":
		return c.onHello(verb, arg)
	case "STARTTLS":
		return c.onStartTLS()
	case "AUTH":
		return c.onAuth(arg)
	case "MAIL":
		return c.onMail(arg)
	case "RCPT":
		return c.onRcpt(arg)
	case "DATA":
		return c.onData()
	case "BDAT":
		if c.s.script.Chunking {
			return c.onChunk(arg)
		}
		if !slices.Contains(c.s.script.Extra, "CHUNKING") {
			c.violation("BDAT was not offered")
		}
	case "RSET":
		if c.full() {
			return c.play(Reset, c.s.script.Full, "", nil)
		}
		return c.answer(Reset, "", "250 2.0.0 clean", func() { c.mail = nil })
	case "NOOP":
		return c.send("250 2.0.0 ok")
	case "QUIT":
		if err := c.answer(Quit, "", "221 2.0.0 bye", nil); err != nil {
			return err
		}
		return errGone
	}
	return c.send("500 5.5.2 what?")
}

// answer plays the step of a phase: its own answer, or the normal one, after which done takes effect.
func (c *session) answer(p Phase, recipient, normal string, done func()) error {
	return c.play(p, c.s.step(p, recipient), normal, done)
}

// full tells whether the session takes no further transaction.
func (c *session) full() bool {
	return c.s.script.Transactions > 0 && c.begun >= c.s.script.Transactions
}

func (c *session) play(p Phase, step Step, normal string, done func()) error {
	if step.Stall {
		if err := c.stall(p); err != nil {
			return err
		}
		step.Drop, step.Reply, step.Raw = false, "", ""
	}
	if step.Endless {
		return c.endless(normal[:3])
	}
	reply := step.Reply
	if reply == "" && step.Raw == "" && !step.Drop {
		reply = normal
	}
	if done != nil && (step.Take || agrees(p, reply)) {
		done() // before any answer, so that a client which has it finds the effect
	}
	if step.Raw != "" {
		if err := c.write(step.Raw, step.Drip); err != nil {
			return err
		}
	}
	if reply != "" {
		if err := c.sendSlowly(reply, step.Drip); err != nil {
			return err
		}
	}
	if step.Drop || strings.HasPrefix(reply, "421") {
		return errGone
	}
	return nil
}

// agrees tells whether a reply makes the command take effect.
func agrees(p Phase, reply string) bool {
	if p == Data {
		return strings.HasPrefix(reply, "354")
	}
	return strings.HasPrefix(reply, "2")
}

// stall waits for Release, and notices when the client hangs up meanwhile.
func (c *session) stall(p Phase) error {
	c.s.update(func() { c.s.stalled[p]++ })
	defer c.s.update(func() { c.s.stalled[p]-- })
	peeked := make(chan error, 1)
	go func() { // joined below
		_, err := c.br.Peek(c.br.Buffered() + 1)
		peeked <- err
	}()
	var err error
	select {
	case <-c.s.released:
	case <-c.s.closed:
		err = errGone
	case gone := <-peeked:
		if gone != nil {
			return errGone
		}
		select { // the client has sent more, and waits
		case <-c.s.released:
			return nil
		case <-c.s.closed:
			return errGone
		}
	}
	if derr := c.nc.SetReadDeadline(time.Unix(1, 0)); derr != nil {
		err = errGone
	}
	<-peeked
	if derr := c.nc.SetReadDeadline(time.Time{}); derr != nil {
		err = errGone
	}
	return err
}

func (c *session) endless(code string) error {
	chunk := strings.Repeat(code+"-and another line of this reply that does not end\r\n", 1000)
	for sent := 0; sent < 64<<20; sent += len(chunk) {
		if err := c.write(chunk, 0); err != nil {
			return err
		}
	}
	return errGone
}

func (c *session) send(reply string) error { return c.sendSlowly(reply, 0) }

// sendSlowly writes a reply of one or more lines with the code in front of each.
func (c *session) sendSlowly(reply string, drip time.Duration) error {
	var b strings.Builder
	lines := strings.Split(reply, "\n")
	for i, l := range lines {
		if i > 0 && !startsWithCode(l) {
			l = lines[0][:3] + " " + l
		}
		if i < len(lines)-1 && len(l) > 3 {
			l = l[:3] + "-" + l[4:]
		}
		b.WriteString(l + "\r\n")
	}
	c.note("S", reply)
	return c.write(b.String(), drip)
}

func startsWithCode(l string) bool {
	return len(l) >= 4 && strings.Trim(l[:3], "0123456789") == "" && (l[3] == ' ' || l[3] == '-')
}

func (c *session) write(s string, drip time.Duration) error {
	if drip == 0 {
		_, err := io.WriteString(c.nc, s)
		return err
	}
	for i := range len(s) {
		if _, err := io.WriteString(c.nc, s[i:i+1]); err != nil {
			return err
		}
		select {
		case <-time.After(drip):
		case <-c.s.closed:
			return errGone
		}
	}
	return nil
}

func (c *session) offers(keyword string) bool { return !slices.Contains(c.s.script.Lack, keyword) }

func (c *session) onHello(verb, arg string) error {
	if verb == "EHLO" && c.s.script.NoEHLO {
		return c.send("502 5.5.1 no extensions here")
	}
	lines := []string{"250 " + c.s.script.Hostname}
	if verb == "EHLO" {
		for _, k := range []string{"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"} {
			if c.offers(k) {
				lines = append(lines, "250 "+k)
			}
		}
		if !c.tls && (c.s.script.TLS == OfferTLS || c.s.script.TLS == BrokenTLS) {
			lines = append(lines, "250 STARTTLS")
		}
		if c.s.script.RequireTLS && c.tls {
			lines = append(lines, "250 REQUIRETLS")
		}
		if c.s.script.Chunking {
			lines = append(lines, "250 CHUNKING")
		}
		if len(c.s.script.Users) > 0 {
			lines = append(lines, "250 AUTH "+strings.Join(c.s.script.Mechanisms, " "))
		}
		for _, e := range c.s.script.Extra {
			lines = append(lines, "250 "+e)
		}
	}
	return c.answer(Hello, "", strings.Join(lines, "\n"), func() { c.hello, c.mail = arg, nil })
}

func (c *session) client() netip.Addr {
	ap, err := netip.ParseAddrPort(c.nc.RemoteAddr().String())
	if err != nil {
		c.s.t.Errorf("testmx: %v", err)
	}
	return ap.Addr().Unmap()
}

func (c *session) onStartTLS() error {
	if c.tls || c.s.script.TLS == NoTLS {
		return c.send("503 5.5.1 no TLS now")
	}
	agreed := false
	normal := "220 2.0.0 go ahead"
	if c.s.script.Inject != "" {
		c.note("S", normal+" and an injection")
		if err := c.write(normal+"\r\n"+c.s.script.Inject, 0); err != nil {
			return err
		}
		return c.handshake()
	}
	if err := c.answer(StartTLS, "", normal, func() { agreed = true }); err != nil || !agreed {
		return err
	}
	return c.handshake()
}

func (c *session) handshake() error {
	if c.s.script.TLS == BrokenTLS {
		if _, err := c.br.Peek(1); err != nil { // the answer must not look like an injection
			return err
		}
		_ = c.write("this is not TLS at all\r\n", 0) // what matters is that the client gives up
		return errGone
	}
	tc := tls.Server(c.nc, c.s.config)
	if err := tc.Handshake(); err != nil {
		c.note("S", "(TLS failed)")
		return err
	}
	c.note("S", "(TLS)")
	c.nc, c.br, c.tls, c.hello = tc, bufio.NewReaderSize(tc, 64<<10), true, ""
	return nil
}

func (c *session) onMail(arg string) error {
	if len(c.s.script.Users) > 0 && c.user == "" {
		return c.send("530 5.7.0 log in first")
	}
	if c.hello == "" {
		return c.send("503 5.5.1 greet first")
	}
	if c.mail != nil {
		return c.send("503 5.5.1 MAIL within a transaction")
	}
	if c.full() {
		return c.play(Mail, c.s.script.Full, "", nil)
	}
	address, params := splitPath(arg, "FROM:")
	c.checkParams(params)
	return c.answer(Mail, "", "250 2.1.0 sender ok", func() {
		c.begun++
		c.mail = &Message{Conn: c.id, Client: c.client(), Hello: c.hello, TLS: c.tls, User: c.user, From: address, Params: params}
	})
}

func (c *session) onRcpt(arg string) error {
	address, params := splitPath(arg, "TO:")
	c.checkParams(params)
	if c.mail == nil {
		c.s.update(func() { c.s.reached[Rcpt]++ })
		return c.send("503 5.5.1 MAIL first")
	}
	return c.answer(Rcpt, address, "250 2.1.5 recipient ok", func() {
		c.mail.To = append(c.mail.To, Recipient{address, params})
	})
}

// checkParams watches that no parameter is used that was not offered.
func (c *session) checkParams(params string) {
	for _, p := range strings.Fields(params) {
		name, _, _ := strings.Cut(strings.ToUpper(p), "=")
		if name == "REQUIRETLS" && c.s.script.RequireTLS && c.tls {
			continue
		}
		needs := map[string]string{"SIZE": "SIZE", "BODY": "8BITMIME", "SMTPUTF8": "SMTPUTF8", "RET": "DSN", "ENVID": "DSN", "NOTIFY": "DSN", "ORCPT": "DSN"}[name]
		if needs == "" || !c.offers(needs) {
			c.violation("parameter was not offered: " + p)
		}
	}
}

// splitPath splits FROM:<address> params at the bracket that ends the path, quoted strings respected.
func splitPath(arg, prefix string) (address, params string) {
	if len(arg) < len(prefix) || !strings.EqualFold(arg[:len(prefix)], prefix) {
		return arg, ""
	}
	arg = strings.TrimPrefix(arg[len(prefix):], "<")
	quoted := false
	for i := 0; i < len(arg); i++ {
		switch {
		case arg[i] == '\\' && quoted:
			i++
		case arg[i] == '"':
			quoted = !quoted
		case arg[i] == '>' && !quoted:
			return arg[:i], strings.TrimSpace(arg[i+1:])
		}
	}
	return arg, ""
}
