package local

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/mailchute/mailchute/store"
)

// The value of buckets hook and hookdead: format version 1, CRC-32C of the rest
// 4, fields. What the key says is not in it.
const notificationFormat = 1

func encodeNotification(n *store.Notification) []byte {
	b := make([]byte, 5, 384)
	b = putID(b, 1, n.ID)
	b = putInt(b, 2, n.Server)
	b = putString(b, 3, n.Stream)
	b = putString(b, 4, n.Trigger)
	b = putID(b, 5, n.Message)
	var at int
	if n.Change == nil {
		b, at = open(b, 6)
		b = shut(putEvent(b, &n.Event), at)
	} else {
		b, at = open(b, 7)
		b = shut(putChange(b, n.Change), at)
	}
	b = putInt(b, 8, int64(n.Attempt))
	b = putTime(b, 9, n.Due)
	if n.Last != (store.Try{}) {
		b, at = open(b, 10)
		b = putTime(b, 1, n.Last.At)
		b = putInt(b, 2, int64(n.Last.Status))
		b = shut(putString(b, 3, n.Last.Error), at)
	}
	b = putTime(b, 11, n.Dead)
	b[0] = notificationFormat
	binary.BigEndian.PutUint32(b[1:], crc32.Checksum(b[5:], castagnoli))
	return b
}

func putChange(b []byte, c *store.SuppressionChange) []byte {
	b = putString(b, 1, c.Address)
	b = putString(b, 2, c.Reason)
	b = putString(b, 3, c.Origin)
	b = putTime(b, 4, c.Created)
	b = putString(b, 5, c.By)
	b = putID(b, 6, c.Message)
	b = putTime(b, 7, c.Removed)
	return putString(b, 8, c.RemovedBy)
}

// decodeNotification is the inverse of encodeNotification. It keeps nothing of v.
func decodeNotification(v []byte) (store.Notification, error) {
	if len(v) < 5 || v[0] != notificationFormat {
		return store.Notification{}, fmt.Errorf("notification of unknown format: %w", store.ErrDamaged)
	}
	if crc32.Checksum(v[5:], castagnoli) != binary.BigEndian.Uint32(v[1:]) {
		return store.Notification{}, fmt.Errorf("notification: checksum: %w", store.ErrDamaged)
	}
	f := fields{rest: string(v[5:])}
	n := readNotification(&f)
	if f.err != nil {
		return n, fmt.Errorf("notification: %w", f.err)
	}
	return n, nil
}

func readNotification(f *fields) (n store.Notification) {
	for f.next() {
		switch f.tag {
		case 1:
			n.ID = f.id()
		case 2:
			n.Server = f.signed()
		case 3:
			n.Stream = f.text
		case 4:
			n.Trigger = store.Trigger(f.text)
		case 5:
			n.Message = f.id()
		case 6:
			inner(f, &n.Event, readEvent)
		case 7:
			n.Change = &store.SuppressionChange{}
			inner(f, n.Change, readListChange)
		case 8:
			n.Attempt = f.number()
		case 9:
			n.Due = f.time()
		case 10:
			inner(f, &n.Last, readTry)
		case 11:
			n.Dead = f.time()
		default:
			f.unknown("notification")
		}
	}
	if n.Change != nil {
		n.Change.Server, n.Change.Stream = n.Server, n.Stream
	}
	return n
}

func readListChange(f *fields, c *store.SuppressionChange) {
	for f.next() {
		switch f.tag {
		case 1:
			c.Address = f.text
		case 2:
			c.Reason = store.SuppressionReason(f.text)
		case 3:
			c.Origin = store.SuppressionOrigin(f.text)
		case 4:
			c.Created = f.time()
		case 5:
			c.By = f.text
		case 6:
			c.Message = f.id()
		case 7:
			c.Removed = f.time()
		case 8:
			c.RemovedBy = f.text
		default:
			f.unknown("change of a list")
		}
	}
}

func readTry(f *fields, t *store.Try) {
	for f.next() {
		switch f.tag {
		case 1:
			t.At = f.time()
		case 2:
			t.Status = f.number()
		case 3:
			t.Error = f.text
		default:
			f.unknown("try")
		}
	}
}
