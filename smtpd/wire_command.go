package smtpd

import (
	"bufio"
	"bytes"
	"errors"
	"strconv"
	"strings"
	"time"
)

// command is one line of the client, checked as far as all commands are alike.
type command struct {
	verb string // in upper case
	arg  string // without surrounding spaces
	line []byte // all of it with its CRLF, valid until the next read
}

// maxDiscard bounds how much of an over-long AUTH line is read on to find its end.
const maxDiscard = 64 << 10

// readCommand reads one line. False means that it has been answered, or that the
// connection is closing.
func (w *wire) readCommand(wait waiting) (command, bool) {
	if w.stopped(stopIdle) && wait == waitCommand || w.stopped(stopAll) {
		w.answer(replyStopping)
		return command{}, false
	}
	line, fits, err := w.readLine(wait, w.opts.MaxLine)
	if err != nil {
		w.readFailed(err)
		return command{}, false
	}
	w.commands++
	if over(w.commands, w.opts.MaxCommands) {
		w.answer(replyTooManyCmds)
		return command{}, false
	}
	if r := w.lineFault(line, fits); r != "" {
		w.rejectLine(line, r)
		return command{}, false
	}
	verb, arg, _ := strings.Cut(string(line[:len(line)-2]), " ")
	return command{verb: upperASCII(verb), arg: strings.Trim(arg, " "), line: line}, true
}

// readLine reads up to LF. The whole line has to come within the idle time, so
// that a client cannot hold the connection by a drip. An over-long AUTH is read
// to its end, anything else over-long not.
func (w *wire) readLine(wait waiting, limit int) (line []byte, fits bool, err error) {
	if w.pushed != nil {
		line, w.pushed = w.pushed, nil
		return line, true, nil
	}
	w.await(wait)
	w.lineEnds = time.Now().Add(w.opts.Idle)
	if err := w.waitForLine(); err != nil {
		return nil, false, err
	}
	if !w.heard && !w.hear() {
		return nil, false, errClosing
	}
	line, err = w.br.ReadSlice('\n')
	if hasVerb(line, "AUTH") {
		limit = maxAuthLine
	}
	if errors.Is(err, bufio.ErrBufferFull) {
		return w.readLong(line, limit)
	}
	return line, len(line) <= limit, err
}

// errClosing ends a read after the connection has had its last reply.
var errClosing = errors.New("connection is closing")

// hear looks at the first octet: a TLS client on a plaintext port may never send
// an LF.
func (w *wire) hear() bool {
	b, err := w.br.Peek(1)
	w.heard = true
	if err == nil && b[0] == 0x16 && w.tls == nil {
		w.wrongProtocol()
		return false
	}
	return true // an error comes again with the next read
}

func (w *wire) wrongProtocol() {
	w.log.hostile("wrong_protocol")
	w.answer(replyWrongProtocol)
}

// readLong collects a line that is larger than the buffer.
func (w *wire) readLong(start []byte, limit int) (line []byte, fits bool, err error) {
	line = bytes.Clone(start)
	if limit < maxAuthLine {
		return line, false, nil
	}
	err = bufio.ErrBufferFull
	var more []byte
	for seen := len(line); errors.Is(err, bufio.ErrBufferFull); seen += len(more) {
		if seen > maxDiscard {
			w.answer(replyLineTooLong)
			return nil, false, errClosing
		}
		more, err = w.br.ReadSlice('\n')
		if len(line) <= limit {
			line = append(line, more...)
		}
	}
	return line, len(line) <= limit, err
}

// lineFault returns the answer to a line that is no command whatever its verb,
// else "".
func (w *wire) lineFault(line []byte, fits bool) reply {
	switch {
	case !fits && hasVerb(line, "AUTH"):
		return replyAuthTooLong
	case !fits:
		return replyLineTooLong
	case !bytes.HasSuffix(line, []byte("\r\n")):
		return w.bareLF()
	}
	for _, c := range line[:len(line)-2] {
		if c < ' ' || c == 0x7f {
			return controlReply(line)
		}
	}
	return ""
}

// rejectLine answers a faulty line. Behind a BDAT stand octets that we could not
// count, and that must not be taken for commands.
func (w *wire) rejectLine(line []byte, r reply) {
	if hasVerb(line, "BDAT") && !r.closes() {
		w.answer(r)
		w.say(replyBadChunk)
		return
	}
	if hasVerb(line, "AUTH") {
		w.authTried = true
	}
	w.answer(r)
}

// bareLF counts a line without CR; the second one ends the connection.
func (w *wire) bareLF() reply {
	w.bareLFs++
	w.hangup = w.hangup || w.bareLFs > 1
	return replyBareLF
}

func controlReply(line []byte) reply {
	switch {
	case hasVerb(line, "MAIL"):
		return replySenderSyntax
	case hasVerb(line, "RCPT"):
		return replyRecipientSyntax
	case hasVerb(line, "EHLO"), hasVerb(line, "HELO"):
		return replyHelloArgument
	}
	return replyControlChars
}

// hasVerb tells whether a line starts with the verb as a whole word.
func hasVerb(line []byte, verb string) bool {
	return len(line) > len(verb) && line[len(verb)] <= ' ' && strings.EqualFold(string(line[:len(verb)]), verb)
}

// upperASCII folds ASCII letters only: a verb with U+017F is no verb.
func upperASCII(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return 'a' <= r && r <= 'z' }) {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// dispatch answers a command or hands it to go-smtp.
func (w *wire) dispatch(c command) {
	switch c.verb {
	case "EHLO", "HELO":
		w.cmdHello(c)
	case "STARTTLS":
		w.cmdStartTLS(c.arg)
	case "AUTH":
		w.cmdAuth(c)
	case "MAIL":
		w.cmdMail(c.arg)
	case "RCPT":
		w.cmdRcpt(c.arg)
	case "DATA":
		w.cmdData(c.arg)
	case "BDAT":
		w.cmdBdat(c.arg)
	case "RSET":
		w.cmdPlain(c.arg, "RSET", expectReset)
	case "QUIT":
		w.cmdPlain(c.arg, "QUIT", expectQuit)
	default:
		w.dispatchHarmless(c)
	}
}

// dispatchHarmless answers the commands that change nothing, also between BDAT
// chunks.
func (w *wire) dispatchHarmless(c command) {
	switch c.verb {
	case "NOOP":
		w.idle(replyNoop)
	case "VRFY":
		w.idle(replyVrfy)
	case "EXPN", "HELP", "TURN", "ETRN", "ATRN", "SEND", "SOML", "SAML":
		w.answer(replyNotImplemented)
	case "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PATCH", "PRI":
		w.wrongProtocol()
	default:
		w.log.unknownCommand(c.verb, w.authTried)
		w.answer(replyUnknownCommand)
	}
}

// idle answers a command without effect, of which a client gets only so many
// between two messages.
func (w *wire) idle(r reply) {
	w.noops++
	if w.tooMany(w.noops, w.opts.MaxNoops, crowdedNoops) {
		r = replyTooManyNoops
	}
	w.answer(r)
}

// hand gives go-smtp a command.
func (w *wire) hand(line string, e expect) {
	w.expect = e
	w.pass = append(append(w.pass[:0], line...), "\r\n"...)
}

func (w *wire) cmdPlain(arg, verb string, e expect) {
	if arg != "" {
		w.answer(replyNoArgument)
		return
	}
	w.noops++
	if w.tooMany(w.noops, w.opts.MaxNoops, crowdedNoops) && e != expectQuit {
		w.answer(replyTooManyNoops)
		return
	}
	w.hand(verb, e)
}

// cmdHello gives go-smtp a name of our own: it has no use for the client's.
func (w *wire) cmdHello(c command) {
	if c.arg == "" || len(c.arg) > 255 || strings.Contains(c.arg, " ") {
		w.answer(replyHelloArgument)
		return
	}
	if w.hello != "" {
		w.noops++
	}
	if w.tooMany(w.noops, w.opts.MaxNoops, crowdedNoops) {
		w.answer(replyTooManyNoops)
		return
	}
	w.nextHello, w.extended = c.arg, c.verb == "EHLO"
	w.hand(c.verb+" client", expectHello)
}

// cmdStartTLS runs the whole upgrade; go-smtp never knows. All that it has seen
// of the plaintext session is an EHLO, which the client must repeat.
func (w *wire) cmdStartTLS(arg string) {
	switch {
	case arg != "":
		w.answer(replyNoArgument)
	case w.tls != nil:
		w.answer(replyTLSTwice)
	case w.srv.tls == nil:
		w.answer(replyTLSNone)
	case w.hello == "":
		w.answer(replyHelloFirst)
	case w.authed || w.tx.open:
		w.answer(replyTLSLate)
	case w.br.Buffered() > 0:
		w.log.hostile("starttls_injection")
		w.answer(replyTLSInjection)
	default:
		w.say(replyStartTLS)
		if w.flush() != nil || !w.startTLS() {
			w.closing = true
		}
		w.hello, w.nextHello, w.extended, w.authTried = "", "", false, false
	}
}

// cmdMail begins a transaction. Transactions are the wire's: go-smtp reads
// addresses by other rules than RFC 5321, and content until any end.
func (w *wire) cmdMail(arg string) {
	switch {
	case w.hello == "":
		w.answer(replyHelloFirst)
	case !w.authed && !w.srv.receiving:
		w.answer(replyAuthRequired)
	case w.tx.open:
		w.answer(replyNestedMail)
	default:
		m, r := w.parseMail(arg)
		if r != "" {
			w.answer(r)
			return
		}
		w.judge(w.mail(m), replySenderOK)
	}
}

func (w *wire) cmdRcpt(arg string) {
	switch {
	case w.hello == "":
		w.answer(replyHelloFirst)
	case !w.tx.open:
		w.answer(replyMailFirst)
	case w.tx.taken >= w.opts.MaxRecipients, w.srv.receiving && w.tx.taken > 0:
		w.say(replyTooManyRcpts)
	default:
		w.tx.tried = true
		t, r := w.parseRcpt(arg)
		if r != "" {
			w.answer(r)
			return
		}
		w.judge(w.recipient(t), replyRecipientOK)
	}
}

// judge answers a MAIL or RCPT whose syntax was right. A verdict is no error of
// the client: a list of a thousand recipients may have thirty bad ones.
func (w *wire) judge(verdict, accepted reply) {
	if verdict != "" {
		w.say(verdict)
		return
	}
	w.answer(accepted)
}

func (w *wire) cmdData(arg string) {
	if arg != "" {
		w.answer(replyNoArgument)
		return
	}
	if r := w.notReady(); r != "" {
		w.answer(r)
		return
	}
	w.line(replyGoAhead)
	w.receive(w.newDots())
}

// notReady returns the answer to DATA or BDAT when there is nobody to send to,
// else "".
func (w *wire) notReady() reply {
	switch {
	case w.hello == "":
		return replyHelloFirst
	case w.tx.taken > 0:
		return ""
	case w.tx.tried:
		return replyNoRecipients
	}
	return replyRcptFirst
}

// cmdBdat begins a transfer by chunks. The octets of a chunk that cannot be
// taken are read first (RFC 3030 2).
func (w *wire) cmdBdat(arg string) {
	size, last, ok := parseChunk(arg)
	if !ok {
		w.answer(replyBadChunk)
		return
	}
	c := w.newChunks(size, last)
	if r := w.notReady(); r != "" {
		w.hangup = !c.drain() || w.hangup
		w.answer(r)
		return
	}
	w.receive(c)
}

// parseChunk reads the argument of BDAT. 18 digits fit an int64.
func parseChunk(arg string) (size int64, last, ok bool) {
	digits, rest, _ := strings.Cut(arg, " ")
	rest = strings.Trim(rest, " ")
	last = strings.EqualFold(rest, "LAST")
	if rest != "" && !last || len(digits) > 18 || strings.Trim(digits, "0123456789") != "" {
		return 0, false, false
	}
	size, err := strconv.ParseInt(digits, 10, 64)
	return size, last, err == nil
}
