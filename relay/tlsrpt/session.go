package tlsrpt

import (
	"strings"
	"unicode/utf8"
)

// PolicyType is the kind of policy that a session was under (RFC 8460 4.2).
type PolicyType string

// The policy types.
const (
	TLSA     PolicyType = "tlsa"
	STS      PolicyType = "sts"
	NoPolicy PolicyType = "no-policy-found"
)

// Result is why a session failed (RFC 8460 4.3). The empty Result is success.
type Result string

// The result types that are registered.
const (
	Success                 Result = ""
	STARTTLSNotSupported    Result = "starttls-not-supported"
	CertificateHostMismatch Result = "certificate-host-mismatch"
	CertificateExpired      Result = "certificate-expired"
	CertificateNotTrusted   Result = "certificate-not-trusted"
	ValidationFailure       Result = "validation-failure"
	TLSAInvalid             Result = "tlsa-invalid"
	DNSSECInvalid           Result = "dnssec-invalid"
	DANERequired            Result = "dane-required"
	STSPolicyFetchError     Result = "sts-policy-fetch-error"
	STSPolicyInvalid        Result = "sts-policy-invalid"
	STSWebPKIInvalid        Result = "sts-webpki-invalid"
)

// resultTypes is how many there are.
const resultTypes = 11

// Known tells whether the result may stand in a report.
func (r Result) Known() bool {
	switch r {
	case Success, STARTTLSNotSupported, CertificateHostMismatch, CertificateExpired, CertificateNotTrusted, ValidationFailure, TLSAInvalid, DNSSECInvalid,
		DANERequired, STSPolicyFetchError, STSPolicyInvalid, STSWebPKIInvalid:
		return true
	}
	return false
}

// Policy is what a session was under. Its JSON is that of reports.
type Policy struct {
	Type PolicyType `json:"policy-type"`
	// Strings are the TLSA records, or the lines of the MTA-STS policy; none without a policy.
	Strings []string `json:"policy-string,omitempty"`
	// Domain is the domain whose policy it is: the recipient's for MTA-STS, the TLSA base domain for DANE.
	Domain string `json:"policy-domain"`
	// MXHosts are the patterns of an MTA-STS policy.
	MXHosts []string `json:"mx-host,omitempty"`
}

// Session is one attempt to deliver under one policy.
type Session struct {
	// Domain is the domain that the report goes to: the recipient's.
	Domain string
	Policy Policy
	// Result is Success, or why the session failed, also where mail was then sent all the same. One that is not Known counts as ValidationFailure.
	Result Result
	// Detail describes a failure; its Result and Count are ignored.
	Detail Detail
}

// Detail is one kind of failure. Its JSON is that of reports.
type Detail struct {
	Result        Result `json:"result-type"`
	SendingIP     string `json:"sending-mta-ip,omitempty"`
	ReceivingMX   string `json:"receiving-mx-hostname,omitempty"`
	ReceivingHELO string `json:"receiving-mx-helo,omitempty"`
	ReceivingIP   string `json:"receiving-ip,omitempty"`
	Count         int    `json:"failed-session-count"`
	// Info is free text or a URI.
	Info string `json:"additional-information,omitempty"`
	// Reason is a code or text of the TLS library.
	Reason string `json:"failure-reason-code,omitempty"`
}

// maxText bounds texts that a remote host may have chosen, in octets.
const maxText = 256

func (d Detail) clipped() Detail {
	for _, s := range []*string{&d.SendingIP, &d.ReceivingMX, &d.ReceivingHELO, &d.ReceivingIP, &d.Info, &d.Reason} {
		*s = clip(*s)
	}
	return d
}

// rows is what a kind of failure counts for in Options.MaxRows.
func (d Detail) rows() int {
	return 1 + (len(d.SendingIP)+len(d.ReceivingMX)+len(d.ReceivingHELO)+len(d.ReceivingIP)+len(d.Info)+len(d.Reason))/rowSize
}

// clip makes a text valid UTF-8 and cuts it between characters.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
