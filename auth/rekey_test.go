package auth

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mailchute/mailchute/store"
)

func TestRekeyMovesWhatItCan(t *testing.T) {
	w := newWorld(t)
	c := newCast(w)
	v := NewVerifier(w.d, w.k, patient)
	old := w.k.Keys()[0].Number
	added, err := w.k.Rotate(epoch)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.k.Rekey(t.Context(), w.d); n != 3 || err != nil {
		t.Fatalf("moved %d, %v", n, err)
	}
	if diff := cmp.Diff(map[uint32]int{old: 3, added.Number: 3}, KeysInUse(w.d.Snapshot())); diff != "" {
		t.Errorf("keys in use: %s", diff)
	}
	assertAllWork(t, w, v, c)
	revision := w.d.Snapshot().Revision
	if n, err := w.k.Rekey(t.Context(), w.d); n != 0 || err != nil || w.d.Snapshot().Revision != revision {
		t.Errorf("a second time: %d, %v", n, err)
	}
	if removed, err := w.k.Prune(KeysInUse(w.d.Snapshot())); removed != nil || err != nil {
		t.Errorf("pruned %v that SMTP tokens need, %v", removed, err)
	}
	for id := range w.d.Snapshot().SMTPTokens {
		if err := RevokeSMTPToken(t.Context(), w.d, id); err != nil {
			t.Fatal(err)
		}
	}
	if removed, err := w.k.Prune(KeysInUse(w.d.Snapshot())); len(removed) != 1 || err != nil {
		t.Errorf("pruned %v, %v", removed, err)
	}
	if got, err := v.SMTP(t.Context(), office, c.server, c.server); err != nil || got.Token != c.serverRecord.ID {
		t.Errorf("after pruning: %v, %v", got, err)
	}
}

// assertAllWork demands that every credential of the cast is verified and shown.
func assertAllWork(t *testing.T, w *world, v *Verifier, c cast) {
	t.Helper()
	for _, l := range c.good() {
		if _, err := v.SMTP(t.Context(), office, l.username, l.password); err != nil {
			t.Errorf("%s: %v", l.name, err)
		}
	}
	if _, err := v.AccountToken(t.Context(), office, c.account); err != nil {
		t.Errorf("account token: %v", err)
	}
	if got, err := RevealServerToken(w.k, w.d.Snapshot().ServerTokens[c.serverRecord.ID]); got != c.server || err != nil {
		t.Errorf("revealed another token, %v", err)
	}
	if err := w.k.Check(w.d.Snapshot()); err != nil {
		t.Errorf("check: %v", err)
	}
}

// A record whose hash is under one key and whose seal is under another, as of a
// rotation in the midst of a mint, is moved whole.
func TestRekeyMendsSplitRecord(t *testing.T) {
	for _, part := range []string{"hash", "seal"} {
		t.Run(part+" is newer", func(t *testing.T) {
			w := newWorld(t)
			token, record := w.serverToken(shop)
			added, err := w.k.Rotate(epoch)
			if err != nil {
				t.Fatal(err)
			}
			if part == "hash" {
				record.Hash = w.k.Digest(token)
			} else {
				record.Sealed = w.k.Seal(token, bind(KindServerToken, record.ID))
			}
			w.change(store.Change{ServerToken: &record})
			if n := len(KeysInUse(w.d.Snapshot())); n != 2 {
				t.Fatalf("%d keys in use", n)
			}
			if n, err := w.k.Rekey(t.Context(), w.d); n != 1 || err != nil {
				t.Errorf("moved %d, %v", n, err)
			}
			if diff := cmp.Diff(map[uint32]int{added.Number: 1}, KeysInUse(w.d.Snapshot())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRekeyWithoutTheOldKeyChangesNothing(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	newCast(w)
	revision := w.d.Snapshot().Revision
	if _, err := other.k.Rekey(t.Context(), w.d); !errors.Is(err, ErrKeyMissing) {
		t.Errorf("got %v", err)
	}
	if w.d.Snapshot().Revision != revision {
		t.Error("changed the directory")
	}
}

func TestRekeyNamesTheLostHashKey(t *testing.T) {
	w := newWorld(t)
	_, record := w.serverToken(shop)
	record.Hash.Key++
	w.change(store.Change{ServerToken: &record})
	_, err := w.k.Rekey(t.Context(), w.d)
	var missing *KeyMissingError
	if !errors.As(err, &missing) || missing.Key != record.Hash.Key {
		t.Errorf("got %v", err)
	}
}

func TestCheckNamesTheLostKey(t *testing.T) {
	w := newWorld(t)
	newCast(w)
	lost := w.k.Keys()[0].Number
	fresh, err := OpenKeyring(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	err = fresh.Check(w.d.Snapshot())
	var missing *KeyMissingError
	if !errors.As(err, &missing) || *missing != (KeyMissingError{Key: lost, Records: 6}) {
		t.Fatalf("got %v", err)
	}
	if want := fmt.Sprintf("key file lacks a key: 6 tokens were made with key %08x", lost); err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if err := w.k.Check(w.d.Snapshot()); err != nil {
		t.Errorf("with the right file: %v", err)
	}
}

// damage returns the ways in which a token's record can be wrong under the right
// key.
func damage(w *world, t store.ServerToken, other store.ServerToken) map[string]store.ServerToken {
	sealOfOther, cut, hashOff := t, t, t
	sealOfOther.Sealed = other.Sealed
	cut.Sealed = t.Sealed[:10]
	hashOff.Hash = w.k.Digest("something else")
	return map[string]store.ServerToken{"seal of another token": sealOfOther, "seal cut short": cut, "hash of something else": hashOff}
}

func TestCheckAndResetFindDamage(t *testing.T) {
	for name := range damage(newWorld(t), store.ServerToken{Sealed: make([]byte, 10)}, store.ServerToken{}) {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			_, record := w.serverToken(shop)
			_, other := w.serverToken(blog)
			broken := damage(w, record, other)[name]
			w.change(store.Change{ServerToken: &broken})
			if err := w.k.Check(w.d.Snapshot()); !errors.Is(err, store.ErrDamaged) || errors.Is(err, ErrKeyMissing) {
				t.Errorf("check: %v", err)
			}
			reset := w.k.Reset(w.d.Snapshot())
			if len(reset) != 1 || !reset[0].Delete || reset[0].ServerToken.ID != record.ID {
				t.Errorf("reset: %d changes", len(reset))
			}
		})
	}
}

func TestResetDeletesOnlyWhatIsLost(t *testing.T) {
	w := newWorld(t)
	newCast(w)
	if changes := w.k.Reset(w.d.Snapshot()); changes != nil {
		t.Fatalf("%d changes though nothing is lost", len(changes))
	}
	fresh, err := OpenKeyring(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	token, kept, err := CreateServerToken(t.Context(), w.d, fresh, shop, "", epoch)
	if err != nil {
		t.Fatal(err)
	}
	snap, err := w.d.Change(t.Context(), w.d.Snapshot().Revision, fresh.Reset(w.d.Snapshot())...)
	if err != nil {
		t.Fatal(err)
	}
	if len(snap.ServerTokens) != 1 || len(snap.AccountTokens)+len(snap.SMTPTokens) != 0 || len(snap.Servers) != 2 || len(snap.Streams) != 6 {
		t.Errorf("left: %d server tokens, %d account tokens, %d SMTP tokens, %d servers, %d streams",
			len(snap.ServerTokens), len(snap.AccountTokens), len(snap.SMTPTokens), len(snap.Servers), len(snap.Streams))
	}
	if err := fresh.Check(snap); err != nil {
		t.Errorf("check after reset: %v", err)
	}
	got, err := NewVerifier(w.d, fresh, patient).SMTP(t.Context(), office, token, token)
	if err != nil || got.Token != kept.ID {
		t.Errorf("the token made after the loss: %v, %v", got, err)
	}
}
