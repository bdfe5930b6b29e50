// Package tlsrpt counts how TLS fared on the way to each domain and writes the daily reports that domains ask for (RFC 8460).
//
// Whoever ends a connection to a mail host tells the Recorder, one Session for each policy that applied. After midnight UTC:
//
//	for _, key := range recorder.Pending(now) {
//		record, err := tlsrpt.ParseRecord(txt of "_smtp._tls." + key.Domain) // none: just Forget
//		report, ok := recorder.Report(key.Domain, key.Day)
//		body, err := report.Gzip()              // for https: POST as application/tlsrpt+gzip
//		mail, err := report.Mail(from, to, now) // for mailto:, to be signed with DKIM by the caller
//		recorder.Forget(key.Domain, key.Day)
//	}
//
// Sending is the caller's, with three rules of the RFC: spread reports over the hours after midnight instead of sending them all at once (4.1), deliver them whatever
// the domain's TLS policy says, which TLS-Required: No in the mail form asks for (3), and record no sessions that only delivered reports (5.3, or two
// servers would report on each other's reports for ever).
//
// # Bounds and durability
//
// Memory is bounded by Options.MaxRows. What no longer fits is still counted in its summary, without its details. The counts are written to one
// file, by Run every minute and when it ends, replaced whole by rename; a crash loses at most the counts since then, which is no loss of mail.
package tlsrpt
