package auth

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/emersion/go-sasl"
)

// MaxCredential is the longest username or password in octets. RFC 4616 allows
// 255; a longer one never matches and is not hashed.
const MaxCredential = 256

// NewPlain returns the server side of one PLAIN exchange (RFC 4616), with or
// without initial response. It hands verify a well-formed triple: UTF-8, a
// username and a password that are not empty, and an identity that is empty or
// the username. Another identity is ErrDenied, another shape ErrMalformed;
// errors of verify are returned as they are.
func NewPlain(verify func(identity, username, password string) error) sasl.Server {
	return &plainServer{verify: verify}
}

type plainServer struct {
	verify func(identity, username, password string) error
	done   bool
}

// Next implements sasl.Server.
func (s *plainServer) Next(response []byte) (challenge []byte, done bool, err error) {
	if s.done {
		return nil, false, malformed("PLAIN exchange is over")
	}
	if response == nil {
		return []byte{}, false, nil
	}
	s.done = true
	identity, username, password, err := parsePlain(response)
	if err != nil {
		return nil, false, err
	}
	if identity != "" && identity != username {
		return nil, false, &DeniedError{}
	}
	if err := s.verify(identity, username, password); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}

func parsePlain(response []byte) (identity, username, password string, err error) {
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 {
		return "", "", "", malformed("PLAIN needs two NUL")
	}
	if err := checkField(parts[1]); err != nil {
		return "", "", "", err
	}
	if err := checkField(parts[2]); err != nil {
		return "", "", "", err
	}
	if len(parts[0]) > MaxCredential || !utf8.Valid(parts[0]) {
		return "", "", "", malformed("identity is too long or not UTF-8")
	}
	return string(parts[0]), string(parts[1]), string(parts[2]), nil
}

// NewLogin returns the server side of one LOGIN exchange, with or without the
// username as initial response. LOGIN has no RFC; the prompts are the ones that
// clients in the field match on. Empty, over-long and non-UTF-8 answers and ones
// with NUL are ErrMalformed; errors of verify are returned as they are.
func NewLogin(verify func(username, password string) error) sasl.Server {
	return &loginServer{verify: verify}
}

type loginServer struct {
	verify   func(username, password string) error
	asked    bool
	username string
	done     bool
}

// Next implements sasl.Server.
func (s *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case s.done:
		return nil, false, malformed("LOGIN exchange is over")
	case response == nil && !s.asked:
		s.asked = true
		return []byte("Username:"), false, nil
	}
	if err := checkField(response); err != nil {
		s.done = true
		return nil, false, err
	}
	if s.username == "" {
		s.username, s.asked = string(response), true
		return []byte("Password:"), false, nil
	}
	s.done = true
	if err := s.verify(s.username, string(response)); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}

func checkField(b []byte) error {
	switch {
	case len(b) == 0:
		return malformed("empty username or password")
	case len(b) > MaxCredential:
		return malformed("username or password too long")
	case !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0:
		return malformed("username or password is not plain UTF-8")
	}
	return nil
}

// malformed keeps the client's bytes out of the error.
func malformed(what string) error { return fmt.Errorf("%s: %w", what, ErrMalformed) }
