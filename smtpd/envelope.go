package smtpd

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/message"
)

// transaction is what MAIL and RCPT have gathered.
type transaction struct {
	open     bool
	tried    bool // a RCPT has come
	taken    int  // recipients answered 250, repeated ones counted
	envelope *intake.Envelope
	first    string              // mailbox of the first recipient
	others   map[string]struct{} // mailboxes of the others
}

// mailArgs are the checked arguments of one MAIL.
type mailArgs struct {
	from     message.Address
	utf8     bool
	eightBit bool
	ret      string
	envID    string
	tls      bool // REQUIRETLS
}

// rcptArgs are the checked arguments of one RCPT.
type rcptArgs struct {
	to     message.Address
	notify string
	orcpt  string
}

// mail decides about a MAIL whose syntax is right. "" accepts.
func (w *wire) mail(m mailArgs) reply {
	if !w.srv.auth.Alive(w.principal) {
		w.log.authFailed(replyAuthRevoked, auth.ErrDenied)
		return replyAuthRevoked
	}
	if w.opts.Healthy != nil {
		if err := w.opts.Healthy(); err != nil {
			return w.refusedAddress("MAIL", m.from, err)
		}
	}
	if err := w.srv.in.CheckSender(w.principal, m.from); err != nil {
		return w.refusedAddress("MAIL", m.from, err)
	}
	w.tx = transaction{open: true, envelope: &intake.Envelope{
		From: m.from.String(), UTF8: m.utf8, EightBit: m.eightBit, Ret: m.ret, EnvID: m.envID, RequireTLS: m.tls,
	}}
	return ""
}

// recipient decides about a RCPT whose syntax is right. "" accepts. The same
// mailbox again is accepted and delivered to once.
func (w *wire) recipient(t rcptArgs) reply {
	if t.to.PrivateLiteral() && !w.opts.AllowPrivateLiterals {
		w.log.addressRefused("RCPT", t.to.String(), replyPrivateLiteral, nil)
		return replyPrivateLiteral
	}
	if err := w.srv.in.CheckRecipient(w.principal, t.to); err != nil {
		return w.refusedAddress("RCPT", t.to, err)
	}
	w.tx.taken++
	address := t.to.String()
	if w.tx.isNew(mailbox(t.to, address)) {
		w.tx.envelope.Recipients = append(w.tx.envelope.Recipients, intake.Recipient{Address: address, Notify: t.notify, ORcpt: t.orcpt})
	}
	return ""
}

// isNew notes a mailbox and tells whether it was not there. Most messages have
// one recipient and need no map.
func (t *transaction) isNew(mailbox string) bool {
	if t.first == "" {
		t.first = mailbox
		return true
	}
	if t.others == nil {
		t.others = make(map[string]struct{})
	}
	_, twice := t.others[mailbox]
	t.others[mailbox] = struct{}{}
	return !twice && mailbox != t.first
}

func (w *wire) refusedAddress(command string, a message.Address, err error) reply {
	r := replyFor(err)
	w.log.addressRefused(command, a.String(), r, err)
	return r
}

// mailbox is equal for addresses that message.Address.Equal holds for. Text is
// what the address is written as.
func mailbox(a message.Address, text string) string {
	domain, err := message.Destination(a)
	if err != nil {
		domain = strings.ToLower(a.Domain)
	}
	local := a.Local
	if strings.EqualFold(local, "postmaster") {
		local = "postmaster"
	}
	if domain == a.Domain && local == a.Local && len(text) == len(local)+len("@")+len(domain) {
		return text
	}
	return local + "@" + domain
}

// envelope is the transaction with what is known of the session.
func (w *wire) envelope() *intake.Envelope {
	e := w.tx.envelope
	e.Principal = w.principal
	e.Client = w.client
	e.Hello = w.hello
	e.Protocol = message.ProtocolWord(w.extended, e.UTF8, w.tls != nil, w.authed)
	e.TLS = tlsWords(w.tls)
	return e
}

// parseMail reads the argument of MAIL; a reply other than "" refuses it.
func (w *wire) parseMail(arg string) (mailArgs, reply) {
	var m mailArgs
	path, params, ok := cutPath(arg, "FROM:")
	if !ok {
		return m, replySenderSyntax
	}
	seen, r := splitParams(params)
	if r != "" {
		return m, r
	}
	for _, p := range seen {
		if r := w.mailParam(&m, p); r != "" {
			return m, r
		}
	}
	if path == "<>" {
		return m, ""
	}
	var err error
	m.from, err = w.parseAddress(path, m.utf8)
	return m, addressReply(err, replySenderSyntax, replySenderDomain)
}

func (w *wire) mailParam(m *mailArgs, p param) reply {
	switch p.key {
	case "SIZE":
		return w.checkSize(p.value)
	case "BODY":
		m.eightBit = strings.EqualFold(p.value, "8BITMIME")
		return validIf(m.eightBit || strings.EqualFold(p.value, "7BIT"))
	case "SMTPUTF8":
		m.utf8 = true
		return validIf(!p.has)
	case "RET":
		m.ret = upperASCII(p.value)
		return validIf(m.ret == "FULL" || m.ret == "HDRS")
	case "ENVID":
		id, ok := decodeXtext(p.value)
		m.envID = id
		return validIf(ok && id != "" && len(p.value) <= 100)
	case "REQUIRETLS": // RFC 8689 4.1: only what came over TLS can demand it
		m.tls = true
		if w.tls == nil {
			return replyNeedsTLS
		}
		return validIf(!p.has)
	case "AUTH": // RFC 4954 5: we do not trust it, and need no more than its syntax
		who, ok := decodeXtext(p.value)
		return validIf(ok && who != "")
	}
	return replyUnknownParam
}

// checkSize reads SIZE (RFC 1870 4: up to 20 digits, more than 64 bits hold).
func (w *wire) checkSize(s string) reply {
	if s == "" || len(s) > 20 || strings.Trim(s, "0123456789") != "" {
		return replyBadParam
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > w.opts.MaxMessageBytes {
		return replyTooLarge
	}
	return ""
}

// parseRcpt reads the argument of RCPT; a reply other than "" refuses it.
func (w *wire) parseRcpt(arg string) (rcptArgs, reply) {
	var t rcptArgs
	path, params, ok := cutPath(arg, "TO:")
	if !ok || path == "<>" {
		return t, replyRecipientSyntax
	}
	seen, r := splitParams(params)
	if r != "" {
		return t, r
	}
	for _, p := range seen {
		if r := rcptParam(&t, p); r != "" {
			return t, r
		}
	}
	if w.srv.receiving && strings.EqualFold(path, "<postmaster>") { // RFC 5321 4.5.1: without a domain it is ours
		t.to = message.Address{Local: "postmaster", Domain: w.opts.Hostname}
		return t, ""
	}
	var err error
	t.to, err = w.parseAddress(path, w.tx.envelope.UTF8)
	return t, addressReply(err, replyRecipientSyntax, replyRecipientDomain)
}

func rcptParam(t *rcptArgs, p param) reply {
	switch p.key {
	case "NOTIFY":
		t.notify = upperASCII(p.value)
		return validIf(validNotify(t.notify))
	case "ORCPT":
		var ok bool
		t.orcpt, ok = decodeORcpt(p.value)
		return validIf(ok && len(p.value) <= 500)
	}
	return replyUnknownParam
}

func validIf(ok bool) reply {
	if !ok {
		return replyBadParam
	}
	return ""
}

// validNotify holds for NEVER alone or a set of the other three (RFC 3461 4.1).
func validNotify(s string) bool {
	if s == "NEVER" {
		return true
	}
	words := strings.Split(s, ",")
	slices.Sort(words)
	for i, v := range words {
		if v != "SUCCESS" && v != "FAILURE" && v != "DELAY" || i > 0 && words[i-1] == v {
			return false
		}
	}
	return true
}

// parseAddress reads a path and lets the configured dotless domains pass.
func (w *wire) parseAddress(path string, utf8 bool) (message.Address, error) {
	a, err := message.ParsePath(path, utf8)
	if !errors.Is(err, message.ErrAddressNotFQDN) || !w.singleLabel(a.Domain) {
		return a, err
	}
	// Everything else about the address is judged as with a dotted domain.
	dotted, err := message.FromUnquoted(a.Local+"@"+a.Domain+".example", utf8)
	return message.Address{Local: dotted.Local, Domain: a.Domain}, err
}

func (w *wire) singleLabel(domain string) bool {
	return slices.ContainsFunc(w.opts.SingleLabelDomains, func(d string) bool { return strings.EqualFold(d, domain) })
}

// cutPath splits the argument of MAIL or RCPT behind the closing bracket of its
// path, which may stand in the quoted local part too.
func cutPath(arg, prefix string) (path, params string, ok bool) {
	if len(arg) < len(prefix) || !strings.EqualFold(arg[:len(prefix)], prefix) {
		return "", "", false
	}
	s := strings.TrimLeft(arg[len(prefix):], " ") // a space there is wrong and common
	if !strings.HasPrefix(s, "<") {
		return "", "", false
	}
	quoted := false
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == '>' && !quoted:
			path, params = s[:i+1], s[i+1:]
			return path, params, params == "" || params[0] == ' '
		}
	}
	return "", "", false
}

// param is one ESMTP parameter.
type param struct {
	key   string // in upper case
	value string
	has   bool // there was a =
}

// splitParams reads parameters. go-smtp keeps the last of two with the same name,
// and two readers of one command would see two meanings.
func splitParams(s string) ([]param, reply) {
	var ps []param
	for word := range strings.FieldsSeq(s) {
		key, value, has := strings.Cut(word, "=")
		p := param{upperASCII(key), value, has}
		if slices.ContainsFunc(ps, func(q param) bool { return q.key == p.key }) {
			return nil, replyDuplicateParam
		}
		ps = append(ps, p)
	}
	return ps, ""
}

// decodeXtext decodes xtext (RFC 3461 4) whose meaning is printable text.
func decodeXtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			c = byte(n)
			i += 2
		} else if c < '!' || c > '~' || c == '=' {
			return "", false
		}
		b.WriteByte(c)
	}
	return b.String(), printableText(b.String())
}

// isHex holds for the digits that RFC 3461 allows, upper case only.
func isHex(c byte) bool { return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' }

// decodeORcpt decodes ORCPT to type;address. The utf-8 type (RFC 6533 3) comes
// with embedded \x{HEX} or as plain UTF-8.
func decodeORcpt(s string) (string, bool) {
	kind, addr, ok := strings.Cut(s, ";")
	if !ok || kind == "" || addr == "" || strings.Trim(upperASCII(kind), "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
		return "", false
	}
	if strings.EqualFold(kind, "utf-8") {
		addr, ok = decodeUnitext(addr)
	} else {
		addr, ok = decodeXtext(addr)
	}
	return kind + ";" + addr, ok
}

// decodeUnitext replaces \x{HEX} by its character.
func decodeUnitext(s string) (string, bool) {
	var b strings.Builder
	for {
		head, rest, found := strings.Cut(s, `\x{`)
		b.WriteString(head)
		if !found {
			return b.String(), printableText(b.String())
		}
		digits, tail, closed := strings.Cut(rest, "}")
		n, err := strconv.ParseUint(digits, 16, 21)
		if !closed || err != nil || !utf8.ValidRune(rune(n)) {
			return "", false
		}
		b.WriteRune(rune(n))
		s = tail
	}
}

// printableText holds for valid UTF-8 that can go into a header line of ours.
func printableText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
