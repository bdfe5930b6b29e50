package journal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"
	"time"
)

// TestFormatRoundTrip: what is encoded is decoded, and no changed byte is.
func TestFormatRoundTrip(t *testing.T) {
	h := header{
		number: 7, generation: 0x1122334455667788, created: time.Unix(0, 1234567890123456789).UTC(),
		prevNumber: 6, prevGeneration: 42, prevEnd: firstFrame + 99,
	}
	b := h.encode()
	for _, off := range []int{headerOffset, headerCopyOffset} {
		if got, err := decodeHeader(b[off:]); err != nil || got != h {
			t.Fatalf("header at %d: %+v, %v", off, got, err)
		}
	}
	for i := range headerBytes {
		bad := bytes.Clone(b[:blockSize])
		bad[i] ^= 0x10
		if _, err := decodeHeader(bad); err == nil {
			t.Fatalf("header with byte %d changed was accepted", i)
		}
	}
	if _, blank, err := decodeSeal(b[sealOffset:]); !blank || err != nil {
		t.Fatalf("the seal of a new segment: %v", err)
	}
	s := seal{number: 7, generation: 9, end: firstFrame + 1}
	for i := range sealBytes {
		bad := s.encode()
		bad[i] ^= 0x80
		if _, _, err := decodeSeal(bad); err == nil {
			t.Fatalf("seal with byte %d changed was accepted", i)
		}
	}
	if got, blank, err := decodeSeal(s.encode()); blank || err != nil || got != s {
		t.Fatalf("seal: %+v, %v", got, err)
	}
}

// TestFrameHeaderBelongsToItsPlace: a frame header is valid at one offset of
// one generation only.
func TestFrameHeaderBelongsToItsPlace(t *testing.T) {
	var b [frameHeaderSize]byte
	seed := seedOf(5)
	putFrameHeader(b[:], seed, 20000, 10, 3, flagLast, 77)
	f, reason := parseFrame(b[:], seed, 20000, 30000)
	want := frame{off: 20000, length: 10, typ: 3, flags: flagLast, payloadCRC: 77, headerCRC: f.headerCRC}
	if reason != "" || f != want {
		t.Fatalf("%+v, %q", f, reason)
	}
	for name, c := range map[string]struct {
		seed       uint32
		off, limit int64
		want       string
	}{
		"other generation": {seedOf(6), 20000, 30000, reasonHeader},
		"other offset":     {seed, 20001, 30000, reasonHeader},
		"behind the limit": {seed, 20000, 20025, reasonLength},
	} {
		if _, reason := parseFrame(b[:], c.seed, c.off, c.limit); reason != c.want {
			t.Errorf("%s: %q, want %q", name, reason, c.want)
		}
	}
	if _, reason := parseFrame(make([]byte, frameHeaderSize), seed, 0, 99); reason != reasonNoFrame {
		t.Errorf("zeros: %q", reason)
	}
}

// TestGroupMatchesOnlyItself: a commit frame closes its own group only.
func TestGroupMatchesOnlyItself(t *testing.T) {
	g := newGroup(firstFrame, seedOf(1))
	g.add(10)
	g.add(20)
	c := commit{generation: 1, start: g.start, frames: g.frames, chain: g.chain, at: time.Unix(0, 5).UTC()}
	var b [commitPayloadSize]byte
	c.put(b[:])
	if got := parseCommit(b[:]); got != c || !g.matches(got, 1) {
		t.Fatalf("%+v", got)
	}
	swapped := newGroup(firstFrame, seedOf(1))
	swapped.add(20)
	swapped.add(10)
	for name, bad := range map[string]group{
		"other start": {firstFrame + 1, g.frames, g.chain},
		"fewer":       {firstFrame, 1, g.chain},
		"swapped":     swapped,
	} {
		if bad.matches(c, 1) {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSegmentNames(t *testing.T) {
	for _, n := range []uint64{1, 99, 1<<64 - 1} {
		if got, ok := parseSegmentName(segmentName(n)); !ok || got != n {
			t.Errorf("%d: %d, %v", n, got, ok)
		}
	}
	for _, name := range []string{"1.seg", segmentName(0), "0000000000000000000x.seg", "00000000000000000001.segx", "spare-1.free"} {
		if n, ok := parseSegmentName(name); ok {
			t.Errorf("%s was taken for segment %d", name, n)
		}
	}
}

func TestUpdateUint(t *testing.T) {
	for _, v := range []uint64{0, 1, 1 << 31, 0x0123456789abcdef, 1<<64 - 1} {
		b := binary.BigEndian.AppendUint64(nil, v)
		for n := range 9 {
			if got, want := updateUint(0xdeadbeef, v, n), crc32.Update(0xdeadbeef, castagnoli, b[8-n:]); got != want {
				t.Errorf("%d bytes of %x: %x, want %x", n, v, got, want)
			}
		}
	}
}
