package auth

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/mailchute/mailchute/store"
)

// SMTPCredential is a new SMTP token as its user needs it, to be shown once. Its
// own String, formatting, log and JSON output hide the secret; who wants to show
// it names the field.
type SMTPCredential struct {
	AccessKey string // username
	Secret    string // password
}

const redacted = "[redacted]"

// String returns the access key and no secret.
func (c SMTPCredential) String() string { return c.AccessKey + " " + redacted }

// Format prints String for every verb, so that no verb reaches the secret.
func (c SMTPCredential) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) } // never fails

// LogValue implements slog.LogValuer without the secret.
func (c SMTPCredential) LogValue() slog.Value {
	return slog.GroupValue(slog.String("access_key", c.AccessKey), slog.String("secret", redacted))
}

// MarshalJSON hides the secret, so that a structure logged as JSON cannot leak
// it.
func (c SMTPCredential) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{"access_key": c.AccessKey, "secret": redacted})
}

// MintServerToken makes the server's API token number id: the token as its
// client sends it, and the record to store.
func MintServerToken(k *Keyring, id, server int64, name string, now time.Time) (string, store.ServerToken) {
	token := uuid.NewString()
	return token, store.ServerToken{
		ID: id, Server: server, Name: name,
		Hash: k.Digest(token), Sealed: k.Seal(token, bind(KindServerToken, id)), Created: now,
	}
}

// MintAccountToken makes account API token number id: the token as its client
// sends it, and the record to store.
func MintAccountToken(k *Keyring, id int64, name string, now time.Time) (string, store.AccountToken) {
	token := uuid.NewString()
	return token, store.AccountToken{
		ID: id, Name: name,
		Hash: k.Digest(token), Sealed: k.Seal(token, bind(KindAccountToken, id)), Created: now,
	}
}

// MintSMTPToken makes SMTP token number id of an outbound stream: the pair to
// show once, and the record to store, which holds the secret as keyed hash only.
// It fails with store.ErrInvalid for a stream that does not send.
func MintSMTPToken(k *Keyring, id int64, stream store.Stream, name string, now time.Time) (SMTPCredential, store.SMTPToken, error) {
	if !stream.Outbound() || !stream.Archived.IsZero() || !store.ValidStreamID(stream.ID) {
		return SMTPCredential{}, store.SMTPToken{}, fmt.Errorf(
			"stream %q is inbound or archived; only active outbound streams have SMTP tokens: %w", stream.ID, store.ErrInvalid)
	}
	c := SMTPCredential{
		AccessKey: withChecksum(accessKeyPrefix(stream) + randomBase62(accessRandom)),
		Secret:    withChecksum(secretPrefix + randomBase62(secretRandom)),
	}
	return c, store.SMTPToken{
		ID: id, Server: stream.Server, Stream: stream.ID, Name: name,
		AccessKey: c.AccessKey, SecretHash: k.Digest(c.Secret), Created: now,
	}, nil
}

// RevealServerToken opens the sealed token for a user who may see it. It fails
// as Keyring.Open does.
func RevealServerToken(k *Keyring, t store.ServerToken) (string, error) {
	return reveal(k, KindServerToken, t.ID, t.Sealed)
}

// RevealAccountToken opens the sealed token for a user who may see it. It fails
// as Keyring.Open does.
func RevealAccountToken(k *Keyring, t store.AccountToken) (string, error) {
	return reveal(k, KindAccountToken, t.ID, t.Sealed)
}

func reveal(k *Keyring, kind Kind, id int64, sealed []byte) (string, error) {
	token, err := k.Open(sealed, bind(kind, id))
	if err != nil {
		return "", fmt.Errorf("revealing %s %d: %w", kind, id, err)
	}
	return token, nil
}
