package store_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

func TestNewID_OrderIsTimeOrder(t *testing.T) {
	before := time.Now().Truncate(time.Millisecond)
	last := store.NewID()
	for range 1000 {
		id := store.NewID()
		if bytes.Compare(last[:], id[:]) >= 0 {
			t.Fatalf("%s comes after %s", last, id)
		}
		last = id
	}
	// IDs made faster than their fraction of a millisecond counts run ahead of the clock (RFC 9562 6.2, method 3).
	if got := last.Time(); got.Before(before) || got.After(time.Now().Add(time.Millisecond)) {
		t.Errorf("Time = %s, want between %s and now", got, before)
	}
}

func TestParseID(t *testing.T) {
	const text = "0195620d-4a5b-7c6d-8e7f-0123456789ab"
	for s, want := range map[string]bool{
		text:                                   true,
		"0195620D-4A5B-7C6D-8E7F-0123456789AB": true,
		"":                                     false,
		"0195620d4a5b7c6d8e7f0123456789ab":     false,
		"{" + text + "}":                       false,
		"urn:uuid:" + text:                     false,
		text[:35] + "g":                        false,
	} {
		id, err := store.ParseID(s)
		if (err == nil) != want {
			t.Errorf("ParseID(%q) = %v, want success %t", s, err, want)
		}
		if want && id.String() != text {
			t.Errorf("String of %q = %q, want %q", s, id, text)
		}
		if id.IsZero() == want {
			t.Errorf("IsZero of %q = %t", s, id.IsZero())
		}
	}
}

func TestID_TextRoundTrip(t *testing.T) {
	type holder struct {
		ID    store.ID            `json:"id"`
		Keyed map[store.ID]string `json:"keyed"`
	}
	want := holder{store.NewID(), map[store.ID]string{store.NewID(): "x"}}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got holder
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.ID != want.ID || len(got.Keyed) != 1 {
		t.Errorf("after JSON %s: %+v, want %+v", b, got, want)
	}
	if err := json.Unmarshal([]byte(`{"id":"x"}`), &got); err == nil || got.ID != want.ID {
		t.Errorf("a malformed ID: %v, and %s instead of %s", err, got.ID, want.ID)
	}
}
