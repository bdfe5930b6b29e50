package auth

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailchute/mailchute/store"
)

// VerifierOptions configures a Verifier.
type VerifierOptions struct {
	Throttle ThrottleOptions
	Now      func() time.Time // nil means time.Now
}

// Verifier authenticates clients against the newest snapshot of a directory. A
// token that the directory no longer has is refused from the moment that
// Directory.Change has returned. It is safe for concurrent use and does no I/O.
type Verifier struct {
	directory store.Directory
	throttle  *throttle
	digests   func(secret string) []store.Digest
	index     atomic.Pointer[index]
	building  sync.Mutex // held by the one caller that builds an index, while others wait for it
}

// NewVerifier returns a verifier of the tokens that d holds under the keys of k.
func NewVerifier(d store.Directory, k *Keyring, opts VerifierOptions) *Verifier {
	now := opts.Now
	if now == nil {
		now = time.Now
	}
	return &Verifier{directory: d, throttle: newThrottle(opts.Throttle, now), digests: k.Digests}
}

// Run rebuilds the index whenever the directory has changed, so that the next
// client need not wait for it. Verification is right without it. It returns nil
// when ctx ends.
func (v *Verifier) Run(ctx context.Context) error {
	for {
		x, err := v.current()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-v.directory.Changed(x.snap.Revision):
		}
	}
}

// SMTP authenticates an SMTP client at address from: by a server token as
// username and password, in any case and with white space around it, or by the
// exact pair of an SMTP token. The server must have SMTP enabled and the stream
// of an SMTP token must be active.
//
// The error is ErrDenied, ErrThrottled or ErrUnavailable. The caller waits for
// DelayOf(err) before it answers.
func (v *Verifier) SMTP(ctx context.Context, from netip.Addr, username, password string) (Principal, error) {
	c := newCandidate(username, password)
	return v.verify(ctx, from, v.throttle.nameOf(c.username), func(x *index) (Principal, error) {
		p, err := c.judge(x, v.digests(c.password))
		if err == nil && !alive(x.snap, p) {
			return Principal{}, ErrDenied
		}
		return p, err
	})
}

// ServerToken authenticates an HTTP client by a server token, in any case and
// with white space around it. It does not ask whether SMTP is enabled. Errors
// are those of SMTP.
func (v *Verifier) ServerToken(ctx context.Context, from netip.Addr, token string) (Principal, error) {
	return v.verify(ctx, from, 0, func(x *index) (Principal, error) {
		return x.serverToken(v.digests(presentable(token)))
	})
}

// AccountToken authenticates an HTTP client by an account token, like
// ServerToken.
func (v *Verifier) AccountToken(ctx context.Context, from netip.Addr, token string) (Principal, error) {
	return v.verify(ctx, from, 0, func(x *index) (Principal, error) {
		return x.accountToken(v.digests(presentable(token)))
	})
}

// Alive tells whether p, once returned by SMTP, may still submit mail: neither
// the token nor its server or stream was deleted, SMTP is still enabled and the
// stream active. It takes no lock and is meant to be asked at every MAIL.
func (v *Verifier) Alive(p Principal) bool {
	snap := v.directory.Snapshot()
	return snap != nil && alive(snap, p)
}

// Boxed tells whether the network of from has failed so often that it is to be
// refused before the banner.
func (v *Verifier) Boxed(from netip.Addr) bool { return v.throttle.boxed(NetworkOf(from)) }

// verify is the frame around each judgement: gate, index, outcome counted. The
// judge computes digests exactly once, whatever the client sent.
func (v *Verifier) verify(ctx context.Context, from netip.Addr, name nameID, judge func(*index) (Principal, error)) (Principal, error) {
	if err := ctx.Err(); err != nil {
		return Principal{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	network := NetworkOf(from)
	if err := v.throttle.gate(network, name); err != nil {
		return Principal{}, err
	}
	x, err := v.current()
	if err != nil {
		return Principal{}, err
	}
	p, err := judge(x)
	switch {
	case err == nil:
		v.throttle.succeed(network, name)
	case errors.Is(err, ErrDenied):
		return Principal{}, v.throttle.fail(network, name)
	}
	return p, err
}

// current returns an index of the newest snapshot.
func (v *Verifier) current() (*index, error) {
	snap := v.directory.Snapshot()
	if snap == nil {
		return nil, fmt.Errorf("%w: the directory is not open", ErrUnavailable)
	}
	if x := v.index.Load(); x != nil && x.snap.Revision >= snap.Revision {
		return x, nil
	}
	v.building.Lock()
	defer v.building.Unlock()
	snap = v.directory.Snapshot() // at least as new as before the wait
	if x := v.index.Load(); x != nil && x.snap.Revision >= snap.Revision {
		return x, nil
	}
	x := newIndex(snap)
	v.index.Store(x)
	return x, nil
}

// candidate is what a client presents, in the form in which it is compared.
type candidate struct {
	username, password string
	token              bool // the username has the shape of a server token
}

// filler is hashed in place of what cannot be a credential. No token has this
// value, since a NUL never gets that far.
const filler = "\x00"

func newCandidate(username, password string) candidate {
	token := canonical(username)
	switch {
	case !plausible(username) || !plausible(password):
		return candidate{username: username, password: filler}
	case tokenShaped(token):
		return candidate{username: token, password: canonical(password), token: true}
	}
	return candidate{username: username, password: password}
}

func (c candidate) judge(x *index, digests []store.Digest) (Principal, error) {
	if !c.token {
		return x.smtpToken(c.username, digests)
	}
	p, err := x.serverToken(digests)
	same := subtle.ConstantTimeCompare([]byte(c.username), []byte(c.password)) == 1
	if err == nil && !same {
		return Principal{}, ErrDenied
	}
	return p, err
}

// presentable returns a token in the form that is hashed.
func presentable(token string) string {
	if !plausible(token) {
		return filler
	}
	return canonical(token)
}

func plausible(s string) bool {
	return s != "" && len(s) <= MaxCredential && !strings.Contains(s, "\x00")
}

// canonical undoes what mail clients do to a pasted API token.
func canonical(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// tokenShaped tells whether s looks like the text of a lower-case UUID.
func tokenShaped(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (s[i] == '-') || !dash && !strings.Contains("0123456789abcdef", s[i:i+1]) {
			return false
		}
	}
	return true
}
