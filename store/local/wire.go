package local

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/mailchute/mailchute/store"
)

// The encoding of mail in journal and view: a sequence of fields. A field
// begins with one byte, twice its tag, plus 1 for text. What follows is a
// variable-length number, or for text its length as such a number and the
// bytes; a structure is text that holds fields. Fields with the zero value are
// left out; repeated ones are written once per element, in order. An unknown
// tag is an error: the schema version, not the decoder, tells old from new.
//
// It was chosen over JSON by measurement (BenchmarkCodec): about a ninth of the
// time and less than half of the bytes for an ordinary message, in the journal
// and in the view.

// putUint appends a number unless it is 0.
func putUint(b []byte, tag byte, v uint64) []byte {
	if v == 0 {
		return b
	}
	return binary.AppendUvarint(append(b, tag<<1), v)
}

// putInt appends a signed number unless it is 0; the sign is the lowest bit.
func putInt(b []byte, tag byte, v int64) []byte {
	return putUint(b, tag, uint64(v)<<1^uint64(v>>63))
}

func putBool(b []byte, tag byte, v bool) []byte {
	if !v {
		return b
	}
	return append(b, tag<<1, 1)
}

func putString[S ~string | ~[]byte](b []byte, tag byte, s S) []byte {
	if len(s) == 0 {
		return b
	}
	return append(binary.AppendUvarint(append(b, tag<<1|1), uint64(len(s))), s...)
}

func putID(b []byte, tag byte, id store.ID) []byte {
	if id.IsZero() {
		return b
	}
	return putString(b, tag, id[:])
}

// putTime appends nanoseconds since 1970. The zero time is left out; a time
// outside the years 1678 to 2261 is written as the nearest inside.
func putTime(b []byte, tag byte, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	n := int64(orderedNanos(t) ^ 1<<63)
	return binary.AppendUvarint(append(b, tag<<1), uint64(n)<<1^uint64(n>>63))
}

// open begins a structure; shut ends it and needs what open returned.
func open(b []byte, tag byte) ([]byte, int) {
	b = append(b, tag<<1|1, 0)
	return b, len(b)
}

func shut(b []byte, at int) []byte {
	n := len(b) - at
	if n < 0x80 {
		b[at-1] = byte(n)
		return b
	}
	var length [binary.MaxVarintLen64]byte
	size := binary.PutUvarint(length[:], uint64(n))
	b = append(b, length[:size-1]...) // room
	copy(b[at-1+size:], b[at:at+n])
	copy(b[at-1:], length[:size])
	return b
}

// fields reads a sequence of fields. Text that it returns is part of the
// string it reads. The first error sticks and ends the sequence.
type fields struct {
	rest string
	err  error

	tag  byte
	num  uint64
	text string

	// light leaves out of a state what no search index holds: see decodeLight.
	light bool
}

func (f *fields) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), store.ErrDamaged)
	}
	f.rest = ""
}

// next moves to the next field and tells whether there is one.
func (f *fields) next() bool {
	if f.err != nil || f.rest == "" {
		return false
	}
	key := f.rest[0]
	f.rest = f.rest[1:]
	f.tag, f.num, f.text = key>>1, f.uvarint(), ""
	if key&1 == 0 || f.err != nil {
		return f.err == nil
	}
	if f.num > uint64(len(f.rest)) {
		f.fail("field %d: %d bytes of %d", f.tag, len(f.rest), f.num)
		return false
	}
	f.text, f.rest, f.num = f.rest[:f.num], f.rest[f.num:], 0
	return true
}

func (f *fields) uvarint() (v uint64) {
	for i := 0; i < len(f.rest) && i < binary.MaxVarintLen64; i++ {
		c := f.rest[i]
		if i == binary.MaxVarintLen64-1 && c > 1 {
			break
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			f.rest = f.rest[i+1:]
			return v
		}
	}
	f.fail("a number has no end")
	return 0
}

func (f *fields) unknown(what string) { f.fail("%s has the unknown field %d", what, f.tag) }

func (f *fields) signed() int64 { return int64(f.num>>1) ^ -int64(f.num&1) }

// number reads a signed number that fits an int.
func (f *fields) number() int { return int(f.signed()) }

func (f *fields) time() time.Time { return time.Unix(0, f.signed()).UTC() }

func (f *fields) id() (id store.ID) {
	if len(f.text) != len(id) {
		f.fail("an ID of %d bytes", len(f.text))
		return id
	}
	copy(id[:], f.text)
	return id
}

// inner reads the structure in the current field into v.
func inner[T any](f *fields, v *T, read func(*fields, *T)) {
	rest := f.rest
	f.rest = f.text
	if read(f, v); f.err == nil {
		f.rest = rest
	}
}

// element reads the structure in the current field as one more of a list.
func element[T any](f *fields, list []T, read func(*fields, *T)) []T {
	var zero T
	list = append(list, zero)
	inner(f, &list[len(list)-1], read)
	return list
}
