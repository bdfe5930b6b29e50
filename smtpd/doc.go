// Package smtpd accepts submissions over SMTP (RFC 6409): it speaks the
// protocol, asks auth who the client is, and hands envelope and octets to
// intake. It is not responsible for what a message may contain, for streams, or
// for making anything durable.
//
// Between the socket and go-smtp stands the wire, a net.Conn that gives go-smtp
// one complete and checked command at a time and sees every reply that go-smtp
// makes. go-smtp drives sessions, transactions and SASL; the wire owns TLS,
// limits, deadlines, the octets of DATA and BDAT, and what the client reads.
// Everything that the wire refuses, go-smtp never hears of.
//
// Whatever goes wrong while a message is read, the connection ends: what is left
// of a body is never read as commands.
package smtpd
