package auth

import (
	"context"
	"net/netip"
	"time"

	"github.com/mailchute/mailchute/store"
)

// VerifierOptions configures a Verifier.
type VerifierOptions struct {
	Throttle ThrottleOptions
	Now      func() time.Time // nil means time.Now
}

// Verifier authenticates clients against the newest snapshot of a directory.
// It is safe for concurrent use and does no I/O.
type Verifier struct{ d store.Directory }

func NewVerifier(d store.Directory, k *Keyring, opts VerifierOptions) *Verifier { panic("soon") }
func (v *Verifier) Run(ctx context.Context) error                               { panic("soon") }
func (v *Verifier) SMTP(ctx context.Context, from netip.Addr, username, password string) (Principal, error) {
	panic("soon")
}
func (v *Verifier) ServerToken(ctx context.Context, from netip.Addr, token string) (Principal, error) {
	panic("soon")
}
func (v *Verifier) AccountToken(ctx context.Context, from netip.Addr, token string) (Principal, error) {
	panic("soon")
}
func (v *Verifier) Alive(p Principal) bool     { panic("soon") }
func (v *Verifier) Boxed(from netip.Addr) bool { panic("soon") }
