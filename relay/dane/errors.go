package dane

import (
	"cmp"
	"errors"
	"fmt"
)

var (
	// ErrNoDomain: the name does not exist (NXDOMAIN).
	ErrNoDomain = errors.New("no such domain")
	// ErrNoRecords: the name exists without records of the type asked for.
	ErrNoRecords = errors.New("no such records")
)

// TemporaryError says that DNS gave no answer that can be relied on: a timeout, SERVFAIL, a failed validation, nonsense. What was asked about may not be
// used until a later attempt (RFC 7672 2.1.2).
type TemporaryError struct {
	Name, Type string
	// Bogus is set when the resolver said that validation failed (RFC 8914).
	Bogus bool
	Err   error
}

// Error implements error.
func (e *TemporaryError) Error() string {
	text := fmt.Sprintf("looking up %s of %s: %v", e.Type, cmp.Or(e.Name, "."), e.Err)
	if e.Bogus {
		text += ": its DNSSEC signatures are not valid"
	}
	return text
}

// Unwrap returns the cause.
func (e *TemporaryError) Unwrap() error { return e.Err }

// Temporary is always true.
func (e *TemporaryError) Temporary() bool { return true }

// Result is the result type for TLS reports: "dnssec-invalid" (RFC 8460 4.3.2.1).
func (e *TemporaryError) Result() string { return "dnssec-invalid" }

// Reason is why a certificate is refused.
type Reason string

// The reasons, in the words of TLS reports (RFC 8460 4.3.1, 4.3.2.1, 4.3.3).
const (
	// NoMatch: no usable TLSA record matches what the host showed.
	NoMatch Reason = "validation-failure"
	// WrongName: the chain leads to a published anchor, but the certificate is for other names.
	WrongName Reason = "certificate-host-mismatch"
	// Expired: the chain leads to a published anchor, but a certificate of it is not valid at this time.
	Expired Reason = "certificate-expired"
	// Unusable: there is no usable TLSA record to verify with.
	Unusable Reason = "tlsa-invalid"
)

// MismatchError says that the host did not prove to be the one that DNS names. It must be skipped (RFC 7672 2.2).
type MismatchError struct {
	Reason Reason
	Err    error // the cause of the check that came nearest; may be nil
}

// Error implements error.
func (e *MismatchError) Error() string {
	text := map[Reason]string{
		NoMatch:   "certificate matches no TLSA record",
		WrongName: "certificate chains to a TLSA anchor but has another name",
		Expired:   "certificate chains to a TLSA anchor but is not valid now",
		Unusable:  "no usable TLSA record",
	}[e.Reason]
	if e.Err == nil {
		return text
	}
	return text + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *MismatchError) Unwrap() error { return e.Err }

// Result is the result type for TLS reports.
func (e *MismatchError) Result() string { return string(e.Reason) }
