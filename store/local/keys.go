package local

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// Files of the data directory.
const (
	dbName      = "mailchute.db"
	journalName = "journal"
	lockName    = "lock"
)

// The buckets of mailchute.db. Integers are big-endian and of fixed width, so
// byte order is number order. The first byte of every value but those of meta
// and of the pure indexes is its format version.
//
//	bucket     key                                  value
//	meta       "schema"                             number of migrations applied, 8
//	meta       "position"                           journal position of the view: segment 8, offset 8
//	meta       "batch"                              number of the newest checkpoint, 8
//	directory  0x00                                 revision 8, highest record number 8
//	directory  kind 1, number 8                     version, CRC-32C of the JSON 4, JSON of the record
//	directory  kind of stream, server 8, stream ID  the same
//	message    ID 16                                state of a message (codec_state.go)
//	time       stamp 24                             nothing
//	stream     server 8, stream, 0x00, stamp 24     nothing; only messages that are in no block
//	block      server 8, stream, 0x00, stamp 24     messages of a stream, and what they are searched by (block.go); the newest names it
//	live       as in block                          which messages of a block are there, and unfinished (blocks.go)
//	queue      stamp 24, part 2                     ticket of an unfinished delivery (codec_ticket.go)
//	held       stamp 24, part 2                     nothing; also in queue
//	segment    journal segment 8                    messages 8, bytes 8 still needed of it
//	suppression  server 8, stream, 0x00, address    version, CRC-32C of the JSON 4, JSON of its changes
//	stats      server 8, day 4, stream, 0x00, tag   counters of a day (stats.go); those without a tag are of the whole stream
//	bounce     server 8, stream, 0x00, time 8, bounce ID 8  a bounce, as filters see it (bounces.go)
//	bounceid   server 8, bounce ID 8, message 16  nothing
//	hook       webhook 8, lane 16, number 8         notification that waits (codec_notification.go)
//	hookdue    webhook 8, due 8, lane 16, number 8  nothing; the first of each lane of hook
//	hookdead   webhook 8, died 8, number 8          notification that was given up
//
//	intervention  number 8, from 1              version, CRC-32C of the JSON 4, JSON of a store.Intervention
//	note       name                                version, CRC-32C of the text 4, text
//
// A stamp is the time of acceptance in nanoseconds since 1970 with the sign bit
// inverted, 8, and the message's ID, 16: time order, made unique.
//
// A lane is what notifications are in order of: a message's ID, or a hash of an
// address on a list. Numbers grow and are never used again.
//
// directory, suppression, intervention, note and the hook buckets are the only ones that the journal
// cannot bring back at all, and stats not once messages are forgotten.
var (
	bucketMeta      = []byte("meta")
	bucketDirectory = []byte("directory")
	bucketMessage   = []byte("message")
	bucketTime      = []byte("time")
	bucketStream    = []byte("stream")
	bucketQueue     = []byte("queue")
	bucketHeld      = []byte("held")
	bucketSegment   = []byte("segment")
	bucketBlock     = []byte("block")
	bucketLive      = []byte("live")
	bucketStats     = []byte("stats")

	bucketSuppression = []byte("suppression")
	bucketBounce      = []byte("bounce")
	bucketBounceID    = []byte("bounceid")

	bucketHook     = []byte("hook")
	bucketHookDue  = []byte("hookdue")
	bucketHookDead = []byte("hookdead")

	bucketIntervention = []byte("intervention")
	bucketNote         = []byte("note")

	keySchema   = []byte("schema")
	keyPosition = []byte("position")
	keyBatch    = []byte("batch")
)

// Kinds of directory records: the first byte of their keys.
const (
	kindRevision byte = iota
	kindAccount
	kindUser
	kindServer
	kindStream
	kindAccountToken
	kindServerToken
	kindSMTPToken
	kindDomain
	kindSignature
	kindWebhook
)

const stampSize = 24

var errKey = errors.New("malformed key")

// stamp is the key of a message in every index that is in time order.
type stamp [stampSize]byte

func stampOf(accepted time.Time, id store.ID) (s stamp) {
	binary.BigEndian.PutUint64(s[:], orderedNanos(accepted))
	copy(s[8:], id[:])
	return s
}

// The first second of 1678 and the last one of 2261. Between them nanoseconds fit
// into 64 bits.
const (
	firstSecond = -9214560000
	lastSecond  = 9214646399
)

// orderedNanos maps a time to a number of the same order. Times beyond what 64
// bits of nanoseconds hold become the nearest that they do.
func orderedNanos(t time.Time) uint64 {
	const signBit = 1 << 63
	switch s := t.Unix(); {
	case s < firstSecond:
		return 0
	case s > lastSecond:
		return math.MaxUint64
	}
	return uint64(t.UnixNano()) ^ signBit
}

func (s stamp) id() (id store.ID) { copy(id[:], s[8:]); return id }

func (s stamp) accepted() time.Time {
	return time.Unix(0, int64(binary.BigEndian.Uint64(s[:])^(1<<63))).UTC()
}

func (s stamp) key() []byte { return s[:] }

// partKey is the key of one delivery in queue and held.
func partKey(s stamp, part int) []byte {
	return appendPartKey(make([]byte, 0, stampSize+2), s, part)
}

func appendPartKey(b []byte, s stamp, part int) []byte {
	return binary.BigEndian.AppendUint16(append(b, s[:]...), uint16(part))
}

func parsePartKey(k []byte) (s stamp, part int, err error) {
	if len(k) != stampSize+2 {
		return s, 0, errKey
	}
	copy(s[:], k)
	return s, int(binary.BigEndian.Uint16(k[stampSize:])), nil
}

// streamPrefix is what the keys of one stream's messages begin with.
func streamPrefix(server int64, stream string) []byte {
	k := make([]byte, 0, 8+len(stream)+1+stampSize)
	k = binary.BigEndian.AppendUint64(k, uint64(server))
	k = append(k, stream...)
	return append(k, 0)
}

func streamKey(server int64, stream string, s stamp) []byte {
	return append(streamPrefix(server, stream), s[:]...)
}

// stampAt takes the stamp that follows prefix bytes of an index key.
func stampAt(k []byte, prefix int) (s stamp, err error) {
	if len(k) < prefix+stampSize {
		return s, errKey
	}
	copy(s[:], k[prefix:])
	return s, nil
}

func numberKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func parseNumber(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, errKey
	}
	return binary.BigEndian.Uint64(b), nil
}

func recordKey(kind byte, id int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, uint64(id))
}

func directoryStreamKey(k store.StreamKey) []byte {
	return append(recordKey(kindStream, k.Server), k.Stream...)
}

func positionValue(p journal.Position) []byte {
	return binary.BigEndian.AppendUint64(numberKey(p.Segment), uint64(p.Offset))
}

func parsePosition(b []byte) (journal.Position, error) {
	if len(b) != 16 {
		return journal.Position{}, errKey
	}
	return journal.Position{
		Segment: binary.BigEndian.Uint64(b),
		Offset:  int64(binary.BigEndian.Uint64(b[8:])),
	}, nil
}
