package local

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/mailchute/mailchute/store"
)

// bounceListing is a listing of bounces: what the overlay has, merged with the
// index of the view. The overlay was read first: what leaves it meanwhile is in
// the view then.
type bounceListing struct {
	filter store.BounceFilter
	limit  int
	prefix []byte // of the keys of the stream
	newer  map[store.ID]entry

	upper   bouncePlace // exclusive
	overlay []store.Bounce
	view    []store.Bounce // matching, newest first, not yet merged
	done    bool           // the index has no more
}

func (l *bounceListing) begin(cursor string) error {
	for i := range l.upper {
		l.upper[i] = 0xff
	}
	if !l.filter.Until.IsZero() {
		l.upper = placeOf(&store.Bounce{At: l.filter.Until})
	}
	if cursor != "" {
		b, err := hex.DecodeString(cursor)
		if err != nil || len(b) != len(l.upper) {
			return fmt.Errorf("listing bounces: cursor: %w", store.ErrInvalid)
		}
		if bytes.Compare(b, l.upper[:]) < 0 {
			copy(l.upper[:], b)
		}
	}
	for _, e := range l.newer {
		if e.gone || e.state.msg.Server != l.filter.Server {
			continue
		}
		for _, b := range e.state.bounces() {
			if p := placeOf(&b); bytes.Compare(p[:], l.upper[:]) < 0 && l.filter.Matches(&b) {
				l.overlay = append(l.overlay, b)
			}
		}
	}
	slices.SortFunc(l.overlay, laterFirst)
	return nil
}

func laterFirst(a, b store.Bounce) int {
	x, y := placeOf(&a), placeOf(&b)
	return bytes.Compare(y[:], x[:])
}

// run returns a page and whether there is more.
func (l *bounceListing) run(ctx context.Context, db *viewDB) (page []store.Bounce, more bool, err error) {
	for {
		if len(l.view) == 0 && !l.done {
			if err := ctx.Err(); err != nil {
				return nil, false, err
			}
			if err := db.read(l.fill); err != nil {
				return nil, false, err
			}
			continue
		}
		next := &l.overlay
		if len(l.overlay) == 0 || len(l.view) > 0 && laterFirst(l.view[0], l.overlay[0]) < 0 {
			next = &l.view
		}
		if len(*next) == 0 {
			return page, false, nil
		}
		if len(page) == l.limit {
			return page, true, nil
		}
		page = append(page, (*next)[0])
		*next = (*next)[1:]
	}
}

// fill reads the next matches of the index.
func (l *bounceListing) fill(tx *bbolt.Tx) error {
	c := tx.Bucket(bucketBounce).Cursor()
	back := c.Prev
	if k, _ := c.Seek(append(bytes.Clone(l.prefix), l.upper[:]...)); k == nil {
		back = c.Last
	}
	k, v := back()
	for scanned := 0; scanned < countScan && len(l.view) <= l.limit; scanned++ {
		if k == nil || !bytes.HasPrefix(k, l.prefix) {
			l.done = true
			return nil
		}
		b, err := parseBounce(k, v, l.filter.Stream)
		if err != nil {
			return err
		}
		if !l.filter.Since.IsZero() && b.At.Before(l.filter.Since) {
			l.done = true
			return nil
		}
		l.upper = placeOf(&b)
		if _, newer := l.newer[b.Message]; !newer && l.filter.Matches(&b) {
			l.view = append(l.view, b)
		}
		k, v = c.Prev()
	}
	return nil
}
