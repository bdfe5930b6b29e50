package auth

import (
	"context"
	"time"

	"github.com/mailchute/mailchute/store"
)

// SMTPCredential is a new SMTP token as its user needs it, to be shown once.
// Its own String, formatting, log and JSON output hide the secret; print the
// Secret field itself.
type SMTPCredential struct {
	AccessKey string // username
	Secret    string // password
}

// Finding is a credential in a text, by byte offsets.
type Finding struct {
	Kind       Kind
	Secret     bool // false for an access key
	Start, End int
}

func MintServerToken(k *Keyring, id, server int64, name string, now time.Time) (string, store.ServerToken) {
	panic("soon")
}
func MintAccountToken(k *Keyring, id int64, name string, now time.Time) (string, store.AccountToken) {
	panic("soon")
}
func MintSMTPToken(k *Keyring, id int64, stream store.Stream, name string, now time.Time) (SMTPCredential, store.SMTPToken, error) {
	panic("soon")
}
func RevealServerToken(k *Keyring, t store.ServerToken) (string, error)   { panic("soon") }
func RevealAccountToken(k *Keyring, t store.AccountToken) (string, error) { panic("soon") }
func CreateServerToken(ctx context.Context, d store.Directory, k *Keyring, server int64, name string, now time.Time) (string, store.ServerToken, error) {
	panic("soon")
}
func CreateAccountToken(ctx context.Context, d store.Directory, k *Keyring, name string, now time.Time) (string, store.AccountToken, error) {
	panic("soon")
}
func CreateSMTPToken(ctx context.Context, d store.Directory, k *Keyring, stream store.StreamKey, name string, now time.Time) (SMTPCredential, store.SMTPToken, error) {
	panic("soon")
}
func RevokeServerToken(ctx context.Context, d store.Directory, id int64) error  { panic("soon") }
func RevokeAccountToken(ctx context.Context, d store.Directory, id int64) error { panic("soon") }
func RevokeSMTPToken(ctx context.Context, d store.Directory, id int64) error    { panic("soon") }
func Recognise(s string) (Kind, bool)                                           { panic("soon") }
func FindSecrets(text string) []Finding                                         { panic("soon") }
