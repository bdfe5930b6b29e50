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
	b := &body{r: r, hash: sha256.New(), id: st.msg.ID, want: st.msg.BodyHash}
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
}

func (b *body) Read(p []byte) (int, error) {
	if b.skip > 0 {
		if _, err := io.CopyN(io.Discard, b.r, b.skip); err != nil {
			return 0, b.fail(err)
		}
		b.skip = 0
	}
	n, err := b.r.Read(p)
	b.hash.Write(p[:n])
	switch {
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF):
		return n, b.fail(err)
	case [sha256.Size]byte(b.hash.Sum(nil)) != b.want:
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

func (b *body) Close() error { return b.r.Close() }

// damaged adds store.ErrDamaged to the journal's words for it.
func damaged(err error) error {
	var corrupt *journal.CorruptError
	if errors.As(err, &corrupt) || errors.Is(err, journal.ErrNotFound) || errors.Is(err, journal.ErrInvalid) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", store.ErrDamaged, err)
	}
	return err
}
