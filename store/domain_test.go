package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

func domainKey(selector string, algorithm store.KeyAlgorithm, active, replaced, retired int) store.DomainKey {
	at := func(hours int) (t time.Time) {
		if hours > 0 {
			t = created.Add(time.Duration(hours) * time.Hour)
		}
		return t
	}
	return store.DomainKey{
		Selector: selector, Algorithm: algorithm, Sealed: []byte{1}, Record: "v=DKIM1; p=x", Created: created,
		Active: at(active), Replaced: at(replaced), Retired: at(retired),
	}
}

func TestSigningKeys(t *testing.T) {
	const rsa, ed = store.KeyRSA, store.KeyEd25519
	keys := []store.DomainKey{
		domainKey("e0", ed, 10, 50, 90), domainKey("r0", rsa, 10, 50, 90),
		domainKey("r1", rsa, 50, 100, 0), domainKey("e1", ed, 60, 0, 0),
		domainKey("r2", rsa, 100, 0, 0), domainKey("r3", rsa, 0, 0, 0),
	}
	for _, tc := range []struct {
		hours int
		want  string
	}{
		{1, "r1 e1"},   // accepted before any key: the first that is left
		{20, "r1 e1"},  // its keys are retired
		{55, "r1 e1"},  // e1 was not active then
		{99, "r1 e1"},  // an hour before the replacement
		{100, "r2 e1"}, // the time of the replacement
		{500, "r2 e1"},
	} {
		var got []string
		for _, k := range (store.Domain{Keys: keys}).SigningKeys(created.Add(time.Duration(tc.hours) * time.Hour)) {
			got = append(got, k.Selector)
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("accepted after %d hours: signed by %v, want %s", tc.hours, got, tc.want)
		}
	}
	if (store.Domain{Keys: keys[:3]}).Signs() || !(store.Domain{Keys: keys[5:]}).Signs() || !(store.Domain{Keys: keys[4:5]}).Signs() {
		t.Error("Signs: want no for keys that are replaced, yes for a pending or an active one")
	}
}

func TestDomainKeys_Rules(t *testing.T) {
	good := domainKey("s1", store.KeyRSA, 0, 0, 0)
	var many []store.DomainKey
	for i := range store.MaxDomainKeys + 1 {
		many = append(many, domainKey("s"+string(rune('a'+i)), store.KeyRSA, 0, 0, 0))
	}
	edited := func(edit func(*store.DomainKey)) []store.DomainKey {
		k := good
		edit(&k)
		return []store.DomainKey{k}
	}
	selector := func(s string) []store.DomainKey { return edited(func(k *store.DomainKey) { k.Selector = s }) }
	for name, tc := range map[string]struct {
		keys []store.DomainKey
		want error
	}{
		"good":           {[]store.DomainKey{good, domainKey("s2.sub", store.KeyEd25519, 0, 0, 0)}, nil},
		"most":           {many[:store.MaxDomainKeys], nil},
		"too many":       {many, store.ErrLimit},
		"twice":          {[]store.DomainKey{good, good}, store.ErrExists},
		"empty selector": {selector(""), store.ErrInvalid},
		"upper case":     {selector("S1"), store.ErrInvalid},
		"underscore":     {selector("a_b"), store.ErrInvalid},
		"dash at end":    {selector("a-"), store.ErrInvalid},
		"empty label":    {selector("a..b"), store.ErrInvalid},
		"long label":     {selector(strings.Repeat("a", 64)), store.ErrInvalid},
		"long selector":  {selector(strings.Repeat("a.", 100) + "a"), store.ErrInvalid},
		"algorithm":      {edited(func(k *store.DomainKey) { k.Algorithm = "dsa" }), store.ErrInvalid},
		"no key":         {edited(func(k *store.DomainKey) { k.Sealed = nil }), store.ErrInvalid},
		"no record":      {edited(func(k *store.DomainKey) { k.Record = "" }), store.ErrInvalid},
	} {
		_, err := base(t).With(store.Change{Domain: &store.Domain{ID: 6, Name: "example.com", Keys: tc.keys}})
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

func TestSnapshot_Signer(t *testing.T) {
	active, pending := domainKey("r", store.KeyRSA, 1, 0, 0), domainKey("p", store.KeyRSA, 0, 0, 0)
	s, err := base(t).With(
		store.Change{Domain: &store.Domain{ID: 6, Name: "example.com", Keys: []store.DomainKey{active}}},
		store.Change{Domain: &store.Domain{ID: 30, Name: "new.example.com", Keys: []store.DomainKey{pending}}},
		store.Change{Domain: &store.Domain{ID: 31, Name: "only.example", Keys: []store.DomainKey{pending}}},
		store.Change{Domain: &store.Domain{ID: 32, Name: "keyless.example"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	for author, want := range map[string]struct {
		has bool
		by  string
	}{
		"example.com": {true, "example.com"}, "a.b.example.com": {true, "example.com"},
		"new.example.com": {true, "example.com"}, "only.example": {true, ""}, "keyless.example": {false, ""},
		"xexample.com": {false, ""}, "com": {false, ""}, "": {false, ""},
	} {
		d, keys := s.Signer(author, created)
		if s.HasSigner(author) != want.has || d.Name != want.by || (len(keys) > 0) != (want.by != "") {
			t.Errorf("%q: HasSigner %v, signed by %q with %d keys; want %+v", author, s.HasSigner(author), d.Name, len(keys), want)
		}
	}
}
