package returns_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/returns"
	"github.com/mailchute/mailchute/store"
)

func newTags(t testing.TB) (returns.Tags, *auth.Keyring) {
	t.Helper()
	keys, err := auth.OpenKeyring(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	return returns.Tags{Keys: keys}, keys
}

func split(address string) (local, domain string) {
	local, domain, _ = strings.Cut(address, "@")
	return local, domain
}

// TestTagRoundTrip: what was minted is found again whatever became of its case; every other octet of it matters.
func TestTagRoundTrip(t *testing.T) {
	tags, _ := newTags(t)
	rapid.Check(t, func(t *rapid.T) {
		id, number := store.NewID(), rapid.IntRange(0, 1<<15-1).Draw(t, "number")
		address := tags.Mint("Bounces.Example.com", id, number)
		local, domain := split(address)
		if len(local) != 47 || local[0] != 'b' || domain != "bounces.example.com" || strings.ToLower(address) != address {
			t.Fatalf("minted %s", address)
		}
		if a, err := message.ParsePath("<"+address+">", false); err != nil || a.String() != address {
			t.Fatalf("%s is no address that stays as it is: %v", address, err)
		}
		if rapid.Bool().Draw(t, "upper") {
			local = strings.ToUpper(local)
		}
		got, n, err := tags.Check(local, "BOUNCES.example.com", id.Time())
		if err != nil || got != id || n != number {
			t.Fatalf("Check = %s %d %v, want %s %d", got, n, err, id, number)
		}
		at := rapid.IntRange(0, 46).Draw(t, "at")
		other := rapid.SampledFrom([]byte("0123456789abcdefghjkmnpqrstvwxyzilou-.@\x00\xff")).Draw(t, "octet")
		forged := []byte(strings.ToLower(local))
		if forged[at] == other {
			return
		}
		forged[at] = other
		if _, _, err := tags.Check(string(forged), domain, id.Time()); err == nil {
			t.Fatalf("%s passes for %s", forged, local)
		}
	})
}

func TestTagsThatAreNone(t *testing.T) {
	tags, _ := newTags(t)
	id := store.NewID()
	local, domain := split(tags.Mint(host, id, 5))
	stranger, _ := newTags(t)
	foreign, _ := split(stranger.Mint(host, id, 5))
	for name, s := range map[string]string{
		"empty": "", "short": local[:46], "long": local + "0", "foreign key": foreign, "all b": strings.Repeat("b", 47), "all z": "b" + strings.Repeat("z", 46), "word": "postmaster",
	} {
		if _, _, err := tags.Check(s, domain, id.Time()); err == nil {
			t.Errorf("%s: %q passes", name, s)
		}
	}
	if _, _, err := tags.Check(local, "other.example.com", id.Time()); err == nil {
		t.Error("a tag of one host passes at another")
	}
	for _, n := range []int{-1, 1 << 15} {
		if got := tags.Mint(host, id, n); got != "" {
			t.Errorf("number %d: %s", n, got)
		}
	}
}

func TestTagExpires(t *testing.T) {
	tags, _ := newTags(t)
	id := store.NewID()
	local, domain := split(tags.Mint(host, id, 0))
	for _, tt := range []struct {
		after time.Duration
		ok    bool
	}{{-time.Hour, true}, {35 * 24 * time.Hour, true}, {35*24*time.Hour + time.Second, false}} {
		if _, _, err := tags.Check(local, domain, id.Time().Add(tt.after)); (err == nil) != tt.ok {
			t.Errorf("after %v: %v", tt.after, err)
		}
	}
	tags.Lifetime = time.Hour
	if _, _, err := tags.Check(local, domain, id.Time().Add(2*time.Hour)); err == nil {
		t.Error("passes after its own lifetime")
	}
}

// TestTagOutlivesItsKey: a tag made before a rotation is taken until the old key is given up.
func TestTagOutlivesItsKey(t *testing.T) {
	tags, keys := newTags(t)
	id := store.NewID()
	before := tags.Mint(host, id, 1)
	if _, err := keys.Rotate(time.Now()); err != nil {
		t.Fatal(err)
	}
	after := tags.Mint(host, id, 1)
	if before == after {
		t.Error("the new key makes the same tag")
	}
	for _, a := range []string{before, after} {
		local, domain := split(a)
		if got, n, err := tags.Check(local, domain, id.Time()); err != nil || got != id || n != 1 {
			t.Errorf("%s: %s %d %v", a, got, n, err)
		}
	}
	if _, err := keys.Prune(nil); err != nil {
		t.Fatal(err)
	}
	local, domain := split(before)
	if _, _, err := tags.Check(local, domain, id.Time()); err == nil {
		t.Error("passes although its key is gone")
	}
}

func FuzzTagCheck(f *testing.F) {
	tags, _ := newTags(f)
	id := store.NewID()
	local, _ := split(tags.Mint(host, id, 7))
	f.Add(local)
	f.Add("postmaster")
	f.Fuzz(func(t *testing.T, s string) {
		got, n, err := tags.Check(s, host, id.Time())
		if err == nil && (strings.ToLower(s) != local || got != id || n != 7) {
			t.Fatalf("%q passes as %s %d", s, got, n)
		}
	})
}

func BenchmarkMint(b *testing.B) {
	tags, _ := newTags(b)
	id := store.NewID()
	for b.Loop() {
		tags.Mint(host, id, 3)
	}
}
