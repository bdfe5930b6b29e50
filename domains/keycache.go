package domains

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/message/dkim"
	"github.com/mailchute/mailchute/store"
)

// keyCache holds opened keys, since reading one costs more than signing with it.
// It forgets those that the directory no longer has.
type keyCache struct {
	directory Directory
	keyring   *auth.Keyring

	mu       sync.Mutex // guards what follows
	revision uint64
	keys     map[keyRef]opened
}

type keyRef struct {
	domain   int64
	selector string
}

type opened struct {
	sealed []byte // what it was opened from
	key    dkim.Key
}

func newKeyCache(d Directory, k *auth.Keyring) *keyCache {
	return &keyCache{directory: d, keyring: k, keys: map[keyRef]opened{}}
}

func (c *keyCache) get(domain int64, k store.DomainKey) (dkim.Key, error) {
	ref := keyRef{domain, k.Selector}
	c.mu.Lock()
	c.sweep()
	o, ok := c.keys[ref]
	c.mu.Unlock()
	if ok && bytes.Equal(o.sealed, k.Sealed) {
		return o.key, nil
	}
	key, err := openKey(c.keyring, domain, k)
	if err != nil {
		return dkim.Key{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys[ref] = opened{k.Sealed, key}
	return key, nil
}

// sweep drops keys that are gone or sealed anew. c.mu is held.
func (c *keyCache) sweep() {
	snap := c.directory.Snapshot()
	if snap.Revision == c.revision {
		return
	}
	c.revision = snap.Revision
	for ref, o := range c.keys {
		if k, ok := snap.Domains[ref.domain].Key(ref.selector); !ok || !bytes.Equal(k.Sealed, o.sealed) {
			delete(c.keys, ref)
		}
	}
}

func openKey(keyring *auth.Keyring, domain int64, k store.DomainKey) (dkim.Key, error) {
	private, err := keyring.OpenDomainKey(domain, k)
	if err != nil {
		return dkim.Key{}, err
	}
	key, err := dkim.ParsePEM(private)
	if err != nil {
		return dkim.Key{}, fmt.Errorf("DKIM key %q of domain %d: %w: %w", k.Selector, domain, store.ErrDamaged, err)
	}
	return key, nil
}

func (k *Keeper) open(domain int64, key store.DomainKey) (dkim.Key, error) {
	return openKey(k.keyring, domain, key)
}
