package auth

import (
	"bytes"
	"testing"
	"time"
)

// A link must not change when the key does, and must open as long as its key is there.
func TestLinksOutliveRotation(t *testing.T) {
	k := newWorld(t).k
	created := k.Keys()[0].Created
	nonce := [LinkNonceSize]byte{1}
	old := k.SealLink(created.Add(time.Hour), nonce, []byte("who"))
	if _, err := k.Rotate(created.Add(2 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(old, k.SealLink(created.Add(time.Hour), nonce, []byte("who"))) {
		t.Error("a link of before the rotation changed")
	}
	fresh := k.SealLink(created.Add(3*time.Hour), nonce, []byte("who"))
	if bytes.Equal(old, fresh) {
		t.Error("a link of after the rotation has the old key")
	}
	if !bytes.Equal(old, k.SealLink(created.Add(-time.Hour), nonce, []byte("who"))) {
		t.Error("a message from before all keys has not the oldest")
	}
	for _, sealed := range [][]byte{old, fresh} {
		if got, ok := k.OpenLink(nonce, sealed); !ok || string(got) != "who" {
			t.Errorf("opened %q, %v", got, ok)
		}
	}
	if _, err := k.Prune(nil); err != nil {
		t.Fatal(err)
	}
	if _, ok := k.OpenLink(nonce, old); ok {
		t.Error("opened without its key")
	}
}

func TestLinksCannotBeChanged(t *testing.T) {
	k := newWorld(t).k
	sealed := k.SealLink(time.Now(), [LinkNonceSize]byte{}, []byte("who"))
	if bytes.Contains(sealed, []byte("who")) {
		t.Error("not encrypted")
	}
	for i := range sealed {
		broken := bytes.Clone(sealed)
		broken[i] ^= 1
		if _, ok := k.OpenLink([LinkNonceSize]byte{}, broken); ok {
			t.Errorf("octet %d changed, and opened", i)
		}
	}
	if _, ok := k.OpenLink([LinkNonceSize]byte{1}, sealed); ok {
		t.Error("opened with another nonce")
	}
	if _, ok := k.OpenLink([LinkNonceSize]byte{}, nil); ok {
		t.Error("opened nothing")
	}
}
