package dkim

import (
	"errors"
	"testing"
)

func TestRecordCovers_AgreesWithMatches(t *testing.T) {
	key, err := GenerateEd25519()
	if err != nil {
		t.Fatal(err)
	}
	other, err := GenerateEd25519()
	if err != nil {
		t.Fatal(err)
	}
	should := parsed(t, key.Record())
	for record, want := range map[string]error{
		key.Record():                   nil,
		key.Record() + "; t=y; n=note": nil,
		other.Record():                 ErrOtherKey,
		"v=DKIM1; p=":                  ErrRevoked,
		key.Record() + "; h=sha1":      ErrRestricted,
		key.Record() + "; s=other":     ErrRestricted,
	} {
		published := parsed(t, record)
		covers, matches := published.Covers(should), key.Matches(published)
		if !errors.Is(covers, want) || !errors.Is(matches, want) {
			t.Errorf("%s: Covers %v, Matches %v, want %v", record, covers, matches, want)
		}
	}
	if err := should.Covers(parsed(t, "v=DKIM1; p=")); !errors.Is(err, ErrRevoked) {
		t.Errorf("a key that should be void: %v", err)
	}
}

func parsed(t *testing.T, record string) Record {
	t.Helper()
	r, err := ParseRecord(record)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
