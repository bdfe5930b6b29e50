package local

import (
	"bytes"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// These are in the package itself: the encodings are nobody else's business.

var moment = time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)

// fullState has a value in every field, so that a field the codec forgets is seen.
func fullState() *state {
	yes := true
	reply := store.Reply{Code: -1, Enhanced: [3]int{5, 7, 300}, Text: "grüezi", Command: "dot", Host: "mx.example", Address: "2001:db8::1", At: moment}
	s := &state{
		msg: &store.Message{
			ID: store.ID{1, 2, 3, 15: 16}, Server: math.MaxInt64, Stream: "outbound", Accepted: moment, From: "a@example.com",
			UTF8: true, EightBit: true, Ret: "FULL", EnvID: "env", Size: 1 << 40, BodyHash: [32]byte{31: 1}, DKIMBody: [32]byte{30: 2}, Request: [32]byte{29: 3},
			Header: store.Display{Subject: "s", From: "f", To: []string{"a", "", "b"}, Cc: []string{""}, MessageID: "m", Names: []string{"A", "", "", ""}, Attachments: []string{"a.pdf", ""}},
			Tag:    "t", Metadata: map[string]string{"k": "v", "": ""}, TrackOpens: &yes, TrackLinks: "None",
			Credential: "smtp-token 4", Client: netip.MustParseAddr("fe80::1%eth0"), Protocol: "HTTP", Unsubscribe: "https://u.example/", ReturnHost: "b.example.com", Bounce: true, About: store.ID{9},
		},
		parts: []leased{{}, {Delivery: store.Delivery{
			Destination: "example.org", Attempt: 3, Due: moment, Lease: moment.Add(1), Expires: moment.Add(2),
			Held: moment.Add(3), Delayed: time.Unix(0, 0).UTC(), Uncertain: true, Ending: "mx", Route: "u@relay.example:25",
			DueWhy: "w", Conversation: store.Conversation{Attempt: 3, Began: moment, Missing: 1, Lines: []store.Line{{After: -1, Speaks: store.Note, Text: "n"}, {}}},
			Recipients: []store.Recipient{{Address: "a@b", Notify: "NEVER", ORcpt: "rfc822;a@b", State: store.Expired, Last: reply}, {}},
		}, epoch: math.MaxUint64}},
		events: []store.Event{{}, {At: moment, Kind: store.EventBounced, Part: 1, Attempt: 2, Recipient: "r", Reply: reply, Detail: "d", Notice: store.ID{8}, SignedBy: []string{"s1._domainkey.example.com", ""},
			TLS: store.TLS{Security: store.SecurityDANE, Version: "TLS 1.3", Cipher: "c", Subject: "CN=s"}}},
		body:   []extent{{ref: journal.Ref{Segment: 3, Offset: 4096, Length: 300}, skip: 100, length: 200}},
		places: []place{{3, 300}, {4, 12}},
		at:     journal.Position{Segment: 4, Offset: 1 << 33},
	}
	for i := range s.parts {
		s.parts[i].ID.Part = i
	}
	s.adopt()
	return s
}

var exact = cmp.Options{
	cmp.AllowUnexported(state{}, leased{}, extent{}, place{}, queued{}, located{}, accepted{}, copied{}, claimed{}, resolved{}, ending{}, amended{}, forgotten{}),
	cmpopts.EquateComparable(netip.Addr{}),
}

func TestState_RoundTrip(t *testing.T) {
	for _, want := range []*state{fullState(), {msg: &store.Message{}}} {
		want.adopt()
		got, err := decodeState(encodeState(want))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, exact); d != "" {
			t.Errorf("state (-want +got):\n%s", d)
		}
	}
}

func TestState_EveryFlippedBitIsDamage(t *testing.T) {
	v := encodeState(fullState())
	for i := range v {
		for bit := range 8 {
			v[i] ^= 1 << bit
			if _, err := decodeState(v); err == nil {
				t.Errorf("byte %d, bit %d: no error", i, bit)
			}
			v[i] ^= 1 << bit
		}
	}
}

func TestRecords_RoundTrip(t *testing.T) {
	s := fullState()
	id := s.msg.ID
	d := s.parts[1].Delivery
	ref := journal.Ref{Segment: 9, Offset: 8192}
	fresh := fullState()
	fresh.body = nil
	for _, tc := range []struct {
		kind byte
		rec  []byte
		want change
	}{
		{typeEnding, encodeEnding(id, ending{2, 3, "mx"}), ending{2, 3, "mx"}},
		{typeClaim, encodeClaim(id, claimed{2, 3, moment, 4}), claimed{2, 3, moment, 4}},
		{typeResolve, encodeResolved(&d, 0, "", s.events), &resolved{func() leased {
			d := leased{Delivery: d}
			d.ID.Message, d.Server, d.Stream = store.ID{}, 0, ""
			return d
		}(), s.events}},
		{typeAmend, encodeAmended(id, amended{Alteration: store.Alteration{Amendment: store.Reroute, By: "ada", At: moment, Stream: "other", Route: "a:25"}, parts: []int{0, 7}}), amended{Alteration: store.Alteration{Amendment: store.Reroute, By: "ada", At: moment, Stream: "other", Route: "a:25"}, parts: []int{0, 7}}},
		{typeForget, encodeForgotten(id), forgotten{}},
		{typeAccept, encodeAccepted(s), accepted{s}},
		{typeAccept, encodeAccepted(fresh), accepted{func() *state {
			n := len(encodeAccepted(fresh))
			s := fullState()
			s.body = []extent{{ref: journal.Ref{Segment: 9, Offset: 8192, Length: int64(n)}, skip: int64(n)}}
			return s
		}()}},
	} {
		ref.Length = int64(len(tc.rec))
		l, err := decodeRecordAt(tc.kind, tc.rec, ref)
		if err != nil {
			t.Fatalf("type %d: %v", tc.kind, err)
		}
		if l.id != id {
			t.Errorf("type %d: message %s, want %s", tc.kind, l.id, id)
		}
		if d := cmp.Diff(tc.want, l.change, exact); d != "" {
			t.Errorf("type %d (-want +got):\n%s", tc.kind, d)
		}
	}
}

func TestQueued_RoundTrip(t *testing.T) {
	s := fullState()
	want := queuedOf(s, s.stamp(), 1)
	got, err := parseQueued(partKey(want.stamp, want.part), want.value())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, exact); d != "" {
		t.Errorf("queue entry (-want +got):\n%s", d)
	}
}

// FuzzState feeds what may be in a damaged view whose checksum happens to be
// right, and what is in the journal: whatever decodes must encode to something
// that decodes to the same.
func FuzzState(f *testing.F) {
	f.Add(encodeState(fullState())[5:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		in := fields{rest: string(b)}
		s := readState(&in)
		if in.err != nil {
			return
		}
		again, err := decodeState(encodeState(s))
		if err != nil {
			t.Fatalf("decoding what was encoded: %v", err)
		}
		if d := cmp.Diff(s, again, exact, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("state (-want +got):\n%s", d)
		}
	})
}

// FuzzRecord feeds any bytes as any type of record, and applies what decodes.
func FuzzRecord(f *testing.F) {
	s := fullState()
	f.Add(typeAccept, encodeAccepted(s))
	f.Add(typeClaim, encodeClaim(s.msg.ID, claimed{1, 2, moment, 3}))
	f.Add(typeResolve, encodeResolved(&s.parts[1].Delivery, 0, "moved", s.events))
	f.Add(typeAmend, encodeAmended(s.msg.ID, amended{Alteration: store.Alteration{Amendment: store.Cancel, By: "me", At: moment}, parts: []int{0, 1, 2}}))
	f.Add(typeForget, encodeForgotten(s.msg.ID))
	f.Add(typeCopy, encodeAccepted(s))
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		l, err := decodeRecordAt(kind, b, journal.Ref{Segment: 5, Offset: 4096, Length: int64(len(b))})
		if err != nil {
			return
		}
		before := encodeState(s)
		for _, old := range []*state{nil, s} {
			if next, _ := l.apply(old); next != nil {
				if _, err := decodeState(encodeState(next)); err != nil {
					t.Errorf("the state after the record: %v", err)
				}
			}
		}
		if !bytes.Equal(before, encodeState(s)) {
			t.Error("applying a record changed the state before it")
		}
	})
}

// FuzzKeys checks that keys come back as they went in and sort by time, ID and part.
func FuzzKeys(f *testing.F) {
	f.Add(int64(0), int64(1), []byte("id"), uint16(1), "outbound")
	f.Add(int64(-1), int64(math.MaxInt64), []byte(""), uint16(65535), "")
	f.Fuzz(func(t *testing.T, a, b int64, raw []byte, part uint16, stream string) {
		var id store.ID
		copy(id[:], raw)
		x, y := stampOf(time.Unix(0, a), id), stampOf(time.Unix(0, b), id)
		if x.id() != id || x.accepted().UnixNano() != a {
			t.Errorf("stamp of %d and %s = %s and %s", a, id, x.accepted(), x.id())
		}
		if got := bytes.Compare(x[:], y[:]); (got < 0) != (a < b) || (got > 0) != (a > b) {
			t.Errorf("order of %d and %d = %d", a, b, got)
		}
		st, p, err := parsePartKey(partKey(x, int(part)))
		if err != nil || st != x || p != int(part) {
			t.Errorf("part key = %v, %d, %v", st, p, err)
		}
		prefix := streamPrefix(a, stream)
		if got, err := stampAt(streamKey(a, stream, x), len(prefix)); err != nil || got != x {
			t.Errorf("stream key = %v, %v", got, err)
		}
		pos := journal.Position{Segment: uint64(a), Offset: b}
		if got, err := parsePosition(positionValue(pos)); err != nil || got != pos {
			t.Errorf("position = %v, %v", got, err)
		}
	})
}

func TestOrderedNanos_TimesBeyondRangeStayInOrder(t *testing.T) {
	times := []time.Time{{}, time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1700, 1, 1, 0, 0, 0, 0, time.UTC), moment, time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)}
	var got []uint64
	for _, at := range times {
		got = append(got, orderedNanos(at))
	}
	if !slices.IsSorted(got) {
		t.Errorf("orderedNanos = %v, want it sorted", got)
	}
	first, last := time.Date(1678, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2262, 1, 1, 0, 0, 0, -1, time.UTC)
	if orderedNanos(first.Add(-1)) != 0 || orderedNanos(first) == 0 || orderedNanos(last) == math.MaxUint64 || orderedNanos(last.Add(1)) != math.MaxUint64 {
		t.Error("orderedNanos does not cut off times before 1678 and after 2261")
	}
}

// TestLeastTime compares with a sorted list, over enough removals behind a top
// that stays to compact it.
func TestLeastTime(t *testing.T) {
	var l leastTime
	var have []int64
	l.add(time.Unix(0, -1))
	have = append(have, -1)
	rnd := uint64(1)
	for i := range 20_000 {
		rnd = rnd*6364136223846793005 + 1442695040888963407
		if v := int64(rnd >> 40); i%2 == 0 || len(have) == 1 {
			l.add(time.Unix(0, v))
			have = append(have, v)
		} else {
			n := 1 + int(v)%(len(have)-1)
			l.remove(time.Unix(0, have[n]))
			have = slices.Delete(have, n, n+1)
		}
		if got := l.least().UnixNano(); got != -1 {
			t.Fatalf("least = %d after %d steps, want -1", got, i)
		}
	}
	if len(l.added) > len(have)+3*compactAt {
		t.Errorf("%d times are kept for %d", len(l.added), len(have))
	}
	for len(have) > 0 {
		least := slices.Min(have)
		if got := l.least().UnixNano(); got != least {
			t.Fatalf("least = %d, want %d", got, least)
		}
		l.remove(time.Unix(0, least))
		have = slices.Delete(have, slices.Index(have, least), slices.Index(have, least)+1)
	}
	if !l.least().IsZero() {
		t.Errorf("least of nothing = %s", l.least())
	}
}
