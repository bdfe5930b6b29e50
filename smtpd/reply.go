package smtpd

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// reply is one line as the client gets it, without CRLF: code, enhanced code
// (RFC 2034) and constant text. This file is the only one that has any.
type reply string

// Replies to connections and to anything at any time.
const (
	replyTooManyConns   reply = "421 4.3.2 too many connections, try again later"
	replyNetworkLimit   reply = "421 4.7.0 too many connections from your network, try again later"
	replyBoxed          reply = "421 4.7.0 too many failed logins from your network, try again later"
	replyNotProxied     reply = "421 4.7.0 connections must come through the proxy"
	replyStopping       reply = "421 4.3.2 server is shutting down, try again later"
	replyIdle           reply = "421 4.4.2 timeout, closing connection"
	replyPanic          reply = "421 4.3.0 internal error, closing connection"
	replyTooManyErrors  reply = "421 4.7.0 too many errors, closing connection"
	replyTooManyNoops   reply = "421 4.7.0 too many commands without effect, closing connection"
	replyTooManyCmds    reply = "421 4.7.0 too many commands, closing connection"
	replyTooManyMsgs    reply = "421 4.7.0 too many messages on one connection, open another"
	replyEarlyTalk      reply = "554 5.5.0 client spoke before the banner, closing connection"
	replyWrongProtocol  reply = "554 5.5.1 this is an SMTP server, closing connection"
	replyLineTooLong    reply = "500 5.5.2 command line too long, closing connection"
	replyBareLF         reply = "500 5.5.2 command lines must end in CRLF"
	replyControlChars   reply = "500 5.5.2 command contains characters that are not allowed"
	replyUnknownCommand reply = "500 5.5.2 command not recognised"
	replyNotImplemented reply = "502 5.5.1 command not implemented"
	replyNoArgument     reply = "501 5.5.4 command takes no argument"
	replyNoop           reply = "250 2.0.0 ok"
	replyVrfy           reply = "252 2.5.0 not verified, send some mail and see"
	replyReset          reply = "250 2.0.0 reset"
	replyBye            reply = "221 2.0.0 bye"
	replyHelloFirst     reply = "503 5.5.1 send EHLO first"
	replyHelloArgument  reply = "501 5.5.4 EHLO and HELO need a name or address literal"
)

// Replies to STARTTLS and AUTH.
const (
	replyStartTLS     reply = "220 2.0.0 ready to start TLS"
	replyTLSTwice     reply = "503 5.5.1 TLS is running already"
	replyTLSLate      reply = "503 5.5.1 STARTTLS is not possible now"
	replyTLSNone      reply = "502 5.5.1 STARTTLS is not offered"
	replyTLSInjection reply = "554 5.5.0 commands behind STARTTLS, closing connection"

	replyAuthOK          reply = "235 2.7.0 authenticated"
	replyAuthTwice       reply = "503 5.5.1 authenticated already"
	replyAuthInMail      reply = "503 5.5.1 AUTH is not possible within a transaction"
	replyAuthNeedsTLS    reply = "538 5.7.11 encryption required, use STARTTLS first"
	replyAuthMechanism   reply = "504 5.5.4 mechanism not supported"
	replyAuthSyntax      reply = "501 5.5.4 AUTH needs a mechanism and at most one response"
	replyAuthMalformed   reply = "501 5.5.2 malformed response"
	replyAuthCancelled   reply = "501 5.0.0 authentication cancelled"
	replyAuthTooLong     reply = "500 5.5.6 response too long"
	replyAuthDenied      reply = "535 5.7.8 authentication failed"
	replyAuthUnavailable reply = "454 4.7.0 authentication not possible now, try again later"
	replyAuthTooMany     reply = "421 4.7.0 too many failed logins, closing connection"
	replyAuthRequired    reply = "530 5.7.0 authentication required"
	replyAuthRevoked     reply = "535 5.7.8 credential is no longer valid, closing connection"
)

// Replies to MAIL and RCPT.
const (
	replySenderOK        reply = "250 2.1.0 ok"
	replyRecipientOK     reply = "250 2.1.5 ok"
	replyNestedMail      reply = "503 5.5.1 a transaction is open already"
	replyMailFirst       reply = "503 5.5.1 send MAIL first"
	replySenderSyntax    reply = "501 5.1.7 sender address has invalid syntax"
	replySenderDomain    reply = "554 5.1.8 sender domain is not fully qualified"
	replyRecipientSyntax reply = "501 5.1.3 recipient address has invalid syntax"
	replyRecipientDomain reply = "554 5.1.2 recipient domain is not fully qualified"
	replyNeedsUTF8       reply = "553 5.6.7 address needs SMTPUTF8"
	replyNeedsTLS        reply = "523 5.7.10 REQUIRETLS needs an encrypted connection, use STARTTLS first"
	replyPrivateLiteral  reply = "550 5.7.1 mail to this address literal is not allowed"
	replyTooManyRcpts    reply = "452 4.5.3 too many recipients"
	replyUnknownParam    reply = "555 5.5.4 parameter not recognised"
	replyDuplicateParam  reply = "501 5.5.4 parameter given twice"
	replyBadParam        reply = "501 5.5.4 parameter has an invalid value"
	replyTooLarge        reply = "552 5.3.4 message is larger than this server accepts"
)

// Replies to DATA and BDAT.
const (
	replyGoAhead       reply = "354 end data with <CR><LF>.<CR><LF>"
	replyNoRecipients  reply = "554 5.5.1 no valid recipients"
	replyRcptFirst     reply = "503 5.5.1 send MAIL and RCPT first"
	replyChunkOK       reply = "250 2.0.0 chunk taken"
	replyInTransfer    reply = "503 5.5.1 not possible between BDAT chunks, message discarded"
	replyBadChunk      reply = "501 5.5.4 malformed BDAT, closing connection"
	replySmuggling     reply = "550 5.5.2 message contains a bare CR, a NUL or a lone dot with odd line ends"
	replyTransferEnded reply = "421 4.4.2 transfer ended before the message, closing connection"
	replyTransferSlow  reply = "421 4.4.2 transfer too slow, closing connection"
	replyTemporary     reply = "451 4.3.0 temporary fault, try again later"
	replyFull          reply = "452 4.3.1 no space for new mail, try again later"
)

// replyBanner is the greeting. It has no enhanced code (RFC 2034 4).
func replyBanner(host string) reply { return reply("220 " + host + " ESMTP mailchute") }

// replyHello lists the extensions, the first line without the client's own
// words. It has no enhanced code (RFC 2034 4).
func replyHello(host string, extensions ...string) string {
	lines := append([]string{host}, extensions...)
	var b strings.Builder
	for i, line := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		b.WriteString("250" + sep + line + "\r\n")
	}
	return b.String()
}

// replyQueued is the one reply that takes responsibility for a message.
func replyQueued(id store.ID) reply { return reply("250 2.0.0 queued as " + id.String()) }

// code returns the reply code, 0 for a reply that has none.
func (r reply) code() int {
	n, err := strconv.Atoi(string(r[:min(len(r), 3)]))
	if err != nil {
		return 0
	}
	return n
}

// closes tells whether the connection ends behind the reply: it must after every
// 421 (RFC 5321 3.8) and after what shows a client out of step or hostile.
func (r reply) closes() bool {
	switch r {
	case replyBye, replyEarlyTalk, replyWrongProtocol, replyLineTooLong, replyTLSInjection, replyBadChunk,
		replySmuggling, replyAuthRevoked:
		return true
	}
	return r.code() == 421
}

// smtpError turns a reply into what go-smtp writes as it is.
func (r reply) smtpError() *smtp.SMTPError {
	_, rest, _ := strings.Cut(string(r), " ")
	enhanced, text, _ := strings.Cut(rest, " ")
	e := &smtp.SMTPError{Code: r.code(), Message: text}
	for i := range e.EnhancedCode {
		var digits string
		digits, enhanced, _ = strings.Cut(enhanced, ".")
		e.EnhancedCode[i], _ = strconv.Atoi(digits) // every reply of this file has three numbers, a test sees to it
	}
	return e
}

// replyFor is the verdict on any error of a collaborator. What it does not know
// is temporary, and no text but that of a Refusal reaches the client.
func replyFor(err error) reply {
	var refused *intake.Refusal
	switch {
	case errors.As(err, &refused):
		return refusalReply(refused)
	case errors.Is(err, message.ErrSmuggling):
		return replySmuggling
	case errors.Is(err, message.ErrTooLarge):
		return replyTooLarge
	case errors.Is(err, store.ErrFull):
		return replyFull
	case errors.Is(err, store.ErrClosed), errors.Is(err, context.Canceled):
		return replyStopping
	}
	return replyTemporary
}

// authReply is the verdict on an error of an authentication.
func authReply(err error) reply {
	var denied *auth.DeniedError
	switch {
	case errors.As(err, &denied) && denied.Close, errors.Is(err, auth.ErrThrottled):
		return replyAuthTooMany
	case errors.Is(err, auth.ErrDenied):
		return replyAuthDenied
	case errors.Is(err, auth.ErrMalformed):
		return replyAuthMalformed
	case errors.Is(err, context.Canceled):
		return replyStopping
	}
	return replyAuthUnavailable
}

// refusalReply gives the code of a kind with the words of the refusal.
func refusalReply(r *intake.Refusal) reply {
	switch r.Kind {
	case intake.KindSmuggling:
		return replySmuggling
	case intake.KindTooLarge:
		return replyTooLarge
	case intake.KindRevoked:
		return replyAuthRevoked
	case intake.KindFull:
		return replyFull
	case intake.KindShuttingDown:
		return replyStopping
	}
	return kindPrefix(r.Kind).with(r.Reason)
}

// kindPrefix is the code of the kinds whose text is the refusal's reason.
func kindPrefix(k intake.Kind) reply {
	switch k {
	case intake.KindSender, intake.KindStream, intake.KindSuppressed:
		return "550 5.7.1 "
	case intake.KindRelaying:
		return "550 5.7.1 "
	case intake.KindRecipient:
		return "550 5.1.3 "
	case intake.KindNoMailbox:
		return "550 5.1.1 "
	case intake.KindNullMX:
		return "556 5.1.10 "
	case intake.KindNoDomain:
		return "550 5.1.2 "
	case intake.KindBusy:
		return "451 4.7.1 "
	case intake.KindBareLF:
		return "550 5.5.2 "
	case intake.KindLineTooLong, intake.KindHeaderSyntax:
		return "554 5.6.0 "
	case intake.KindHeaderFields, intake.KindControl, intake.KindConflict:
		return "550 5.6.0 "
	case intake.KindLoop:
		return "554 5.4.6 "
	}
	return "451 4.3.0 "
}

// maxReplyText keeps a whole line under the 512 octets of RFC 5321 4.5.3.1.5.
const maxReplyText = 480

// with appends text, cut and cleaned to printable ASCII, whatever it contains.
func (r reply) with(text string) reply {
	if text == "" {
		text = "refused"
	}
	clean := []byte(text[:min(len(text), maxReplyText)])
	for i, c := range clean {
		if c < ' ' || c > '~' {
			clean[i] = '?'
		}
	}
	return r + reply(clean)
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// addressReply is the verdict on an address: syntax and domain differ between
// sender and recipient. "" accepts.
func addressReply(err error, syntax, domain reply) reply {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, message.ErrAddressUTF8):
		return replyNeedsUTF8
	case errors.Is(err, message.ErrAddressNotFQDN):
		return domain
	}
	return syntax
}
