package auth

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/mailchute/mailchute/store"
)

// bindDomainKey names a DKIM key in its seal, so that it opens for no other
// domain or selector.
func bindDomainKey(domain int64, selector string) string {
	return "domain-key/" + strconv.FormatInt(domain, 10) + "/" + selector
}

// SealDomainKey encrypts the private key of a domain's selector with the newest
// key, for store.DomainKey.Sealed.
func (k *Keyring) SealDomainKey(domain int64, selector string, private []byte) []byte {
	return k.Seal(string(private), bindDomainKey(domain, selector))
}

// OpenDomainKey returns the private key that SealDomainKey sealed. It fails as
// Open does.
func (k *Keyring) OpenDomainKey(domain int64, key store.DomainKey) ([]byte, error) {
	private, err := k.Open(key.Sealed, bindDomainKey(domain, key.Selector))
	if err != nil {
		return nil, fmt.Errorf("opening DKIM key %q of domain %d: %w", key.Selector, domain, err)
	}
	return []byte(private), nil
}

func countDomainKeys(use map[uint32]int, d store.Domain) {
	for _, key := range d.Keys {
		if number, ok := sealedKey(key.Sealed); ok {
			use[number]++
		}
	}
}

func (k *Keyring) checkDomain(d store.Domain) error {
	var faults []error
	for _, key := range d.Keys {
		_, err := k.OpenDomainKey(d.ID, key)
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// withoutLost returns the domain without the DKIM keys that do not open.
func (k *Keyring) withoutLost(d store.Domain) (store.Domain, bool) {
	kept := slices.DeleteFunc(slices.Clone(d.Keys), func(key store.DomainKey) bool {
		_, err := k.OpenDomainKey(d.ID, key)
		return err != nil
	})
	lost := len(kept) < len(d.Keys)
	d.Keys = kept
	return d, lost
}

// moveDomain seals the domain's DKIM keys with the newest key, and tells whether
// it had to.
func (k *Keyring) moveDomain(d store.Domain) (store.Domain, bool, error) {
	newest := k.set.Load().newest().number
	moved := false
	d.Keys = slices.Clone(d.Keys)
	for i, key := range d.Keys {
		if number, ok := sealedKey(key.Sealed); ok && number == newest {
			continue
		}
		private, err := k.OpenDomainKey(d.ID, key)
		if err != nil {
			return d, false, err
		}
		d.Keys[i].Sealed = k.SealDomainKey(d.ID, key.Selector, private)
		moved = true
	}
	return d, moved, nil
}
