package auth

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mailchute/mailchute/store"
)

const domainID = 50

// sealed puts a domain with two DKIM keys into the directory.
func (w *world) sealedDomain() store.Domain {
	d := store.Domain{ID: domainID, Name: "example.com"}
	for _, selector := range []string{"r", "e"} {
		d.Keys = append(d.Keys, store.DomainKey{
			Selector: selector, Algorithm: store.KeyRSA, Record: "v=DKIM1; p=", Created: epoch,
			Sealed: w.k.SealDomainKey(domainID, selector, []byte("private "+selector)),
		})
	}
	w.change(store.Change{Domain: &d})
	return d
}

func TestDomainKey_OpensForItsOwnRecordOnly(t *testing.T) {
	w := newWorld(t)
	d := w.sealedDomain()
	if got, err := w.k.OpenDomainKey(d.ID, d.Keys[0]); string(got) != "private r" || err != nil {
		t.Errorf("opened %q, %v", got, err)
	}
	moved := d.Keys[0]
	moved.Selector = "e"
	for what, open := range map[string]func() ([]byte, error){
		"another domain":   func() ([]byte, error) { return w.k.OpenDomainKey(51, d.Keys[0]) },
		"another selector": func() ([]byte, error) { return w.k.OpenDomainKey(d.ID, moved) },
	} {
		if got, err := open(); !errors.Is(err, store.ErrDamaged) || got != nil {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
}

func TestRekey_MovesDomainKeys(t *testing.T) {
	w := newWorld(t)
	w.sealedDomain()
	old := w.k.Keys()[0].Number
	added, err := w.k.Rotate(epoch)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[uint32]int{old: 2}, KeysInUse(w.d.Snapshot())); diff != "" {
		t.Errorf("before: %s", diff)
	}
	if n, err := w.k.Rekey(t.Context(), w.d); n != 1 || err != nil {
		t.Fatalf("moved %d, %v", n, err)
	}
	if diff := cmp.Diff(map[uint32]int{added.Number: 2}, KeysInUse(w.d.Snapshot())); diff != "" {
		t.Errorf("after: %s", diff)
	}
	if removed, err := w.k.Prune(KeysInUse(w.d.Snapshot())); len(removed) != 1 || err != nil {
		t.Errorf("pruned %v, %v", removed, err)
	}
	d := w.d.Snapshot().Domains[domainID]
	if got, err := w.k.OpenDomainKey(d.ID, d.Keys[1]); string(got) != "private e" || err != nil {
		t.Errorf("after rekeying and pruning: %q, %v", got, err)
	}
	if n, err := w.k.Rekey(t.Context(), w.d); n != 0 || err != nil {
		t.Errorf("a second time: %d, %v", n, err)
	}
	if err := w.k.Check(w.d.Snapshot()); err != nil {
		t.Error(err)
	}
}

func TestCheckAndReset_DomainKeysOfALostFile(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	d := w.sealedDomain()
	var missing *KeyMissingError
	if err := other.k.Check(w.d.Snapshot()); !errors.As(err, &missing) || missing.Records != 2 {
		t.Errorf("check with another file: %v", err)
	}
	d.Keys[0].Sealed[len(d.Keys[0].Sealed)-1] ^= 1
	w.change(store.Change{Domain: &d})
	if err := w.k.Check(w.d.Snapshot()); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("check of a damaged key: %v", err)
	}
	for _, tc := range []struct {
		k    *Keyring
		left int
	}{{w.k, 1}, {other.k, 0}} {
		changes := tc.k.Reset(w.d.Snapshot())
		if len(changes) != 1 || len(changes[0].Domain.Keys) != tc.left || changes[0].Delete {
			t.Fatalf("reset: %+v, want a domain with %d keys", changes, tc.left)
		}
	}
	if len(w.d.Snapshot().Domains[domainID].Keys) != 2 {
		t.Error("Reset changed the snapshot that it was given")
	}
}
