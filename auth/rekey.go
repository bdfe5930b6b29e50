package auth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/mailchute/mailchute/store"
)

// bind names a record in its seal, so that a sealed token opens nowhere else.
func bind(kind Kind, id int64) string { return string(kind) + "/" + strconv.FormatInt(id, 10) }

// KeysInUse counts, by key number, the tokens that need a key to be verified or
// shown, the DKIM keys that need one to sign, and the webhooks that need one to
// be sent.
func KeysInUse(s *store.Snapshot) map[uint32]int {
	use := map[uint32]int{}
	for _, t := range s.ServerTokens {
		countKeys(use, t.Hash, t.Sealed)
	}
	for _, t := range s.AccountTokens {
		countKeys(use, t.Hash, t.Sealed)
	}
	for _, t := range s.SMTPTokens {
		use[t.SecretHash.Key]++
	}
	for _, d := range s.Domains {
		countDomainKeys(use, d)
	}
	for _, w := range s.Webhooks {
		if number, ok := sealedKey(w.Sealed); ok {
			use[number]++
		}
	}
	return use
}

func countKeys(use map[uint32]int, hash store.Digest, sealed []byte) {
	use[hash.Key]++
	if number, ok := sealedKey(sealed); ok && number != hash.Key {
		use[number]++
	}
}

// Check tells whether the key file belongs to the directory: every token can be
// verified, every sealed token, DKIM key and webhook opened. For each key that the
// file lacks the error holds a *KeyMissingError with the number of records that
// need it; one that does not open with the right key is
// store.ErrDamaged.
func (k *Keyring) Check(s *store.Snapshot) error {
	var faults []error
	use := KeysInUse(s)
	for _, number := range slices.Sorted(maps.Keys(use)) {
		if !k.has(number) {
			faults = append(faults, &KeyMissingError{Key: number, Records: use[number]})
		}
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	for _, id := range slices.Sorted(maps.Keys(s.ServerTokens)) {
		t := s.ServerTokens[id]
		faults = append(faults, k.usable(KindServerToken, id, t.Hash, t.Sealed))
	}
	for _, id := range slices.Sorted(maps.Keys(s.AccountTokens)) {
		t := s.AccountTokens[id]
		faults = append(faults, k.usable(KindAccountToken, id, t.Hash, t.Sealed))
	}
	for _, id := range slices.Sorted(maps.Keys(s.Domains)) {
		faults = append(faults, k.checkDomain(s.Domains[id]))
	}
	for _, id := range slices.Sorted(maps.Keys(s.Webhooks)) {
		_, err := k.OpenWebhook(s.Webhooks[id])
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// usable tells whether a sealed token opens and is what its hash says.
func (k *Keyring) usable(kind Kind, id int64, hash store.Digest, sealed []byte) error {
	token, err := k.Open(sealed, bind(kind, id))
	if err != nil {
		return fmt.Errorf("%s %d: %w", kind, id, err)
	}
	if !k.has(hash.Key) {
		return fmt.Errorf("%s %d: %w", kind, id, &KeyMissingError{Key: hash.Key})
	}
	if !k.Matches(hash, token) {
		return fmt.Errorf("%s %d: hash and token differ: %w", kind, id, store.ErrDamaged)
	}
	return nil
}

// Reset returns the changes that delete every token, DKIM key and webhook which this key
// file cannot verify or open: the way on when the right file is lost for good.
// The clients need new tokens, the domains new keys. Users, servers, streams
// and domains stay.
func (k *Keyring) Reset(s *store.Snapshot) []store.Change {
	var out []store.Change
	for _, id := range slices.Sorted(maps.Keys(s.AccountTokens)) {
		t := s.AccountTokens[id]
		if k.usable(KindAccountToken, id, t.Hash, t.Sealed) != nil {
			out = append(out, store.Change{Delete: true, AccountToken: &t})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.ServerTokens)) {
		t := s.ServerTokens[id]
		if k.usable(KindServerToken, id, t.Hash, t.Sealed) != nil {
			out = append(out, store.Change{Delete: true, ServerToken: &t})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.SMTPTokens)) {
		t := s.SMTPTokens[id]
		if !k.has(t.SecretHash.Key) {
			out = append(out, store.Change{Delete: true, SMTPToken: &t})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.Domains)) {
		if d, lost := k.withoutLost(s.Domains[id]); lost {
			out = append(out, store.Change{Domain: &d})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.Webhooks)) {
		w := s.Webhooks[id]
		if _, err := k.OpenWebhook(w); err != nil {
			out = append(out, store.Change{Delete: true, Webhook: &w})
		}
	}
	return out
}

// Rekey seals and hashes the server and account tokens and seals the DKIM keys
// and webhooks with the newest key, all in one transaction, and returns how many
// tokens, domains and webhooks it moved. Tokens and DKIM keys themselves stay as they are. SMTP
// tokens keep their key, since their secrets are not known.
func (k *Keyring) Rekey(ctx context.Context, d store.Directory) (int, error) {
	changes, err := k.rekeyed(d.Snapshot())
	if err != nil || len(changes) == 0 {
		return 0, err
	}
	_, err = store.Update(ctx, d, func(s *store.Snapshot) ([]store.Change, error) {
		changes, err = k.rekeyed(s)
		return changes, err
	})
	if err != nil {
		return 0, fmt.Errorf("moving tokens to the newest key: %w", err)
	}
	return len(changes), nil
}

func (k *Keyring) rekeyed(s *store.Snapshot) ([]store.Change, error) {
	var out []store.Change
	for _, id := range slices.Sorted(maps.Keys(s.ServerTokens)) {
		t := s.ServerTokens[id]
		moved, err := k.move(KindServerToken, id, &t.Hash, &t.Sealed)
		if err != nil {
			return nil, err
		}
		if moved {
			out = append(out, store.Change{ServerToken: &t})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.AccountTokens)) {
		t := s.AccountTokens[id]
		moved, err := k.move(KindAccountToken, id, &t.Hash, &t.Sealed)
		if err != nil {
			return nil, err
		}
		if moved {
			out = append(out, store.Change{AccountToken: &t})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.Domains)) {
		d, moved, err := k.moveDomain(s.Domains[id])
		if err != nil {
			return nil, err
		}
		if moved {
			out = append(out, store.Change{Domain: &d})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.Webhooks)) {
		w, moved, err := k.moveWebhook(s.Webhooks[id])
		if err != nil {
			return nil, err
		}
		if moved {
			out = append(out, store.Change{Webhook: &w})
		}
	}
	return out, nil
}

// move replaces hash and seal of a token by those of the newest key, and tells
// whether it had to.
func (k *Keyring) move(kind Kind, id int64, hash *store.Digest, sealed *[]byte) (bool, error) {
	newest := k.set.Load().newest().number
	if number, ok := sealedKey(*sealed); ok && number == newest && hash.Key == newest {
		return false, nil
	}
	if err := k.usable(kind, id, *hash, *sealed); err != nil {
		return false, err
	}
	token, err := k.Open(*sealed, bind(kind, id))
	if err != nil {
		return false, fmt.Errorf("%s %d: %w", kind, id, err)
	}
	*hash, *sealed = k.Digest(token), k.Seal(token, bind(kind, id))
	return true, nil
}
