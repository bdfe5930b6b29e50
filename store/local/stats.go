package local

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

// countKey names a counter. A tag counts for itself and for "", which is all of
// a stream.
type countKey struct {
	server      int64
	day         uint32 // since 1970 in UTC
	stream, tag string
}

func compareCountKeys(a, b countKey) int {
	return cmp.Or(cmp.Compare(a.server, b.server), cmp.Compare(a.day, b.day), strings.Compare(a.stream, b.stream), strings.Compare(a.tag, b.tag))
}

// tally is what is to be added to counters.
type tally map[countKey]store.Counts

func (t tally) add(k countKey, c store.Counts) {
	have := t[k]
	have.Add(c)
	t[k] = have
}

// merge adds another tally. It may keep parts of it.
func (t tally) merge(o tally) {
	for k, c := range o {
		t.add(k, c)
	}
}

// dayOf numbers the days; times outside the range count at its ends.
func dayOf(t time.Time) uint32 {
	return uint32(min(max(t.Unix(), 0)/secondsADay, math.MaxUint32))
}

const secondsADay = 24 * 60 * 60

func dateOf(day uint32) time.Time { return time.Unix(int64(day)*secondsADay, 0).UTC() }

// count adds what became of a message's recipients since old, nil where
// nothing of it was counted.
func (t tally) count(old, next *state) {
	m := next.msg
	if m.Bounce || m.Returned {
		return
	}
	n := len(next.events)
	if old != nil {
		n = min(max(next.tallied-old.tallied, 0), n)
	}
	older, fresh := next.events[:len(next.events)-n], next.events[len(next.events)-n:]
	t.countBounces(m, older, fresh)
	for i := range next.parts {
		for j := range next.parts[i].Recipients {
			r := &next.parts[i].Recipients[j]
			if counts(r.State) && !counted(old, i, j) {
				t.one(m, settled(r, fresh, m), store.Counts{Sent: 1})
			}
		}
	}
}

// countBounces counts the bounces that the list of bounces has anew.
func (t tally) countBounces(m *store.Message, older, fresh []store.Event) {
	bounces := m.Bounces(fresh)
	if len(bounces) == 0 {
		return
	}
	known := m.Bounces(older)
	for _, b := range bounces {
		if !slices.ContainsFunc(known, func(k store.Bounce) bool { return k.ID == b.ID }) {
			t.one(m, b.At, store.Counts{Bounces: map[string]int64{b.Type: 1}})
		}
	}
}

func (t tally) one(m *store.Message, at time.Time, c store.Counts) {
	k := countKey{server: m.Server, day: dayOf(at), stream: m.Stream}
	if t.add(k, c); m.Tag != "" {
		k.tag = m.Tag
		t.add(k, c)
	}
}

// counts tells whether a recipient in this state is one that was sent to.
func counts(s store.State) bool {
	return s == store.Sent || s == store.Captured || s == store.Bounced || s == store.Expired
}

func counted(old *state, part, index int) bool {
	return old != nil && part < len(old.parts) && index < len(old.parts[part].Recipients) && counts(old.parts[part].Recipients[index].State)
}

// settled is when a recipient came into its state.
func settled(r *store.Recipient, fresh []store.Event, m *store.Message) time.Time {
	switch {
	case !r.Last.At.IsZero():
		return r.Last.At
	case len(fresh) > 0:
		return fresh[len(fresh)-1].At
	}
	return m.Accepted
}

// statsKey is server 8, day 4, stream, 0x00, tag.
func statsKey(k countKey) []byte {
	return append(append(append(dayKey(k.server, k.day), k.stream...), 0), k.tag...)
}

func dayKey(server int64, day uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(make([]byte, 0, 64), uint64(server)), day)
}

func parseStatsKey(b []byte) (k countKey, err error) {
	if len(b) < 13 {
		return k, fmt.Errorf("counter: %w: %w", errKey, store.ErrDamaged)
	}
	stream, tag, ok := bytes.Cut(b[12:], []byte{0})
	if !ok {
		return k, fmt.Errorf("counter: %w: %w", errKey, store.ErrDamaged)
	}
	return countKey{int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint32(b[8:]), string(stream), string(tag)}, nil
}

// The value of bucket stats: format version 1, CRC-32C of the rest 4, fields.
const statsFormat = 1

func statsValue(c store.Counts) []byte {
	b := make([]byte, 5, 64)
	b = putInt(b, 1, c.Sent)
	for _, kind := range slices.Sorted(maps.Keys(c.Bounces)) {
		var at int
		b, at = open(b, 2)
		b = shut(putInt(putString(b, 1, kind), 2, c.Bounces[kind]), at)
	}
	b[0] = statsFormat
	binary.BigEndian.PutUint32(b[1:], crc32.Checksum(b[5:], castagnoli))
	return b
}

func parseStats(v []byte) (c store.Counts, err error) {
	if len(v) < 5 || v[0] != statsFormat {
		return c, fmt.Errorf("counter of unknown format: %w", store.ErrDamaged)
	}
	if crc32.Checksum(v[5:], castagnoli) != binary.BigEndian.Uint32(v[1:]) {
		return c, fmt.Errorf("counter: checksum: %w", store.ErrDamaged)
	}
	f := fields{rest: string(v[5:])}
	for f.next() {
		switch f.tag {
		case 1:
			c.Sent = f.signed()
		case 2:
			var n typeCount
			inner(&f, &n, readTypeCount)
			c.Add(store.Counts{Bounces: map[string]int64{n.kind: n.n}})
		default:
			f.unknown("counter")
		}
	}
	return c, f.err
}

type typeCount struct {
	kind string
	n    int64
}

func readTypeCount(f *fields, c *typeCount) {
	for f.next() {
		switch f.tag {
		case 1:
			c.kind = f.text
		case 2:
			c.n = f.signed()
		default:
			f.unknown("count of bounces")
		}
	}
}

// write adds a tally to the counters of the view. A damaged counter begins anew:
// mail must not wait for it, and Check has told of it.
func (t tally) write(b *bbolt.Bucket) error {
	tags := map[countKey]int{} // without tag: how many there are
	for _, k := range slices.SortedFunc(maps.Keys(t), compareCountKeys) {
		key := statsKey(k)
		c, v := t[k], b.Get(key)
		if v == nil && k.tag != "" && !roomForTag(b, k, tags) {
			continue
		}
		if v != nil {
			if have, err := parseStats(v); err == nil {
				have.Add(c)
				c = have
			}
		}
		if err := b.Put(key, statsValue(c)); err != nil {
			return err
		}
	}
	return nil
}

// roomForTag tells whether one more tag can be counted by itself, and notes it.
func roomForTag(b *bbolt.Bucket, k countKey, tags map[countKey]int) bool {
	k.tag = ""
	n, known := tags[k]
	if !known {
		prefix := statsKey(k)
		c := b.Cursor()
		for key, _ := c.Seek(append(bytes.Clone(prefix), 0)); key != nil && bytes.HasPrefix(key, prefix) && n < store.MaxDayTags; key, _ = c.Next() {
			n++
		}
	}
	room := n < store.MaxDayTags
	if room {
		n++
	}
	tags[k] = n
	return room
}

// Stats implements store.Statistics.
func (s *Store) Stats(ctx context.Context, f store.StatsFilter) ([]store.Day, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	r := statsReading{f: f, first: 0, last: math.MaxUint32, days: map[uint32]store.Counts{}}
	if !f.Since.IsZero() {
		r.first = dayOf(f.Since)
	}
	if !f.Until.IsZero() {
		r.last = dayOf(f.Until)
	}
	pending := s.over.pending()
	err := s.db.read(func(tx *bbolt.Tx) error {
		written, err := batchOf(tx)
		if err != nil {
			return err
		}
		for _, p := range pending {
			if p.batch > written { // else it is in the view by now
				p.tally.each(r.add)
			}
		}
		return r.walk(ctx, tx.Bucket(bucketStats))
	})
	if err != nil {
		return nil, fmt.Errorf("reading statistics: %w", err)
	}
	out := make([]store.Day, 0, len(r.days))
	for _, day := range slices.Sorted(maps.Keys(r.days)) {
		out = append(out, store.Day{Date: dateOf(day), Counts: r.days[day]})
	}
	return out, nil
}

func (t tally) each(fn func(countKey, store.Counts)) {
	for k, c := range t {
		fn(k, c)
	}
}

// statsReading is one Stats.
type statsReading struct {
	f           store.StatsFilter
	first, last uint32
	days        map[uint32]store.Counts
}

func (r *statsReading) add(k countKey, c store.Counts) {
	if k.server != r.f.Server || k.day < r.first || k.day > r.last || k.tag != r.f.Tag || r.f.Stream != "" && k.stream != r.f.Stream {
		return
	}
	sum := store.Counts{}
	sum.Add(r.days[k.day]) // maps are not shared
	sum.Add(c)
	r.days[k.day] = sum
}

// walk goes from stream to stream of each day, and not through the tags.
func (r *statsReading) walk(ctx context.Context, b *bbolt.Bucket) error {
	c := b.Cursor()
	for k, _ := c.Seek(dayKey(r.f.Server, r.first)); k != nil; {
		at, err := parseStatsKey(k)
		if err != nil {
			return err
		}
		if at.server != r.f.Server || at.day > r.last {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		at.tag = r.f.Tag
		if v := b.Get(statsKey(at)); v != nil {
			counts, err := parseStats(v)
			if err != nil {
				return err
			}
			r.add(at, counts)
		}
		at.tag = ""
		next := statsKey(at)
		next[len(next)-1] = 1 // no stream ID has a byte under it
		k, _ = c.Seek(next)
	}
	return nil
}

// unwritten is a tally that a checkpoint of that number writes.
type unwritten struct {
	batch uint64
	tally tally
}

// pending returns what is counted and may not be in the view yet.
func (o *overlay) pending() []unwritten {
	o.mu.Lock()
	defer o.mu.Unlock()
	copied := func(t tally) tally {
		c := make(tally, len(t))
		c.merge(t)
		return c
	}
	return []unwritten{{o.batch, copied(o.written)}, {o.batch + 1, copied(o.tally)}}
}

// batchOf returns the number of the newest checkpoint.
func batchOf(tx *bbolt.Tx) (uint64, error) {
	v := tx.Bucket(bucketMeta).Get(keyBatch)
	if v == nil {
		return 0, nil
	}
	n, err := parseNumber(v)
	if err != nil {
		return 0, fmt.Errorf("number of the checkpoint: %w: %w", err, store.ErrDamaged)
	}
	return n, nil
}

// createStats counts what the messages of a file tell.
func createStats(tx *bbolt.Tx) error {
	b, err := tx.CreateBucketIfNotExists(bucketStats)
	if err != nil {
		return fmt.Errorf("creating bucket %s: %w", bucketStats, err)
	}
	if k, _ := b.Cursor().First(); k != nil {
		return nil // counted before
	}
	t := tally{}
	err = tx.Bucket(bucketMessage).ForEach(func(_, v []byte) error {
		s, err := decodeState(v)
		if err != nil {
			return err
		}
		t.count(nil, s)
		return nil
	})
	if err != nil {
		return err
	}
	return t.write(b)
}

// checkStats reads every counter. What they say cannot be compared with anything
// once messages are forgotten.
func checkStats(tx *bbolt.Tx, r *Report) error {
	return tx.Bucket(bucketStats).ForEach(func(k, v []byte) error {
		_, err := parseStatsKey(k)
		if err == nil {
			_, err = parseStats(v)
		}
		if err != nil {
			r.problem("bucket %s: key %x: %v", bucketStats, k, err)
		}
		return nil
	})
}
