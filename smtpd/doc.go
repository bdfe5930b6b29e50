// Package smtpd accepts submissions over SMTP (RFC 6409): it speaks the
// protocol, asks auth who the client is, and hands envelope and octets to
// intake. It is not responsible for what a message may contain, for streams, or
// for making anything durable.
//
// Between the socket and go-smtp stands the wire, a net.Conn that gives go-smtp
// one complete and checked command at a time and sees every reply that go-smtp
// makes. go-smtp drives sessions and SASL; the wire owns TLS, limits, deadlines,
// transactions from MAIL to the last octet of DATA and BDAT, and what the client
// reads. go-smtp never hears of those, nor of anything that the wire refuses.
//
// Whatever goes wrong while a message is read, the connection ends: what is left
// of a body is never read as commands.
package smtpd
