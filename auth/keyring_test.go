package auth

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/store"
)

func TestSealOpensForItsRecordOnly(t *testing.T) {
	k := newWorld(t).k
	sealed := k.Seal("plain text", "server-token/7")
	if got, err := k.Open(sealed, "server-token/7"); err != nil || got != "plain text" {
		t.Fatalf("got %q, %v", got, err)
	}
	for _, aad := range []string{"server-token/8", "account-token/7", "", "server-token/77"} {
		if _, err := k.Open(sealed, aad); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("opened for %q: %v", aad, err)
		}
	}
	if bytes.Equal(sealed, k.Seal("plain text", "server-token/7")) {
		t.Error("sealed twice alike")
	}
	if bytes.Contains(sealed, []byte("plain")) {
		t.Error("not encrypted")
	}
}

func TestOpenRecognisesDamage(t *testing.T) {
	k := newWorld(t).k
	sealed := k.Seal("plain text", "a")
	for i := range sealed {
		broken := bytes.Clone(sealed)
		broken[i] ^= 0x80
		_, err := k.Open(broken, "a")
		missing := i >= 1 && i <= 4 // the key number
		if missing != errors.Is(err, ErrKeyMissing) || missing == errors.Is(err, store.ErrDamaged) {
			t.Errorf("octet %d: %v", i, err)
		}
		if _, err := k.Open(sealed[:i], "a"); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
}

// Seal appends within spare capacity of its own slices: none may be shared.
func TestSealAndOpenLeaveTheirInputsAlone(t *testing.T) {
	k := newWorld(t).k
	sealed := slices.Grow(k.Seal("x", "record"), 100)
	before := bytes.Clone(sealed)
	if _, err := k.Open(sealed, "record"); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, sealed) {
		t.Error("Open changed the sealed text")
	}
}

func TestOldKeysOpenAndMatch(t *testing.T) {
	k := newWorld(t).k
	sealed, digest := k.Seal("secret", "a"), k.Digest("secret")
	for range 3 {
		if _, err := k.Rotate(epoch); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := k.Open(sealed, "a"); err != nil || got != "secret" {
		t.Errorf("got %q, %v", got, err)
	}
	if !k.Matches(digest, "secret") || k.Matches(digest, "Secret") {
		t.Error("old digest is judged wrongly")
	}
	all := k.Digests("secret")
	if len(all) != 4 || all[3] != digest || all[0] != k.Digest("secret") {
		t.Errorf("digests %v are not newest to oldest", all)
	}
}

func TestMatchesNeedsKeyAndSum(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	d := w.k.Digest("secret")
	if other.k.Matches(d, "secret") {
		t.Error("another key file matches")
	}
	for i := range d.Sum {
		broken := d
		broken.Sum[i]++
		if w.k.Matches(broken, "secret") {
			t.Errorf("octet %d does not count", i)
		}
	}
}

func TestMissingKeyIsNamed(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	_, err := other.k.Open(w.k.Seal("x", "a"), "a")
	var missing *KeyMissingError
	if !errors.As(err, &missing) || missing.Key != w.k.Keys()[0].Number {
		t.Fatalf("got %v", err)
	}
	if number := strings.Split(w.k.Fingerprint(), "-")[0]; !strings.Contains(err.Error(), number) {
		t.Errorf("%q does not name key %s", err, number)
	}
}
