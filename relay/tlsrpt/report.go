package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"time"
)

// Report is the report on one domain and day. Its JSON is that of RFC 8460 4.4.
type Report struct {
	Organization string         `json:"organization-name"`
	Range        DateRange      `json:"date-range"`
	Contact      string         `json:"contact-info,omitempty"`
	ID           string         `json:"report-id"`
	Policies     []PolicyReport `json:"policies"`

	domain, submitter string
}

// DateRange is the time that a report covers, both ends included.
type DateRange struct {
	Start time.Time `json:"start-datetime"`
	End   time.Time `json:"end-datetime"`
}

// PolicyReport is the part of a report on one policy.
type PolicyReport struct {
	Policy   Policy   `json:"policy"`
	Summary  Summary  `json:"summary"`
	Failures []Detail `json:"failure-details,omitempty"`
}

// Summary counts the sessions under one policy.
type Summary struct {
	Successful int `json:"total-successful-session-count"`
	Failed     int `json:"total-failure-session-count"`
}

// Domain is the domain reported on.
func (r Report) Domain() string { return r.domain }

// JSON returns the report as application/tlsrpt+json.
func (r Report) JSON() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return nil, fmt.Errorf("writing TLS report: %w", err)
	}
	return b.Bytes(), nil
}

// Gzip returns the report as application/tlsrpt+gzip. The same report gives the same octets.
func (r Report) Gzip() ([]byte, error) {
	text, err := r.JSON()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(text); err != nil {
		return nil, fmt.Errorf("compressing TLS report: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compressing TLS report: %w", err)
	}
	return b.Bytes(), nil
}

// Filename is the name of the compressed report (RFC 8460 5.1).
func (r Report) Filename() string {
	return fmt.Sprintf("%s!%s!%d!%d.json.gz", r.submitter, r.domain, r.Range.Start.Unix(), r.Range.End.Unix())
}
