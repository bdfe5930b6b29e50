package local

import (
	"bytes"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

// suppressionListing is a walk through the lists in short transactions.
type suppressionListing struct {
	filter store.SuppressionFilter
	prefix []byte
	after  []byte // the last key looked at
	limit  int
	out    []store.Suppression
	end    bool // there is nothing behind after
}

// scan looks at up to listScan keys.
func (l *suppressionListing) scan(tx *bbolt.Tx) error {
	c := tx.Bucket(bucketSuppression).Cursor()
	k, v := l.seek(c)
	for n := 0; n < listScan && len(l.out) < l.limit; n++ {
		if k == nil || !bytes.HasPrefix(k, l.prefix) {
			l.end = true
			return nil
		}
		if err := l.one(k, v); err != nil {
			return err
		}
		l.after = append(l.after[:0], k...)
		k, v = c.Next()
	}
	l.end = k == nil || !bytes.HasPrefix(k, l.prefix)
	return nil
}

// seek finds the first key behind the last one.
func (l *suppressionListing) seek(c *bbolt.Cursor) (k, v []byte) {
	from := l.prefix
	if bytes.Compare(l.after, from) > 0 {
		from = l.after
	}
	if k, v = c.Seek(from); k != nil && len(l.after) > 0 && bytes.Equal(k, l.after) {
		return c.Next()
	}
	return k, v
}

func (l *suppressionListing) one(k, v []byte) error {
	server, stream, address, err := parseListKey(k)
	if err != nil {
		return err
	}
	entry, err := parseListed(v)
	if err != nil {
		return err
	}
	if c := entry.current(); c != nil {
		if s := c.suppression(server, stream, address); l.filter.Matches(s) {
			l.out = append(l.out, s)
		}
	}
	return nil
}

// checkSuppressions reads every entry of the lists.
func checkSuppressions(tx *bbolt.Tx, r *Report) error {
	return tx.Bucket(bucketSuppression).ForEach(func(k, v []byte) error {
		_, _, address, err := parseListKey(k)
		if err != nil {
			r.problem("bucket %s: key %x: %v", bucketSuppression, k, err)
			return nil
		}
		l, err := parseListed(v)
		switch {
		case err != nil:
			r.problem("bucket %s: %s: %v", bucketSuppression, address, err)
		case len(l.Changes) == 0:
			r.problem("bucket %s: %s was never on the list", bucketSuppression, address)
		case l.current() != nil:
			r.Suppressions++
		}
		return nil
	})
}

// deleteLists deletes the lists of a server.
func deleteLists(tx *bbolt.Tx, server int64) error {
	prefix := numberKey(uint64(server))
	c := tx.Bucket(bucketSuppression).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Seek(prefix) { // Next may skip a key after Delete
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}

// listCopy is how many entries one transaction of a copy takes.
const listCopy = 4096

// copySuppressions copies the good entries of the lists of a file to a fresh one in
// several transactions, until a page cannot be read, and says how many it
// had to leave out. A file of schema 1 has none.
func copySuppressions(from *bbolt.DB, to *viewDB) (copied, bad int, err error) {
	var after []byte
	for more := true; more; {
		keys, values := [][]byte{}, [][]byte{}
		err := guarded("reading suppressions", func() error {
			return from.View(func(tx *bbolt.Tx) (err error) {
				keys, values, err = goodEntries(tx.Bucket(bucketSuppression), after, &bad)
				return err
			})
		})
		if err != nil {
			return copied, bad, err
		}
		if more = len(keys) > 0; !more {
			break
		}
		after = keys[len(keys)-1]
		n := 0
		err = to.write(func(tx *bbolt.Tx) error {
			for i := range keys {
				if values[i] == nil {
					continue
				}
				n++
				if err := tx.Bucket(bucketSuppression).Put(keys[i], values[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return copied, bad, err
		}
		copied += n
	}
	return copied, bad, nil
}

// goodEntries returns copies of the next entries, with a nil value for one that
// cannot be read.
func goodEntries(b *bbolt.Bucket, after []byte, bad *int) (keys, values [][]byte, err error) {
	if b == nil {
		return nil, nil, nil
	}
	l := suppressionListing{after: after}
	c := b.Cursor()
	for k, v := l.seek(c); k != nil && len(keys) < listCopy; k, v = c.Next() {
		keys = append(keys, bytes.Clone(k))
		if _, err := parseListed(v); err != nil {
			*bad++
			values = append(values, nil)
			continue
		}
		values = append(values, bytes.Clone(v))
	}
	return keys, values, nil
}
