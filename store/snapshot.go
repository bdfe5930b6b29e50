package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Limits of the directory.
const (
	MaxServerTokens = 3  // API tokens of one server
	MaxSources      = 64 // addresses of one stream
	MaxRoutes       = 10 // of one stream
	MaxRate         = 1_000_000
	MaxQuota        = 1_000_000_000 // recipients a day of a route
	MaxStreams      = 30            // streams of one server, its three default ones included
	MaxSMTPTokens   = 30            // SMTP tokens of one stream
)

// StreamKey names a stream in the whole account.
type StreamKey struct {
	Server int64
	Stream string
}

// Snapshot is the directory at one revision. It is immutable: neither callers
// nor engines change its maps after it has been handed out.
type Snapshot struct {
	Revision      uint64
	LastID        int64 // the highest number given to any record
	Account       Account
	Users         map[int64]User
	Servers       map[int64]Server
	Streams       map[StreamKey]Stream
	AccountTokens map[int64]AccountToken
	ServerTokens  map[int64]ServerToken
	SMTPTokens    map[int64]SMTPToken
	Domains       map[int64]Domain
	Signatures    map[int64]Signature
	Webhooks      map[int64]Webhook
}

// NextID returns a number that no record of this snapshot uses. Add n for
// further records of the same transaction.
func (s *Snapshot) NextID(n int64) int64 { return s.LastID + 1 + n }

// ServerByName finds a server by its exact name.
func (s *Snapshot) ServerByName(name string) (Server, bool) {
	for _, v := range s.Servers {
		if v.Name == name {
			return v, true
		}
	}
	return Server{}, false
}

// StreamsOf returns a server's streams, sorted by ID.
func (s *Snapshot) StreamsOf(server int64) []Stream {
	var out []Stream
	for k, v := range s.Streams {
		if k.Server == server {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b Stream) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// VerifiedSender tells whether an address is of a verified domain or a verified
// signature. The domain must be in lower-case A-labels; the local part compares
// without regard to case.
func (s *Snapshot) VerifiedSender(local, domain string) bool {
	for _, d := range s.Domains {
		if !d.Verified.IsZero() && d.Name == domain {
			return true
		}
	}
	for _, sig := range s.Signatures {
		if !sig.Verified.IsZero() && strings.EqualFold(sig.Email, local+"@"+domain) {
			return true
		}
	}
	return false
}

// UnconfirmedSender tells whether an address is a signature that waits to be
// verified, and of no verified domain. The address is as VerifiedSender takes it.
func (s *Snapshot) UnconfirmedSender(local, domain string) bool {
	if len(s.Signatures) == 0 {
		return false
	}
	g, ok := s.SignatureOf(local, domain)
	return ok && g.Verified.IsZero() && !s.VerifiedSender(local, domain)
}

// SignatureOf returns the signature of an address, as VerifiedSender takes it: a
// verified one, where there are several that differ in case.
func (s *Snapshot) SignatureOf(local, domain string) (best Signature, ok bool) {
	size := len(local) + 1 + len(domain)
	for _, g := range s.Signatures {
		if len(g.Email) != size || !strings.EqualFold(g.Email[:len(local)], local) || g.Email[len(local)] != '@' || g.Email[len(local)+1:] != domain {
			continue
		}
		if !ok || best.Verified.IsZero() && !g.Verified.IsZero() {
			best, ok = g, true
		}
	}
	return best, ok
}

// With returns the snapshot that the changes make of s, or the first rule that
// they break: ErrNotFound for a missing parent or a missing record to delete,
// ErrExists for a duplicate name, access key or hash, ErrLimit, ErrInvalid.
// Deleting a server deletes its streams, tokens and webhooks, deleting a stream
// its SMTP tokens and webhooks. s is not changed. Every engine uses it, so all have the same rules.
func (s *Snapshot) With(changes ...Change) (*Snapshot, error) {
	next := s.clone()
	next.Revision++
	for i, c := range changes {
		if err := next.apply(c); err != nil {
			return nil, fmt.Errorf("change %d: %w", i+1, err)
		}
	}
	return next, nil
}

func (s *Snapshot) clone() *Snapshot {
	n := *s
	n.Users = cloned(s.Users)
	n.Servers = cloned(s.Servers)
	n.Streams = cloned(s.Streams)
	n.AccountTokens = cloned(s.AccountTokens)
	n.ServerTokens = cloned(s.ServerTokens)
	n.SMTPTokens = cloned(s.SMTPTokens)
	n.Domains = cloned(s.Domains)
	n.Signatures = cloned(s.Signatures)
	n.Webhooks = cloned(s.Webhooks)
	return &n
}

func cloned[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return maps.Clone(m)
}

func (s *Snapshot) apply(c Change) error {
	switch {
	case c.Account != nil && !c.Delete:
		s.Account = *c.Account
		return nil
	case c.User != nil:
		return put(s, s.Users, c.User.ID, *c.User, c.Delete, s.checkUser)
	case c.Server != nil:
		return s.applyServer(c)
	case c.Stream != nil:
		return s.applyStream(c)
	case c.AccountToken != nil:
		return put(s, s.AccountTokens, c.AccountToken.ID, *c.AccountToken, c.Delete, s.checkAccountToken)
	case c.ServerToken != nil:
		return put(s, s.ServerTokens, c.ServerToken.ID, *c.ServerToken, c.Delete, s.checkServerToken)
	case c.SMTPToken != nil:
		return put(s, s.SMTPTokens, c.SMTPToken.ID, *c.SMTPToken, c.Delete, s.checkSMTPToken)
	case c.Domain != nil:
		return put(s, s.Domains, c.Domain.ID, *c.Domain, c.Delete, s.checkDomain)
	case c.Signature != nil:
		return put(s, s.Signatures, c.Signature.ID, *c.Signature, c.Delete, s.checkSignature)
	case c.Webhook != nil:
		return put(s, s.Webhooks, c.Webhook.ID, *c.Webhook, c.Delete, s.checkWebhook)
	}
	return invalid("change", "names no record")
}

func put[V any](s *Snapshot, m map[int64]V, id int64, v V, remove bool, check func(V) error) error {
	if remove {
		if _, ok := m[id]; !ok {
			return fmt.Errorf("record %d: %w", id, ErrNotFound)
		}
		delete(m, id)
		return nil
	}
	if id <= 0 {
		return invalid("id", "%d is not positive", id)
	}
	if err := check(v); err != nil {
		return err
	}
	m[id] = v
	s.LastID = max(s.LastID, id)
	return nil
}

func (s *Snapshot) applyServer(c Change) error {
	if err := put(s, s.Servers, c.Server.ID, *c.Server, c.Delete, s.checkServer); err != nil || !c.Delete {
		return err
	}
	id := c.Server.ID
	maps.DeleteFunc(s.Streams, func(k StreamKey, _ Stream) bool { return k.Server == id })
	maps.DeleteFunc(s.ServerTokens, func(_ int64, t ServerToken) bool { return t.Server == id })
	maps.DeleteFunc(s.SMTPTokens, func(_ int64, t SMTPToken) bool { return t.Server == id })
	maps.DeleteFunc(s.Webhooks, func(_ int64, w Webhook) bool { return w.Server == id })
	return nil
}

func (s *Snapshot) applyStream(c Change) error {
	key := StreamKey{c.Stream.Server, c.Stream.ID}
	if !c.Delete {
		if err := s.checkStream(*c.Stream); err != nil {
			return err
		}
		s.Streams[key] = *c.Stream
		return nil
	}
	if _, ok := s.Streams[key]; !ok {
		return fmt.Errorf("stream %q: %w", key.Stream, ErrNotFound)
	}
	delete(s.Streams, key)
	maps.DeleteFunc(s.SMTPTokens, func(_ int64, t SMTPToken) bool { return t.Server == key.Server && t.Stream == key.Stream })
	maps.DeleteFunc(s.Webhooks, func(_ int64, w Webhook) bool { return w.Server == key.Server && w.Stream == key.Stream })
	return nil
}

func isStale(err error) bool { return errors.Is(err, ErrStale) }
