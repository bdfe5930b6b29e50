package domains

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/message/dkim"
	"github.com/mailchute/mailchute/store"
)

// Directory is what a Signer reads of the store's directory.
type Directory interface {
	Snapshot() *store.Snapshot
}

// ErrKey: a key that should sign cannot be opened. The text says why.
var ErrKey = errors.New("DKIM key cannot be used")

// Open opens the octets of a message as they are to leave, but for the signatures.
type Open = func(ctx context.Context) (io.ReadCloser, error)

// SignerOptions tunes a Signer. Zero values mean the defaults named.
type SignerOptions struct {
	Workers int // signatures made at one time; GOMAXPROCS
	Cache   int // messages whose signatures are kept, about 2 KiB each; 4,096
}

// Signer signs messages with the keys of their author's domain. It is safe for
// concurrent use. A message is signed once, however many deliveries ask at once
// or soon after.
type Signer struct {
	directory Directory
	workers   chan struct{} // a place for each that computes
	keys      *keyCache
	limit     int

	mu      sync.Mutex // guards what follows
	entries map[store.ID]*list.Element
	order   *list.List // of *signed, newest first
}

// signed is a message's signatures, or the work on them.
type signed struct {
	id   store.ID
	done chan struct{} // closed when the rest is set

	author string
	names  []string
	fields []byte
	err    error
}

// NewSigner returns a Signer over the domains of d, whose keys k opens.
func NewSigner(d Directory, k *auth.Keyring, opts SignerOptions) *Signer {
	if opts.Workers == 0 {
		opts.Workers = runtime.GOMAXPROCS(0)
	}
	if opts.Cache == 0 {
		opts.Cache = 4096
	}
	return &Signer{
		directory: d, workers: make(chan struct{}, opts.Workers), keys: newKeyCache(d, k), limit: opts.Cache,
		entries: map[store.ID]*list.Element{}, order: list.New(),
	}
}

// Sign returns the DKIM-Signature fields to put on top of the message, and the
// names of the records that verify them. Both are nil where no key signs for its
// author. It fails with ErrKey, and with the error of open or of reading, which
// wraps store.ErrDamaged for a message that is not what was accepted.
func (s *Signer) Sign(ctx context.Context, m store.Message, open Open) (fields []byte, names []string, err error) {
	if !anyKey(s.directory.Snapshot()) {
		return nil, nil, nil // the message need not be read
	}
	if m.Unsubscribe != "" { // every copy differs
		e := &signed{id: m.ID, done: make(chan struct{})}
		s.work(ctx, e, m, open)
		return e.fields, e.names, e.err
	}
	for {
		e, mine := s.entry(m.ID)
		if mine {
			s.work(ctx, e, m, open)
			return e.fields, e.names, e.err
		}
		select {
		case <-e.done:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
		if e.err == nil && slices.Equal(e.names, recordNames(s.directory.Snapshot().Signer(e.author, m.Accepted))) {
			return e.fields, e.names, nil
		}
		s.forget(e) // another's failure, perhaps of its context, or keys that have changed since
	}
}

func anyKey(snap *store.Snapshot) bool {
	for _, d := range snap.Domains {
		if len(d.Keys) > 0 {
			return true
		}
	}
	return false
}

// entry returns the message's entry; mine tells that the caller has to do the work.
func (s *Signer) entry(id store.ID) (e *signed, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.entries[id]; ok {
		s.order.MoveToFront(at)
		return at.Value.(*signed), false
	}
	e = &signed{id: id, done: make(chan struct{})}
	s.entries[id] = s.order.PushFront(e)
	if s.order.Len() > s.limit {
		last := s.order.Back()
		delete(s.entries, s.order.Remove(last).(*signed).id)
	}
	return e, true
}

func (s *Signer) forget(e *signed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.entries[e.id]; ok && at.Value == e {
		s.order.Remove(at)
		delete(s.entries, e.id)
	}
}

// work fills an entry. One that is of no use to others is not kept.
func (s *Signer) work(ctx context.Context, e *signed, m store.Message, open Open) {
	defer close(e.done)
	defer func() {
		if e.fields == nil {
			s.forget(e)
		}
	}()
	e.err = errors.New("signing did not end") // stays if it panics
	var original *original
	if original, e.err = read(ctx, m, open); e.err != nil {
		return
	}
	e.author = original.author
	domain, keys := s.directory.Snapshot().Signer(e.author, m.Accepted)
	if len(keys) == 0 {
		return
	}
	if e.fields, e.err = s.sign(ctx, m, original, domain, keys); e.err == nil {
		e.names = recordNames(domain, keys)
	}
}

// Again returns the fields that verify with the records named, as Sign made them
// before. It fails with store.ErrNotFound when a key is no longer kept.
func (s *Signer) Again(ctx context.Context, m store.Message, open Open, names []string) ([]byte, error) {
	original, err := read(ctx, m, open)
	if err != nil {
		return nil, err
	}
	snap := s.directory.Snapshot()
	var domain store.Domain
	var keys []store.DomainKey
	for _, name := range names {
		d, key, ok := find(snap, name)
		if !ok {
			return nil, fmt.Errorf("DKIM key of %s: %w", name, store.ErrNotFound)
		}
		domain, keys = d, append(keys, key)
	}
	if len(keys) == 0 {
		return nil, nil
	}
	return s.sign(ctx, m, original, domain, keys)
}

func find(snap *store.Snapshot, name string) (store.Domain, store.DomainKey, bool) {
	for _, d := range snap.Domains {
		if selector, ok := strings.CutSuffix(name, "._domainkey."+d.Name); ok {
			if key, ok := d.Key(selector); ok {
				return d, key, true
			}
		}
	}
	return store.Domain{}, store.DomainKey{}, false
}

func recordNames(d store.Domain, keys []store.DomainKey) []string {
	var names []string
	for _, k := range keys {
		names = append(names, k.RecordName(d.Name))
	}
	return names
}

// sign computes, in one of the places for that.
func (s *Signer) sign(ctx context.Context, m store.Message, o *original, d store.Domain, keys []store.DomainKey) ([]byte, error) {
	var signers []dkim.Signer
	for _, k := range keys {
		key, err := s.keys.get(d.ID, k)
		if err != nil {
			return nil, fmt.Errorf("%w: %v", ErrKey, err) // not what it wraps: a damaged key is no damaged message
		}
		signers = append(signers, dkim.Signer{Domain: d.Name, Selector: k.Selector, Key: key})
	}
	select {
	case s.workers <- struct{}{}:
		defer func() { <-s.workers }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	fields, err := dkim.SignAll(signers, o.header, o.body, m.Accepted)
	if err != nil {
		return nil, fmt.Errorf("signing for %s: %w", d.Name, err)
	}
	return fields, nil
}

// original is what a signature is made of.
type original struct {
	author string // domain, in lower-case A-labels; "" where there is none
	header []byte
	body   [32]byte
}

// storedHeader is more than intake lets in: what was accepted has to be signed.
func storedHeader() message.HeaderLimits {
	return message.HeaderLimits{MaxBytes: 16 << 20, MaxFields: 1 << 20, UTF8: true}
}

// read takes the header section, and the body only where its hash is not known.
func read(ctx context.Context, m store.Message, open Open) (*original, error) {
	r, err := open(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening the message: %w", err)
	}
	defer r.Close() // read only
	header, rest, err := message.ReadHeader(r, storedHeader())
	if err != nil {
		return nil, fmt.Errorf("reading the message: %w", err)
	}
	o := &original{author: header.AuthorDomain(), header: header.Bytes(), body: m.DKIMBody}
	if o.body == [32]byte{} {
		hash := dkim.NewBodyHasher()
		if _, err := io.Copy(hash, rest); err != nil {
			return nil, fmt.Errorf("reading the message: %w", err)
		}
		o.body = hash.Sum()
	}
	return o, nil
}
