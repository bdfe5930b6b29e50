package auth

import (
	"context"
	"time"

	"github.com/mailchute/mailchute/store"
)

// Keyring is the key file in memory: one or more master keys, of which the
// newest seals and hashes. It is safe for concurrent use.
type Keyring struct{ path string }

// KeyInfo describes a key without giving it away.
type KeyInfo struct {
	Number      uint32
	Created     time.Time
	Fingerprint string
}

func OpenKeyring(path string) (*Keyring, error)                              { panic("soon") }
func LoadKeyring(path string) (*Keyring, error)                              { panic("soon") }
func (k *Keyring) Fingerprint() string                                       { panic("soon") }
func (k *Keyring) Keys() []KeyInfo                                           { panic("soon") }
func (k *Keyring) Seal(plaintext, aad string) []byte                         { panic("soon") }
func (k *Keyring) Open(sealed []byte, aad string) (string, error)            { panic("soon") }
func (k *Keyring) Digest(secret string) store.Digest                         { panic("soon") }
func (k *Keyring) Digests(secret string) []store.Digest                      { panic("soon") }
func (k *Keyring) Matches(d store.Digest, secret string) bool                { panic("soon") }
func (k *Keyring) Rotate(now time.Time) (KeyInfo, error)                     { panic("soon") }
func (k *Keyring) Prune(inUse map[uint32]int) ([]uint32, error)              { panic("soon") }
func (k *Keyring) Check(s *store.Snapshot) error                             { panic("soon") }
func (k *Keyring) Reset(s *store.Snapshot) []store.Change                    { panic("soon") }
func (k *Keyring) Rekey(ctx context.Context, d store.Directory) (int, error) { panic("soon") }
func KeysInUse(s *store.Snapshot) map[uint32]int                             { panic("soon") }
