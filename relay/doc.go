// Package relay is the way out: it takes queued deliveries from a [store.Queue], sends them to the next hop and records
// what became of each recipient.
//
// # Who decides what
//
//	dispatcher.go  one goroutine owns the schedule: when a delivery may start
//	turns.go       who is next: classes, servers, streams
//	site.go        what is learned of a destination: limits, rests, silence
//	receivers.go   where the limits of large receivers begin
//	mode.go        what an attempt does: capture, redirect, send, or wait for a stream that is gone
//	transport.go   the network: routes, connections, one Result per recipient
//	visit.go       one host: kept connections, sessions that end, the next one
//	requiretls.go  what a message itself demands of TLS (RFC 8689)
//	domainbook.go  domains that take no mail, for those who ask at submission
//	withhold.go    recipients that were suppressed while they waited
//	verdict.go     the only place that tells permanent from temporary
//	policy.go      the retry schedule and the new state of a delivery, a pure function
//	transcript.go  the conversation of an attempt, for people
//	explain.go     why a delivery waits
//	bounce.go      the notices that a result causes
//
// # What happens when something fails
//
//   - An unknown failure is temporary. A permanent verdict needs a reply of the remote, or a fact of ours, that
//     verdict.go lists.
//   - A delivery is claimed before anything is dialled, and resolved after the remote answered. A crash between the two
//     repeats the attempt when the lease ends.
//   - Up to the final dot an attempt can be cancelled: the remote has not taken responsibility, and the delivery is due
//     again at once. From the final dot on it cannot; the answer is awaited under a deadline of its own.
//   - An answer to the final dot that was lost is neither success nor failure. The delivery is marked uncertain and is
//     not tried again before Options.UncertainWait, and not at another host of the same attempt (RFC 5321 6.1).
//   - A result that cannot be recorded is retried until the store takes it or the process stops.
//   - A body that turns out damaged while it is sent never gets its final dot: the connection is cut and the delivery is held.
//   - A wall clock that jumps ahead expires nothing: the jump is not counted (clock.go).
//   - A panic in an attempt costs that attempt only. Three of them on one message hold it.
//   - A delivery whose stream or server is gone waits, since a deletion may be a mistake that is undone; it is cancelled
//     when it expires, without a notice. An archived stream delivers what it has.
package relay
