package auth

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/emersion/go-sasl"
	"github.com/google/go-cmp/cmp"
)

// errStop is what a verify function of these tests returns to see it passed on.
var errStop = errors.New("stop")

// exchange plays the responses, nil for a missing initial response, and returns
// the challenges in between, whether it was done, and the error that ended it.
func exchange(s sasl.Server, responses ...[]byte) (challenges []string, done bool, err error) {
	for _, r := range responses {
		challenge, ok, err := s.Next(r)
		if err != nil || ok {
			return challenges, ok, err
		}
		challenges = append(challenges, string(challenge))
	}
	return challenges, false, nil
}

func TestPlain(t *testing.T) {
	long := strings.Repeat("a", MaxCredential)
	tests := []struct {
		name, response string
		want           []string // what verify is given
		err            error
	}{
		{"no identity", "\x00user\x00pass", []string{"", "user", "pass"}, nil},
		{"identity is the username", "user\x00user\x00pass", []string{"user", "user", "pass"}, nil},
		{"UTF-8", "\x00üser\x00päss", []string{"", "üser", "päss"}, nil},
		{"longest", "\x00" + long + "\x00" + long, []string{"", long, long}, nil},
		{"other identity", "root\x00user\x00pass", nil, ErrDenied},
		{"identity in other case", "User\x00user\x00pass", nil, ErrDenied},
		{"empty", "", nil, ErrMalformed},
		{"no NUL", "user", nil, ErrMalformed},
		{"one NUL", "user\x00pass", nil, ErrMalformed},
		{"three NUL", "\x00user\x00pass\x00", nil, ErrMalformed},
		{"only NUL", "\x00\x00", nil, ErrMalformed},
		{"empty username", "\x00\x00pass", nil, ErrMalformed},
		{"empty password", "\x00user\x00", nil, ErrMalformed},
		{"identity alone", "user\x00\x00", nil, ErrMalformed},
		{"username not UTF-8", "\x00us\xffer\x00pass", nil, ErrMalformed},
		{"password not UTF-8", "\x00user\x00\xc3", nil, ErrMalformed},
		{"identity not UTF-8", "\xff\x00user\x00pass", nil, ErrMalformed},
		{"long username", "\x00" + long + "a\x00pass", nil, ErrMalformed},
		{"long password", "\x00user\x00" + long + "a", nil, ErrMalformed},
		{"long identity", long + "a\x00user\x00pass", nil, ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name, responses := range map[string][][]byte{"initial": {[]byte(tt.response)}, "asked": {nil, []byte(tt.response)}} {
				var got []string
				s := NewPlain(func(identity, username, password string) error {
					got = []string{identity, username, password}
					return nil
				})
				challenges, done, err := exchange(s, responses...)
				if !errors.Is(err, tt.err) || done != (tt.err == nil) {
					t.Errorf("%s: done %v, %v", name, done, err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("%s: %s", name, diff)
				}
				if len(challenges) != len(responses)-1 || strings.Join(challenges, "") != "" {
					t.Errorf("%s: challenges %q", name, challenges)
				}
				if _, _, err := s.Next([]byte("\x00user\x00pass")); !errors.Is(err, ErrMalformed) {
					t.Errorf("%s: goes on after its end: %v", name, err)
				}
			}
		})
	}
}

func TestLogin(t *testing.T) {
	long := strings.Repeat("a", MaxCredential)
	tests := []struct {
		name, username, password string
		asked                    int // challenges when nothing comes with AUTH
		err                      error
	}{
		{"good", "user", "pass", 2, nil},
		{"UTF-8", "üser", "päss", 2, nil},
		{"longest", long, long, 2, nil},
		{"empty username", "", "pass", 1, ErrMalformed},
		{"empty password", "user", "", 2, ErrMalformed},
		{"long username", long + "a", "pass", 1, ErrMalformed},
		{"long password", "user", long + "a", 2, ErrMalformed},
		{"username not UTF-8", "\xff", "pass", 1, ErrMalformed},
		{"password not UTF-8", "user", "\xff", 2, ErrMalformed},
		{"NUL in username", "us\x00er", "pass", 1, ErrMalformed},
		{"NUL in password", "user", "pa\x00ss", 2, ErrMalformed},
	}
	prompts := []string{"Username:", "Password:"}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name, skip := range map[string]int{"asked": 0, "initial": 1} {
				var got []string
				s := NewLogin(func(username, password string) error {
					got = []string{username, password}
					return nil
				})
				responses := [][]byte{nil, []byte(tt.username), []byte(tt.password)}
				challenges, done, err := exchange(s, responses[skip:]...)
				if !errors.Is(err, tt.err) || done != (tt.err == nil) || done != (got != nil) {
					t.Errorf("%s: done %v, verified %v, %v", name, done, got != nil, err)
				}
				if done && (got[0] != tt.username || got[1] != tt.password) {
					t.Errorf("%s: verified %q", name, got)
				}
				if !slices.Equal(prompts[skip:tt.asked], challenges) {
					t.Errorf("%s: challenges %q", name, challenges)
				}
				if _, _, err := s.Next([]byte("user")); !errors.Is(err, ErrMalformed) {
					t.Errorf("%s: goes on after its end: %v", name, err)
				}
			}
		})
	}
}

func TestErrorsOfVerifyAreReturnedAsTheyAre(t *testing.T) {
	for _, want := range []error{errStop, &DeniedError{Close: true}, &ThrottledError{}, ErrUnavailable} {
		_, done, err := exchange(NewPlain(func(_, _, _ string) error { return want }), []byte("\x00u\x00p"))
		if err != want || done {
			t.Errorf("PLAIN: %v, done %v", err, done)
		}
		_, done, err = exchange(NewLogin(func(_, _ string) error { return want }), []byte("u"), []byte("p"))
		if err != want || done {
			t.Errorf("LOGIN: %v, done %v", err, done)
		}
	}
}

// The clients of go-sasl get through.
func TestMechanismsWithClients(t *testing.T) {
	check := func(username, password string) error {
		if username != "user" || password != "pass" {
			return errStop
		}
		return nil
	}
	servers := map[string]func() sasl.Server{
		"PLAIN": func() sasl.Server { return NewPlain(func(_, u, p string) error { return check(u, p) }) },
		"LOGIN": func() sasl.Server { return NewLogin(check) },
	}
	for _, client := range []sasl.Client{sasl.NewPlainClient("", "user", "pass"), sasl.NewPlainClient("user", "user", "pass"), sasl.NewLoginClient("user", "pass")} {
		mech, response, err := client.Start()
		if err != nil {
			t.Fatal(err)
		}
		s := servers[mech]()
		for done := false; !done; {
			var challenge []byte
			if challenge, done, err = s.Next(response); err != nil {
				t.Fatalf("%s: %v", mech, err)
			}
			if done {
				break
			}
			if response, err = client.Next(challenge); err != nil {
				t.Fatalf("%s client at %q: %v", mech, challenge, err)
			}
		}
	}
}

// A fault's text goes to logs: it must not hold what the client sent.
func TestMalformedErrorsHideTheResponse(t *testing.T) {
	const secret = "hunter2hunter2"
	for _, response := range []string{secret, "\x00" + secret + "\x00", "\x00\x00" + secret, secret + "\x00\xff\x00x", "x\x00y\x00" + secret} {
		_, _, err := exchange(NewPlain(func(_, _, _ string) error { return nil }), []byte(response))
		if err == nil || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%q: %v", response, err)
		}
	}
	_, _, err := exchange(NewLogin(func(_, _ string) error { return nil }), []byte("u"), []byte(secret+"\x00"))
	if err == nil || strings.Contains(err.Error(), "hunter") {
		t.Errorf("LOGIN: %v", err)
	}
}

func FuzzPlain(f *testing.F) {
	for _, s := range []string{"\x00u\x00p", "u\x00u\x00p", "", "\x00\x00", "a\x00b", "\x00\xff\x00p"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, response []byte) {
		called := false
		s := NewPlain(func(identity, username, password string) error {
			called = true
			if !bytes.Equal(response, []byte(identity+"\x00"+username+"\x00"+password)) {
				t.Errorf("%q became %q %q %q", response, identity, username, password)
			}
			if !saneField(username) || !saneField(password) || identity != "" && identity != username {
				t.Errorf("verified %q %q %q", identity, username, password)
			}
			return nil
		})
		_, done, err := s.Next(response)
		if response == nil {
			return
		}
		if done != called || done == (err != nil) || err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrDenied) {
			t.Errorf("done %v, called %v, %v", done, called, err)
		}
	})
}

func FuzzLogin(f *testing.F) {
	f.Add([]byte("user"), []byte("pass"), true)
	f.Add([]byte(""), []byte("pass"), false)
	f.Add([]byte("user"), []byte("\x00"), false)
	f.Fuzz(func(t *testing.T, username, password []byte, initial bool) {
		responses := [][]byte{nil, append([]byte{}, username...), append([]byte{}, password...)}
		if initial {
			responses = responses[1:]
		}
		called := false
		s := NewLogin(func(u, p string) error {
			called = true
			if u != string(username) || p != string(password) || !saneField(u) || !saneField(p) {
				t.Errorf("verified %q %q", u, p)
			}
			return nil
		})
		_, done, err := exchange(s, responses...)
		if want := saneField(string(username)) && saneField(string(password)); done != want || called != want {
			t.Errorf("done %v, called %v, want %v", done, called, want)
		}
		if done == (err != nil) || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("done %v, %v", done, err)
		}
	})
}

func saneField(s string) bool {
	return s != "" && len(s) <= MaxCredential && utf8.ValidString(s) && !strings.Contains(s, "\x00")
}
