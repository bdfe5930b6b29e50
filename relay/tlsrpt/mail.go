package tlsrpt

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

// Mail returns the report as a message with CRLF line ends, unsigned (RFC 8460 5.3). from and to are bare addresses; from's domain must be
// one that the caller signs for with DKIM, and whose signature covers the TLS-Report fields. TLS-Required: No (RFC 8689 5) lets it reach domains whose TLS is
// what the report complains of. The same report at the same time gives the same octets.
func (r Report) Mail(from, to string, now time.Time) ([]byte, error) {
	for _, s := range []string{from, to} {
		if !mailbox(s) {
			return nil, fmt.Errorf("writing TLS report: %q is not a plain address", s)
		}
	}
	body, err := r.Gzip()
	if err != nil {
		return nil, err
	}
	boundary := "tlsrpt-" + digest(r.ID) // base64 and our own text have no line that begins with "--"
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("From: <%s>", from)
	line("To: <%s>", to)
	line("Date: %s", now.Format(time.RFC1123Z))
	line("Subject: Report Domain: %s", r.domain)
	line(" Submitter: %s", r.submitter)
	line(" Report-ID: <%s>", r.ID)
	line("Message-ID: <%s>", r.ID)
	line("TLS-Report-Domain: %s", r.domain)
	line("TLS-Report-Submitter: %s", r.submitter)
	line("TLS-Required: No")
	line("Auto-Submitted: auto-generated")
	line("MIME-Version: 1.0")
	line("Content-Type: multipart/report; report-type=\"tlsrpt\";")
	line(" boundary=\"%s\"", boundary)
	line("")
	line("--%s", boundary)
	line("Content-Type: text/plain; charset=us-ascii")
	line("")
	line("This is an aggregate TLS report of %s", r.submitter)
	line("about mail sent to %s", r.domain)
	line("from %s to %s.", r.Range.Start.Format(time.RFC3339), r.Range.End.Format(time.RFC3339))
	line("")
	line("--%s", boundary)
	line("Content-Type: application/tlsrpt+gzip")
	line("Content-Transfer-Encoding: base64")
	line("Content-Disposition: attachment;")
	line(" filename=\"%s\"", r.Filename())
	line("")
	b.WriteString(lines(base64.StdEncoding.EncodeToString(body)))
	line("--%s--", boundary)
	return b.Bytes(), nil
}

// lines breaks a text into lines of 76 (RFC 2045 6.8).
func lines(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		n := min(76, len(s))
		b.WriteString(s[:n] + "\r\n")
		s = s[n:]
	}
	return b.String()
}
