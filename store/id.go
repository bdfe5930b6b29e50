package store

import (
	"fmt"
	"time"

	"github.com/google/uuid"
)

// ID names a message. It is a UUID version 7 (RFC 9562 5.7): its first 48 bits
// are the milliseconds of its creation, so byte order is time order. Clients
// see its text in the final 250 reply and search by it.
type ID [16]byte

// NewID returns a fresh ID. It panics only when the system has no randomness.
func NewID() ID { return ID(uuid.Must(uuid.NewV7())) }

// ParseID reads the 36 character text of an ID, in either case.
func ParseID(s string) (ID, error) {
	u, err := uuid.Parse(s)
	if err != nil || len(s) != 36 {
		return ID{}, fmt.Errorf("message ID %q is not a UUID", s)
	}
	return ID(u), nil
}

// String returns the 36 character lower-case text.
func (id ID) String() string { return uuid.UUID(id).String() }

// IsZero tells whether the ID was never set.
func (id ID) IsZero() bool { return id == ID{} }

// Time returns the creation time that the ID carries, to the millisecond.
func (id ID) Time() time.Time {
	sec, nsec := uuid.UUID(id).Time().UnixTime()
	return time.Unix(sec, nsec).UTC()
}

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(b []byte) error {
	parsed, err := ParseID(string(b))
	if err == nil {
		*id = parsed
	}
	return err
}
