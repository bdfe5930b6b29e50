package auth

import (
	"crypto/hmac"
	"fmt"

	"github.com/mailchute/mailchute/store"
)

// index finds the tokens of one snapshot by what a client presents. It is
// immutable.
type index struct {
	snap        *store.Snapshot
	servers     map[store.Digest]int64 // server tokens by keyed hash
	accounts    map[store.Digest]int64 // account tokens by keyed hash
	access      map[string]int64       // SMTP tokens by access key
	serverKeys  map[uint32]struct{}    // keys that hashed the server tokens
	accountKeys map[uint32]struct{}    // keys that hashed the account tokens
}

func newIndex(s *store.Snapshot) *index {
	x := &index{
		snap:        s,
		servers:     make(map[store.Digest]int64, len(s.ServerTokens)),
		accounts:    make(map[store.Digest]int64, len(s.AccountTokens)),
		access:      make(map[string]int64, len(s.SMTPTokens)),
		serverKeys:  map[uint32]struct{}{},
		accountKeys: map[uint32]struct{}{},
	}
	for id, t := range s.ServerTokens {
		x.servers[t.Hash] = id
		x.serverKeys[t.Hash.Key] = struct{}{}
	}
	for id, t := range s.AccountTokens {
		x.accounts[t.Hash] = id
		x.accountKeys[t.Hash.Key] = struct{}{}
	}
	for id, t := range s.SMTPTokens {
		x.access[t.AccessKey] = id
	}
	return x
}

// find returns the ID filed under one of the digests. A miss counts as ErrDenied
// only if the digests cover all keys in use; otherwise the token may well be one
// that this key file cannot judge, and the answer is ErrUnavailable.
func find(ids map[store.Digest]int64, digests []store.Digest, keys map[uint32]struct{}) (int64, error) {
	for _, d := range digests {
		if id, ok := ids[d]; ok {
			return id, nil
		}
	}
	for number := range keys {
		if _, ok := byKey(digests, number); !ok {
			return 0, fmt.Errorf("%w: %w", ErrUnavailable, &KeyMissingError{Key: number})
		}
	}
	return 0, ErrDenied
}

func byKey(digests []store.Digest, number uint32) (store.Digest, bool) {
	for _, d := range digests {
		if d.Key == number {
			return d, true
		}
	}
	return store.Digest{}, false
}

func (x *index) serverToken(digests []store.Digest) (Principal, error) {
	id, err := find(x.servers, digests, x.serverKeys)
	if err != nil {
		return Principal{}, err
	}
	t := x.snap.ServerTokens[id]
	return Principal{Kind: KindServerToken, Token: id, Server: t.Server, Name: t.Name}, nil
}

func (x *index) accountToken(digests []store.Digest) (Principal, error) {
	id, err := find(x.accounts, digests, x.accountKeys)
	if err != nil {
		return Principal{}, err
	}
	return Principal{Kind: KindAccountToken, Token: id, Name: x.snap.AccountTokens[id].Name}, nil
}

// smtpToken compares with a hash of zeros when the access key is unknown, so
// that both cases do the same work.
func (x *index) smtpToken(accessKey string, digests []store.Digest) (Principal, error) {
	id, known := x.access[accessKey]
	t := x.snap.SMTPTokens[id]
	d, judged := byKey(digests, t.SecretHash.Key)
	same := hmac.Equal(d.Sum[:], t.SecretHash.Sum[:])
	switch {
	case known && !judged:
		return Principal{}, fmt.Errorf("%w: %w", ErrUnavailable, &KeyMissingError{Key: t.SecretHash.Key})
	case !known || !same:
		return Principal{}, ErrDenied
	}
	return Principal{Kind: KindSMTPToken, Token: id, Server: t.Server, Stream: t.Stream, Name: t.Name}, nil
}

// alive tells whether the snapshot still lets p do what it was let in for: a
// server or SMTP token submit mail, an account token exist.
func alive(s *store.Snapshot, p Principal) bool {
	switch p.Kind {
	case KindServerToken:
		t, ok := s.ServerTokens[p.Token]
		return ok && t.Server == p.Server && smtpEnabled(s, p.Server)
	case KindSMTPToken:
		t, ok := s.SMTPTokens[p.Token]
		return ok && t.Server == p.Server && t.Stream == p.Stream && smtpEnabled(s, p.Server) && sends(s, t)
	case KindAccountToken:
		_, ok := s.AccountTokens[p.Token]
		return ok
	}
	return false
}

func smtpEnabled(s *store.Snapshot, server int64) bool {
	v, ok := s.Servers[server]
	return ok && !v.SMTPDisabled
}

func sends(s *store.Snapshot, t store.SMTPToken) bool {
	stream, ok := s.Streams[store.StreamKey{Server: t.Server, Stream: t.Stream}]
	return ok && stream.Outbound() && stream.Archived.IsZero()
}
