package relay

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/mailchute/mailchute/relay/tlsrpt"
	"github.com/mailchute/mailchute/store"
)

// fault is why a step towards a next hop did not succeed: a reply that refuses, or an error of ours or the network.
type fault struct {
	reply store.Reply
	err   error
	// handshake is set when TLS was agreed on and then failed.
	handshake bool
	// tls is what a report says about it; "" where TLS is not to blame.
	tls tlsrpt.Result
	// nowhere is set when this machine has no way to the address, so that nothing was tried.
	nowhere bool
	// short is set when this process lacked descriptors or memory: that says nothing about anybody else.
	short bool
	// over is set when the session has ended after it served something, and nothing else was wrong with it.
	over bool
	// fresh is set when nothing at all was answered on this connection since it was taken from the pool.
	fresh bool
}

// refusal is a fault that the remote put into words.
func refusal(r store.Reply) *fault { return &fault{reply: r} }

// broken is a fault of the network or of the protocol, with an enhanced code of ours.
func broken(phase string, detail [2]int, err error, at time.Time) *fault {
	return &fault{
		reply: store.Reply{Command: phase, Enhanced: [3]int{4, detail[0], detail[1]}, Text: escape(err.Error()), At: at},
		err:   err,
	}
}

// shortage tells whether an error is about what this process lacks.
func shortage(err error) bool {
	for _, short := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, short) {
			return true
		}
	}
	return false
}

// own is a permanent fault in our own words.
func own(phase string, code int, detail [2]int, at time.Time, format string, args ...any) *fault {
	return &fault{reply: store.Reply{
		Command: phase, Code: code, Enhanced: [3]int{code / 100, detail[0], detail[1]}, At: at,
		Text: escape(fmt.Sprintf(format, args...)),
	}}
}

func (f *fault) result(detail string) Result {
	return Result{Reply: f.reply, Err: f.err, Detail: detail}
}

// worse keeps the fault that leaves more hope: mail is returned only when every host refuses it for good.
func worse(old, new *fault) *fault {
	if old == nil || new.result("").Verdict() != Permanent {
		return new
	}
	return old
}

// Enhanced status details of our own faults (RFC 3463, RFC 7505).
var (
	detailNoHost    = [2]int{1, 2}  // bad destination system address
	detailNullMX    = [2]int{1, 10} // recipient address has null MX
	detailAddress   = [2]int{1, 3}  // bad destination mailbox address syntax
	detailSender    = [2]int{1, 7}  // bad sender's mailbox address syntax
	detailNoAnswer  = [2]int{4, 1}  // no answer from host
	detailLost      = [2]int{4, 2}  // bad connection
	detailDirectory = [2]int{4, 3}  // directory server failure: DNS
	detailRoute     = [2]int{4, 4}  // unable to route
	detailProtocol  = [2]int{5, 0}  // other or undefined protocol status
	detailLoop      = [2]int{4, 6}  // routing loop detected
	detailTooLarge  = [2]int{3, 4}  // message too big for system
	detailEightBit  = [2]int{6, 3}  // conversion required but not supported
	detailUTF8      = [2]int{6, 7}  // non-ASCII addresses not permitted
	detailTLS       = [2]int{7, 5}  // cryptographic failure
	detailAuth      = [2]int{7, 0}  // other or undefined security status
	detailLocal     = [2]int{3, 0}  // other or undefined mail system status
)
