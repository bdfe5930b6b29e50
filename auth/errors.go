package auth

import (
	"errors"
	"fmt"
	"time"
)

// Outcomes that a caller tells apart with errors.Is. None of them carries a
// secret or a username in its text.
var (
	// ErrDenied: the credential is not valid here. Unknown, wrong, revoked,
	// switched off and misused credentials all give this error (SMTP 535 5.7.8,
	// HTTP 401). The error is a *DeniedError with the delay to keep.
	ErrDenied = errors.New("authentication failed")
	// ErrThrottled: too many failures before; the credential was not looked at
	// (SMTP 421 4.7.0, HTTP 429). The error is a *ThrottledError.
	ErrThrottled = errors.New("too many failed authentications")
	// ErrUnavailable: the credential could not be judged. Temporary, and never
	// to be answered as a wrong password (SMTP 454 4.7.0, HTTP 503).
	ErrUnavailable = errors.New("credentials cannot be verified now")
	// ErrMalformed: the client's SASL response breaks the mechanism's grammar
	// (SMTP 501 5.5.2).
	ErrMalformed = errors.New("malformed authentication response")
	// ErrKeyMissing: the key file does not hold the key that a record was made
	// with. The error is a *KeyMissingError naming the key.
	ErrKeyMissing = errors.New("key file lacks a key")
	// ErrKeyFile: the key file is damaged, of an unknown version, or readable by
	// others. The wrapping text names file, fault and remedy.
	ErrKeyFile = errors.New("unusable key file")
)

// DeniedError is ErrDenied with what the caller has to do before and after it
// answers. It says nothing about the reason.
type DeniedError struct {
	// Delay is the time to wait before the answer, without holding a lock.
	Delay time.Duration
	// Close tells that the client has used up its attempts: answer 421 4.7.0
	// after the delay and close.
	Close bool
}

// Error returns the text of ErrDenied.
func (e *DeniedError) Error() string { return ErrDenied.Error() }

// Is makes errors.Is(err, ErrDenied) true.
func (e *DeniedError) Is(target error) bool { return target == ErrDenied }

// ThrottledError is ErrThrottled with the time to wait before answering 421 and
// closing.
type ThrottledError struct{ Delay time.Duration }

// Error returns the text of ErrThrottled.
func (e *ThrottledError) Error() string { return ErrThrottled.Error() }

// Is makes errors.Is(err, ErrThrottled) true.
func (e *ThrottledError) Is(target error) bool { return target == ErrThrottled }

// DelayOf returns how long the answer to err must wait: the Delay of a
// DeniedError or ThrottledError in its chain, else 0.
func DelayOf(err error) time.Duration {
	var denied *DeniedError
	var throttled *ThrottledError
	switch {
	case errors.As(err, &denied):
		return denied.Delay
	case errors.As(err, &throttled):
		return throttled.Delay
	}
	return 0
}

// KeyMissingError names the key that the key file lacks.
type KeyMissingError struct {
	Key     uint32 // number of the missing key
	Records int    // tokens that need it, where that was counted
}

// Error names the key and, where known, the number of tokens that need it.
func (e *KeyMissingError) Error() string {
	if e.Records == 0 {
		return fmt.Sprintf("%v: key %08x", ErrKeyMissing, e.Key)
	}
	return fmt.Sprintf("%v: %d tokens were made with key %08x", ErrKeyMissing, e.Records, e.Key)
}

// Is makes errors.Is(err, ErrKeyMissing) true.
func (e *KeyMissingError) Is(target error) bool { return target == ErrKeyMissing }
