// Package tlsrpt counts how TLS fared on the way to each domain and writes the daily reports that domains ask for (RFC 8460).
//
// Whoever ends a connection to a mail host tells the Recorder, one Session for each policy that applied. A Reporter looks after midnight UTC who wants
// the reports, and sends them by mail or HTTPS, with three rules of the RFC: they are spread over the hours after midnight instead of being sent all at
// once (4.1), they are delivered whatever the domain's TLS policy says, which TLS-Required: No in the mail form asks for (3), and whoever delivers them
// records no sessions that only delivered reports (5.3, or two servers would report on each other's reports for ever).
//
// # Bounds and durability
//
// Memory is bounded by Options.MaxRows. What no longer fits is still counted in its summary, without its details. The counts are written to one
// file, by Run every minute and when it ends, replaced whole by rename; a crash loses at most the counts since then, which is no loss of mail.
package tlsrpt
