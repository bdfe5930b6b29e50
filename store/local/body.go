package local

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/journal"
)

// Body implements store.Queue.
func (s *Store) Body(ctx context.Context, id store.ID) (io.ReadCloser, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	st, err := s.find(id)
	if err != nil {
		return nil, err
	}
	r, err := s.openBody(st)
	if errors.Is(err, journal.ErrNotFound) {
		// Retention may have copied the message and released the old place between the
		// two steps above.
		if st, err = s.find(id); err == nil {
			r, err = s.openBody(st)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the body of message %s: %w", id, damaged(err))
	}
	return r, nil
}

func (s *Store) openBody(st *state) (*body, error) {
	refs := make([]journal.Ref, len(st.body))
	for i, e := range st.body {
		refs[i] = e.ref
	}
	r, err := s.jour.Reader(refs...)
	if err != nil {
		return nil, err
	}
	b := &body{r: r, hash: hashes.Get().(hash.Hash), id: st.msg.ID, want: st.msg.BodyHash}
	b.hash.Reset()
	if len(st.body) > 0 {
		b.skip = st.body[0].skip
	}
	return b, nil
}

// body reads a message's octets and checks them at the end.
type body struct {
	r    *journal.Reader
	skip int64
	hash hash.Hash
	id   store.ID
	want [sha256.Size]byte
	have [sha256.Size]byte
}

func (b *body) Read(p []byte) (int, error) {
	if b.hash == nil {
		return 0, b.fail(journal.ErrClosed)
	}
	for b.skip > 0 && len(p) > 0 { // the head of the record, which its checksum covers too
		n, err := b.r.Read(p[:min(b.skip, int64(len(p)))])
		if b.skip -= int64(n); err != nil {
			return 0, b.fail(err)
		}
	}
	n, err := b.r.Read(p)
	b.hash.Write(p[:n])
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, io.EOF) {
		return n, b.fail(err)
	}
	if b.hash.Sum(b.have[:0]); b.have != b.want {
		return n, b.fail(store.ErrDamaged)
	}
	return n, io.EOF
}

func (b *body) fail(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("body of message %s: %w", b.id, damaged(err))
}

func (b *body) Close() error {
	if b.hash != nil {
		hashes.Put(b.hash)
		b.hash = nil
	}
	return b.r.Close()
}

// damaged adds store.ErrDamaged to the journal's words for it.
func damaged(err error) error {
	var corrupt *journal.CorruptError
	if errors.As(err, &corrupt) || errors.Is(err, journal.ErrNotFound) || errors.Is(err, journal.ErrInvalid) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", store.ErrDamaged, err)
	}
	return err
}
