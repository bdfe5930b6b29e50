package local

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/mailchute/mailchute/store"
)

// The value of bucket message: format version 1, CRC-32C of the rest 4, fields.
// bbolt's pages have no checksum, so the value has one.
const stateFormat = 1

// encodeState makes the value of bucket message.
func encodeState(s *state) []byte { return appendState(make([]byte, 0, 512), s) }

func appendState(b []byte, s *state) []byte {
	at := len(b)
	b = putState(append(b, stateFormat, 0, 0, 0, 0), s)
	v := b[at:]
	binary.BigEndian.PutUint32(v[1:], crc32.Checksum(v[5:], castagnoli))
	return b
}

// decodeState is the inverse of encodeState. It keeps nothing of v.
func decodeState(v []byte) (*state, error) { return decodeStateAs(v, false) }

// decodeLight is decodeState without events, body, places, and To, Cc, names and files of
// the header: a third of the time. The result is for reading what searches compare.
func decodeLight(v []byte) (*state, error) { return decodeStateAs(v, true) }

func decodeStateAs(v []byte, light bool) (*state, error) {
	if len(v) < 5 || v[0] != stateFormat {
		return nil, fmt.Errorf("message state of unknown format: %w", store.ErrDamaged)
	}
	if crc32.Checksum(v[5:], castagnoli) != binary.BigEndian.Uint32(v[1:]) {
		return nil, fmt.Errorf("message state: checksum: %w", store.ErrDamaged)
	}
	f := fields{rest: string(v[5:]), light: light}
	s := readState(&f)
	if f.err != nil {
		return nil, fmt.Errorf("message state: %w", f.err)
	}
	return s, nil
}

func putState(b []byte, s *state) []byte {
	b, at := open(b, 1)
	b = shut(putMessage(b, s.msg), at)
	for i := range s.parts {
		b, at = open(b, 2)
		b = shut(putDelivery(b, &s.parts[i].Delivery, s.parts[i].epoch, s.parts[i].moved), at)
	}
	for i := range s.events {
		b, at = open(b, 3)
		b = shut(putEvent(b, &s.events[i]), at)
	}
	b = putExtents(b, 4, s.body)
	for _, p := range s.places {
		b, at = open(b, 5)
		b = shut(putInt(putUint(b, 1, p.segment), 2, p.bytes), at)
	}
	b = putUint(b, 6, s.at.Segment)
	return putInt(b, 7, s.at.Offset)
}

func readState(f *fields) *state {
	s := &state{msg: &store.Message{}}
	for f.next() {
		if f.light && f.tag >= 3 && f.tag <= 5 {
			continue
		}
		switch f.tag {
		case 1:
			inner(f, s.msg, readMessage)
		case 2:
			s.parts = element(f, s.parts, readDelivery)
		case 3:
			s.events = element(f, s.events, readEvent)
		case 4:
			s.body = element(f, s.body, readExtent)
		case 5:
			s.places = element(f, s.places, readPlace)
		case 6:
			s.at.Segment = f.num
		case 7:
			s.at.Offset = f.signed()
		default:
			f.unknown("message state")
		}
	}
	s.adopt()
	return s
}

func putExtents(b []byte, tag byte, body []extent) []byte {
	for _, e := range body {
		var at int
		b, at = open(b, tag)
		b = putUint(b, 1, e.ref.Segment)
		b = putInt(b, 2, e.ref.Offset)
		b = putInt(b, 3, e.ref.Length)
		b = putInt(b, 4, e.skip)
		b = putInt(b, 5, e.length)
		b = shut(b, at)
	}
	return b
}

func readExtent(f *fields, e *extent) {
	for f.next() {
		switch f.tag {
		case 1:
			e.ref.Segment = f.num
		case 2:
			e.ref.Offset = f.signed()
		case 3:
			e.ref.Length = f.signed()
		case 4:
			e.skip = f.signed()
		case 5:
			e.length = f.signed()
		default:
			f.unknown("body extent")
		}
	}
	if e.skip < 0 || e.length < 0 || e.ref.Length < e.length || e.skip != e.ref.Length-e.length {
		f.fail("body extent is not the end of its record")
	}
}

func readPlace(f *fields, p *place) {
	for f.next() {
		switch f.tag {
		case 1:
			p.segment = f.num
		case 2:
			p.bytes = f.signed()
		default:
			f.unknown("place")
		}
	}
}
