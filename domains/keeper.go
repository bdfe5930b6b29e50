package domains

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/message/dkim"
	"github.com/mailchute/mailchute/store"
)

// Options tunes a Keeper. Zero values mean the defaults named.
type Options struct {
	Resolver   Resolver         // required by Verify and Run
	MX         MXResolver       // looks up where return paths lead; nil: none is verified
	ReturnPath string           // our own host for return paths, where those of domains are to lead; "": none is verified
	Log        *slog.Logger     // of Run; nil discards
	Overlap    time.Duration    // how long a replaced key's record stays needed; 7 days
	Keep       time.Duration    // how long a retired key is kept; 45 days
	Every      time.Duration    // how often Run looks at a domain; 24 hours
	Timeout    time.Duration    // for all lookups of one domain; 30 seconds
	Now        func() time.Time // time.Now
	Rand       func() float64   // in [0,1), for Run's jitter; math/rand/v2
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&o.Overlap, 7 * 24 * time.Hour}, {&o.Keep, 45 * 24 * time.Hour}, {&o.Every, 24 * time.Hour}, {&o.Timeout, 30 * time.Second}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = defaultRand
	}
	return o
}

// Keeper changes the domains of a directory. Each method is one transaction of
// the directory. It is safe for concurrent use.
type Keeper struct {
	directory store.Directory
	keyring   *auth.Keyring
	opts      Options
}

// NewKeeper returns a Keeper of the domains in d, whose private keys k seals.
func NewKeeper(d store.Directory, k *auth.Keyring, opts Options) *Keeper {
	return &Keeper{directory: d, keyring: k, opts: opts.withDefaults()}
}

// ErrPending: the domain has keys already that wait for their records.
var ErrPending = errors.New("a new key waits for its record to be published")

// pair is a key of each algorithm. Making it takes a tenth of a second, so it is
// made before the transaction.
type pair struct{ rsa, ed25519 dkim.Key }

func newPair() (p pair, err error) {
	if p.rsa, err = dkim.GenerateRSA(dkim.MinRSABits); err == nil {
		p.ed25519, err = dkim.GenerateEd25519()
	}
	if err != nil {
		return pair{}, fmt.Errorf("making DKIM keys: %w", err)
	}
	return p, nil
}

// Add stores a domain, named in lower-case A-labels, with a pending pair of keys.
// It fails with store.ErrExists when it is there.
func (k *Keeper) Add(ctx context.Context, name string) (store.Domain, error) {
	for _, d := range k.directory.Snapshot().Domains { // before keys are made for nothing
		if d.Name == name {
			return store.Domain{}, fmt.Errorf("adding domain %s: %w", name, store.ErrExists)
		}
	}
	keys, err := newPair()
	if err != nil {
		return store.Domain{}, err
	}
	var d store.Domain
	_, err = store.Update(ctx, k.directory, func(s *store.Snapshot) ([]store.Change, error) {
		d = store.Domain{ID: s.NextID(0), Name: name, Created: k.opts.Now()}
		if err := k.addPair(&d, keys); err != nil {
			return nil, err
		}
		return []store.Change{{Domain: &d}}, nil
	})
	if err != nil {
		return store.Domain{}, fmt.Errorf("adding domain %s: %w", name, err)
	}
	return d, nil
}

func (k *Keeper) addPair(d *store.Domain, p pair) error {
	now := k.opts.Now()
	for _, n := range []struct {
		algorithm store.KeyAlgorithm
		key       dkim.Key
	}{{store.KeyRSA, p.rsa}, {store.KeyEd25519, p.ed25519}} {
		if err := k.addKey(d, selector(*d, n.algorithm, now), n.algorithm, n.key); err != nil {
			return err
		}
	}
	return nil
}

// addKey adds a pending key. Where the domain has its most, the oldest retired
// one makes room.
func (k *Keeper) addKey(d *store.Domain, selector string, algorithm store.KeyAlgorithm, key dkim.Key) error {
	signer := dkim.Signer{Domain: d.Name, Selector: selector, Key: key}
	if err := signer.Validate(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrInvalid, err)
	}
	private, err := key.MarshalPEM()
	if err != nil {
		return err
	}
	d.Keys = slices.Clone(d.Keys)
	if len(d.Keys) >= store.MaxDomainKeys {
		if i := slices.IndexFunc(d.Keys, func(k store.DomainKey) bool { return !k.Retired.IsZero() }); i >= 0 {
			d.Keys = slices.Delete(d.Keys, i, i+1)
		}
	}
	d.Keys = append(d.Keys, store.DomainKey{
		Selector: selector, Algorithm: algorithm, Record: key.Record(), Created: k.opts.Now(),
		Sealed: k.keyring.SealDomainKey(d.ID, selector, private),
	})
	return nil
}

// Rotate gives the domain a new pending pair of keys, or with now one that signs
// at once; what is pending already is then taken. ErrPending when there is a
// pair and now is not set. An Ed25519 key alone, beside an RSA key that signs,
// is none: many publish the record of the RSA key only.
func (k *Keeper) Rotate(ctx context.Context, id int64, now bool) (store.Domain, error) {
	if d := k.directory.Snapshot().Domains[id]; !now && pairPending(d.Keys) { // before keys are made for nothing
		return store.Domain{}, fmt.Errorf("rotating the keys of domain %d: %w", id, ErrPending)
	}
	keys, err := newPair()
	if err != nil {
		return store.Domain{}, err
	}
	return k.update(ctx, id, "rotating the keys of", func(d *store.Domain) error {
		waiting := slices.ContainsFunc(d.Keys, pending)
		if !now && pairPending(d.Keys) {
			return ErrPending
		}
		if !waiting || !now {
			if err := k.addPair(d, keys); err != nil {
				return err
			}
		}
		if now {
			d.Keys = activateAll(d.Keys, k.opts.Now())
		}
		return nil
	})
}

// pairPending tells whether a new key has to be published before another is made.
func pairPending(keys []store.DomainKey) bool {
	rsa := func(k store.DomainKey) bool { return k.Algorithm == store.KeyRSA }
	if slices.ContainsFunc(keys, func(k store.DomainKey) bool { return pending(k) && rsa(k) }) {
		return true
	}
	signs := slices.ContainsFunc(keys, func(k store.DomainKey) bool { return active(k) && rsa(k) })
	return !signs && slices.ContainsFunc(keys, pending)
}

// Import adds a key that was made elsewhere, in the PEM form that dkim.ParsePEM
// reads. It is pending, or with now it signs at once.
func (k *Keeper) Import(ctx context.Context, id int64, selector string, pem []byte, now bool) (store.Domain, error) {
	key, err := dkim.ParsePEM(pem)
	if err != nil {
		return store.Domain{}, fmt.Errorf("reading the key: %w: %w", store.ErrInvalid, err)
	}
	return k.update(ctx, id, "importing a key for", func(d *store.Domain) error {
		if _, there := d.Key(selector); there {
			return fmt.Errorf("selector %q: %w", selector, store.ErrExists)
		}
		if err := k.addKey(d, selector, store.KeyAlgorithm(key.Type()), key); err != nil {
			return err
		}
		if now {
			d.Keys = activate(d.Keys, selector, k.opts.Now())
		}
		return nil
	})
}

// Verify looks at the domain's records in DNS and stores what it saw. Keys whose
// record is there and right become active. The domain counts as verified from
// the first time that the record of one of its keys was seen: who can publish
// it controls the domain. What is wrong with records is in the result's Check
// and no error.
func (k *Keeper) Verify(ctx context.Context, id int64) (store.Domain, error) {
	d, ok := k.directory.Snapshot().Domains[id]
	if !ok {
		return store.Domain{}, fmt.Errorf("domain %d: %w", id, store.ErrNotFound)
	}
	check, seen := k.check(ctx, d)
	if err := ctx.Err(); err != nil {
		return store.Domain{}, err
	}
	return k.update(ctx, id, "verifying", func(d *store.Domain) error {
		now := k.opts.Now()
		d.Check = check
		k.applyReturnPath(d, check)
		d.Keys = activateSeen(d.Keys, seen, now)
		if d.Verified.IsZero() && len(seen) > 0 {
			d.Verified = now
		}
		return nil
	})
}

// update changes the newest state of one domain.
func (k *Keeper) update(ctx context.Context, id int64, doing string, change func(*store.Domain) error) (store.Domain, error) {
	var d store.Domain
	_, err := store.Update(ctx, k.directory, func(s *store.Snapshot) ([]store.Change, error) {
		var ok bool
		if d, ok = s.Domains[id]; !ok {
			return nil, store.ErrNotFound
		}
		if err := change(&d); err != nil {
			return nil, err
		}
		return []store.Change{{Domain: &d}}, nil
	})
	if err != nil {
		return store.Domain{}, fmt.Errorf("%s domain %d: %w", doing, id, err)
	}
	return d, nil
}
