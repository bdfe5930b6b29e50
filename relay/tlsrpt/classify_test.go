package tlsrpt

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"testing"
)

type named string

func (n named) Error() string  { return "error " + string(n) }
func (n named) Result() string { return string(n) }

func TestResultOf(t *testing.T) {
	for _, tt := range []struct {
		clause string
		err    error
		want   Result
	}{
		{"success", nil, Success},
		{"8460 4.3.1 host mismatch", x509.HostnameError{}, CertificateHostMismatch},
		{"8460 4.3.1 expired", &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}, CertificateExpired},
		{"8460 4.3.1 not trusted", fmt.Errorf("handshake: %w", x509.UnknownAuthorityError{}), CertificateNotTrusted},
		{"8460 4.3.3 other faults of a certificate", x509.CertificateInvalidError{Reason: x509.TooManyConstraints}, ValidationFailure},
		{"8460 4.3.3 general", errors.New("remote error: tls: handshake failure"), ValidationFailure},
		{"8460 4.3.2 named by its package", fmt.Errorf("policy: %w", named("sts-webpki-invalid")), STSWebPKIInvalid},
		{"unknown name", named("made-up"), ValidationFailure},
		{"an error is no success", named(""), ValidationFailure},
	} {
		if got := ResultOf(tt.err); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.clause, got, tt.want)
		}
	}
}
