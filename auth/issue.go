package auth

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/mailchute/mailchute/store"
)

// The functions of this file are whole directory transactions. When one fails
// with store.ErrUnknown the token may exist, though nobody knows its secret: list
// the tokens and revoke it.

const maxTokenName = 100

// CreateServerToken makes and stores an API token of the server. The fourth one
// fails with store.ErrLimit, an unknown server with store.ErrNotFound.
func CreateServerToken(ctx context.Context, d store.Directory, k *Keyring, server int64, name string, now time.Time) (string, store.ServerToken, error) {
	var token string
	var record store.ServerToken
	err := create(ctx, d, name, func(s *store.Snapshot) (store.Change, error) {
		token, record = MintServerToken(k, s.NextID(0), server, name, now)
		return store.Change{ServerToken: &record}, nil
	})
	if err != nil {
		return "", store.ServerToken{}, fmt.Errorf("making an API token for server %d: %w", server, err)
	}
	return token, record, nil
}

// CreateAccountToken makes and stores an account API token.
func CreateAccountToken(ctx context.Context, d store.Directory, k *Keyring, name string, now time.Time) (string, store.AccountToken, error) {
	var token string
	var record store.AccountToken
	err := create(ctx, d, name, func(s *store.Snapshot) (store.Change, error) {
		token, record = MintAccountToken(k, s.NextID(0), name, now)
		return store.Change{AccountToken: &record}, nil
	})
	if err != nil {
		return "", store.AccountToken{}, fmt.Errorf("making an account token: %w", err)
	}
	return token, record, nil
}

// CreateSMTPToken makes and stores an SMTP token of the stream. It fails with
// store.ErrNotFound for an unknown stream, store.ErrInvalid for one that does not
// send, store.ErrLimit when the stream has its most.
func CreateSMTPToken(ctx context.Context, d store.Directory, k *Keyring, stream store.StreamKey, name string, now time.Time) (SMTPCredential, store.SMTPToken, error) {
	var pair SMTPCredential
	var record store.SMTPToken
	err := create(ctx, d, name, func(s *store.Snapshot) (store.Change, error) {
		v, ok := s.Streams[stream]
		if !ok {
			return store.Change{}, store.ErrNotFound
		}
		var err error
		pair, record, err = MintSMTPToken(k, s.NextID(0), v, name, now)
		return store.Change{SMTPToken: &record}, err
	})
	if err != nil {
		return SMTPCredential{}, store.SMTPToken{}, fmt.Errorf("making an SMTP token for stream %q of server %d: %w", stream.Stream, stream.Server, err)
	}
	return pair, record, nil
}

func create(ctx context.Context, d store.Directory, name string, mint func(*store.Snapshot) (store.Change, error)) error {
	if err := checkName(name); err != nil {
		return err
	}
	_, err := store.Update(ctx, d, func(s *store.Snapshot) ([]store.Change, error) {
		change, err := mint(s)
		if err != nil {
			return nil, err
		}
		return []store.Change{change}, nil
	})
	return err
}

// checkName keeps names fit for one line of a list: control characters could
// forge another.
func checkName(name string) error {
	if len(name) > maxTokenName {
		return fmt.Errorf("token name is longer than %d octets: %w", maxTokenName, store.ErrInvalid)
	}
	if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		return fmt.Errorf("token name has characters that cannot be printed: %w", store.ErrInvalid)
	}
	return nil
}

// RevokeServerToken deletes the token. When it has returned, no verifier of this
// process accepts the token, and the sessions that it opened are no longer
// Alive.
func RevokeServerToken(ctx context.Context, d store.Directory, id int64) error {
	return revoke(ctx, d, KindServerToken, id, store.Change{Delete: true, ServerToken: &store.ServerToken{ID: id}})
}

// RevokeAccountToken deletes the token, with the effect of RevokeServerToken.
func RevokeAccountToken(ctx context.Context, d store.Directory, id int64) error {
	return revoke(ctx, d, KindAccountToken, id, store.Change{Delete: true, AccountToken: &store.AccountToken{ID: id}})
}

// RevokeSMTPToken deletes the token, with the effect of RevokeServerToken.
func RevokeSMTPToken(ctx context.Context, d store.Directory, id int64) error {
	return revoke(ctx, d, KindSMTPToken, id, store.Change{Delete: true, SMTPToken: &store.SMTPToken{ID: id}})
}

func revoke(ctx context.Context, d store.Directory, kind Kind, id int64, change store.Change) error {
	_, err := store.Update(ctx, d, func(*store.Snapshot) ([]store.Change, error) {
		return []store.Change{change}, nil
	})
	if err != nil {
		return fmt.Errorf("revoking %s %d: %w", kind, id, err)
	}
	return nil
}
