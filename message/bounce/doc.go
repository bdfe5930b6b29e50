// Package bounce reads what comes back about a message: delivery status notifications (RFC 3464, in the report of
// RFC 6522), the plain texts of servers that know no such reports, complaints in ARF (RFC 5965), and the answers of
// vacation programs. And it says what a failure means: its type, whether it is hard, whose fault it is.
//
// Everything here is a pure function of octets that a stranger wrote. All work is bounded by Limits, no input is an
// error, and nothing that is read is trusted: a report can say what became of a message that we know of already, it can
// never name one.
package bounce
