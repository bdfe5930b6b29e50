package tlsrpt

import (
	"crypto/x509"
	"errors"
)

// ResultOf returns the result type for what a TLS handshake or a search for a policy ended with; nil is Success. Errors that have a method Result() string name
// their own; those of crypto/x509 are known; any other is a ValidationFailure (RFC 8460 4.3).
func ResultOf(err error) Result {
	if err == nil {
		return Success
	}
	var own interface{ Result() string }
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &own):
		if r := Result(own.Result()); r.Known() && r != Success {
			return r
		}
	case errors.As(err, &name):
		return CertificateHostMismatch
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return CertificateExpired
	case errors.As(err, &unknown):
		return CertificateNotTrusted
	}
	return ValidationFailure
}
