package relay

import (
	"context"
	"errors"

	"github.com/mailchute/mailchute/store"
)

// Verdict is what a Result means for its recipient.
type Verdict uint8

const (
	// Temporary: try again later. It is the verdict of everything unknown.
	Temporary Verdict = iota
	// Delivered: the next hop took responsibility.
	Delivered
	// Permanent: trying again is pointless.
	Permanent
	// Uncertain: delivered or not, nobody can tell.
	Uncertain
	// Interrupted: we were stopped before the final dot; the remote is not to blame.
	Interrupted
	// Damaged: our copy of the message is not what was accepted.
	Damaged
)

// String returns the name of the verdict in lower case.
func (v Verdict) String() string {
	names := [...]string{"temporary", "delivered", "permanent", "uncertain", "interrupted", "damaged"}
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown"
}

// Verdict decides what the result means. The first digit of the reply decides (RFC 5321 4.2.1), except:
//
//   - Without a usable reply it is temporary.
//   - 2xx means delivered only after the final dot.
//   - 5xx to the connection, EHLO, STARTTLS or AUTH speaks of us, our address or our password, not of the recipient: the
//     operator can mend it while the message waits. Only 521 and 556 say that the host never takes mail (RFC 7504).
//   - 530, 534, 535 and 538 speak of our authentication wherever they come.
//   - 552 at RCPT means too many recipients in this transaction (RFC 5321 4.5.3.1.10).
//   - 503 says that the two sides disagree about the state of the session, which a new session repairs.
func (r Result) Verdict() Verdict {
	switch {
	case r.Uncertain:
		return Uncertain
	case errors.Is(r.Err, store.ErrDamaged):
		return Damaged
	case errors.Is(r.Err, errInterrupted) || errors.Is(r.Err, context.Canceled):
		return Interrupted
	case r.Err != nil:
		return Temporary
	}
	return replyVerdict(r.Reply)
}

func replyVerdict(r store.Reply) Verdict {
	switch {
	case r.Code/100 == 2 && r.Command == phaseDot:
		return Delivered
	case r.Code < 500 || r.Code > 599:
		return Temporary
	case r.Code == 530 || r.Code == 534 || r.Code == 535 || r.Code == 538 || r.Code == 503:
		return Temporary
	case r.Command == phaseRcpt && r.Code == 552:
		return Temporary
	case r.Command == phaseAuth || r.Command == phaseTLS || r.Command == phaseReset:
		return Temporary
	case r.Command == phaseConnect || r.Command == phaseHello:
		if r.Code == 521 || r.Code == 556 {
			return Permanent
		}
		return Temporary
	}
	return Permanent
}

// Phases of a session, as store.Reply.Command tells them.
const (
	phaseList    = "suppressions"
	phaseRoute   = "route"
	phaseSign    = "sign"
	phaseDNS     = "dns"
	phaseConnect = "connect"
	phaseHello   = "ehlo"
	phaseTLS     = "starttls"
	phaseAuth    = "auth"
	phaseReset   = "rset"
	phaseMail    = "mail"
	phaseRcpt    = "rcpt"
	phaseData    = "data"
	phaseBody    = "body"
	phaseDot     = "dot"
)

// errInterrupted marks an attempt that was cancelled before its final dot.
var errInterrupted = errors.New("stopped before the message was handed over")
