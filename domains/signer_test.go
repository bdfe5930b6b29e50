package domains_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"github.com/mailchute/mailchute/domains"
	"github.com/mailchute/mailchute/message/dkim"
	"github.com/mailchute/mailchute/store"
)

const letterBody = "Hello  world \r\n\r\n.dot\r\n\r\n\r\n"

func letterFrom(author string) string {
	return "Received: from a by b; Mon, 23 Nov 2026 18:00:00 +0000\r\nFrom: Shop <" + author + ">\r\nTo: someone@example.org\r\n" +
		"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Mon, 23 Nov 2026 18:00:00 +0000\r\nMessage-ID: <1@a>\r\n\r\n" + letterBody
}

// stored is a message as the store gives it; opens counts how often it was opened.
type stored struct {
	store.Message
	text  string
	opens atomic.Int32
}

func newStored(text string, accepted time.Time) *stored {
	return &stored{Message: store.Message{ID: store.NewID(), Accepted: accepted, Size: int64(len(text))}, text: text}
}

func (s *stored) open(context.Context) (io.ReadCloser, error) {
	s.opens.Add(1)
	return io.NopCloser(strings.NewReader(s.text)), nil
}

func (w *world) signer(o domains.SignerOptions) *domains.Signer {
	return domains.NewSigner(w.dir, w.keyring, o)
}

// verdicts returns what an independent verifier says of each signature.
func (w *world) verdicts(text []byte) []*msgauth.Verification {
	w.t.Helper()
	got, err := msgauth.VerifyWithOptions(bytes.NewReader(text), &msgauth.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) { return w.zone.LookupTXT(context.Background(), name) },
	})
	if err != nil {
		w.t.Fatalf("verifying: %v\n%s", err, text)
	}
	return got
}

// wantSigned demands n signatures of the domain, all valid.
func (w *world) wantSigned(text []byte, domain string, n int) {
	w.t.Helper()
	got := w.verdicts(text)
	for _, v := range got {
		if v.Err != nil || v.Domain != domain {
			w.t.Errorf("signature of %s: %v", v.Domain, v.Err)
		}
	}
	if len(got) != n {
		w.t.Errorf("%d signatures, want %d:\n%s", len(got), n, text)
	}
}

func TestSign_TheAuthorsDomainOrItsParent(t *testing.T) {
	w := newWorld(t)
	w.live("example.com")
	w.live("deep.shop.example.com")
	w.add("pending.example.com")
	s := w.signer(domains.SignerOptions{})
	for author, domain := range map[string]string{
		"a@example.com": "example.com", "a@EXAMPLE.com": "example.com", "a@news.example.com": "example.com",
		"a@deep.shop.example.com": "deep.shop.example.com", "a@x.deep.shop.example.com": "deep.shop.example.com",
		"a@pending.example.com": "example.com",
		"a@notexample.com":      "", "a@example.com.evil.test": "", "a@com": "", "a@[192.0.2.1]": "",
	} {
		m := newStored(letterFrom(author), epoch)
		fields, names, err := s.Sign(t.Context(), m.Message, m.open)
		if err != nil {
			t.Errorf("%s: %v", author, err)
			continue
		}
		if domain == "" {
			if fields != nil || names != nil {
				t.Errorf("%s is signed by %v", author, names)
			}
			continue
		}
		w.wantSigned(append(fields, m.text...), domain, 2)
		if len(names) != 2 || names[0] != "mc20261123r._domainkey."+domain {
			t.Errorf("%s: names %v", author, names)
		}
	}
}

// The hash that intake took gives the same signatures as reading the body.
func TestSign_WithAndWithoutTheStoredHash(t *testing.T) {
	w := newWorld(t)
	w.live("example.com")
	m := newStored(letterFrom("a@example.com"), epoch)
	read, _, err := w.signer(domains.SignerOptions{}).Sign(t.Context(), m.Message, m.open)
	if err != nil {
		t.Fatal(err)
	}
	hash := dkim.NewBodyHasher()
	io.WriteString(hash, letterBody)
	m.DKIMBody = hash.Sum()
	known, _, err := w.signer(domains.SignerOptions{}).Sign(t.Context(), m.Message, m.open)
	if err != nil || !bytes.Equal(known, read) || len(known) == 0 {
		t.Errorf("differs, %v:\n%s\n%s", err, known, read)
	}
}

func TestSign_OnceForAllWhoAsk(t *testing.T) {
	w := newWorld(t)
	w.live("example.com")
	s := w.signer(domains.SignerOptions{})
	m := newStored(letterFrom("a@example.com"), epoch)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			fields, _, err := s.Sign(t.Context(), m.Message, m.open)
			if err != nil || len(fields) == 0 {
				t.Errorf("%d octets, %v", len(fields), err)
			}
		})
	}
	all.Wait()
	if n := m.opens.Load(); n != 1 {
		t.Errorf("the message was read %d times, want once", n)
	}
}

func TestSign_KeepsABoundedNumber(t *testing.T) {
	w := newWorld(t)
	w.live("example.com")
	s := w.signer(domains.SignerOptions{Cache: 2})
	var list []*stored
	for range 3 {
		m := newStored(letterFrom("a@example.com"), epoch)
		list = append(list, m)
		s.Sign(t.Context(), m.Message, m.open)
	}
	for i, want := range map[int]int32{2: 1, 0: 2} { // the newest is kept, the oldest was dropped
		m := list[i]
		s.Sign(t.Context(), m.Message, m.open)
		if n := m.opens.Load(); n != want {
			t.Errorf("message %d was read %d times, want %d", i, n, want)
		}
	}
}

// A message keeps its signatures while keys are rotated, and they can be made
// again after.
func TestSign_StaysTheSameOverARotation(t *testing.T) {
	w := newWorld(t)
	d := w.live("example.com")
	s := w.signer(domains.SignerOptions{})
	m := newStored(letterFrom("a@example.com"), epoch)
	first, names, err := s.Sign(t.Context(), m.Message, m.open)
	if err != nil {
		t.Fatal(err)
	}
	w.now = epoch.Add(24 * time.Hour)
	if d, err = w.keeper.Rotate(t.Context(), d.ID, true); err != nil {
		t.Fatal(err)
	}
	w.zone.publish(d)
	for what, s := range map[string]*domains.Signer{"the same signer": s, "another": w.signer(domains.SignerOptions{})} {
		if got, _, err := s.Sign(t.Context(), m.Message, m.open); err != nil || !bytes.Equal(got, first) {
			t.Errorf("%s signs differently, %v:\n%s\n%s", what, err, got, first)
		}
	}
	again, err := s.Again(t.Context(), m.Message, m.open, names)
	if err != nil || !bytes.Equal(again, first) {
		t.Errorf("made again, %v:\n%s\n%s", err, again, first)
	}
	later := newStored(letterFrom("a@example.com"), w.now)
	fields, names, err := s.Sign(t.Context(), later.Message, later.open)
	if err != nil || names[0] != "mc20261124r._domainkey.example.com" {
		t.Errorf("a later message is signed with %v, %v", names, err)
	}
	w.wantSigned(append(fields, later.text...), "example.com", 2)
	if _, err := s.Again(t.Context(), m.Message, m.open, []string{"gone._domainkey.example.com"}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("made again with a key that is gone: %v", err)
	}
}

// What was signed with a key that has been taken away is signed anew.
func TestSign_ForgetsKeysThatAreGone(t *testing.T) {
	w := newWorld(t)
	d := w.live("example.com")
	w.live("example.net")
	s := w.signer(domains.SignerOptions{})
	m := newStored(letterFrom("a@example.com"), epoch)
	if fields, _, err := s.Sign(t.Context(), m.Message, m.open); err != nil || fields == nil {
		t.Fatal(err)
	}
	if _, err := w.dir.Change(t.Context(), w.dir.Snapshot().Revision, store.Change{Delete: true, Domain: &d}); err != nil {
		t.Fatal(err)
	}
	if fields, names, err := s.Sign(t.Context(), m.Message, m.open); fields != nil || names != nil || err != nil {
		t.Errorf("signed with %v of a deleted domain, %v", names, err)
	}
}

// An account without keys does not have its mail read twice.
func TestSign_WithoutKeysReadsNothing(t *testing.T) {
	w := newWorld(t)
	m := newStored(letterFrom("a@example.com"), epoch)
	fields, names, err := w.signer(domains.SignerOptions{}).Sign(t.Context(), m.Message, m.open)
	if fields != nil || names != nil || err != nil || m.opens.Load() != 0 {
		t.Errorf("signed by %v, %v, read %d times", names, err, m.opens.Load())
	}
}

func TestSign_Faults(t *testing.T) {
	w := newWorld(t)
	d := w.live("example.com")
	s := w.signer(domains.SignerOptions{})
	m := newStored(letterFrom("a@example.com"), epoch)
	broken := errors.New("disk")
	if _, _, err := s.Sign(t.Context(), m.Message, func(context.Context) (io.ReadCloser, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("message that cannot be opened: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := w.signer(domains.SignerOptions{Workers: 1}).Sign(ended, m.Message, m.open); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	for i := range d.Keys {
		d.Keys[i].Sealed = bytes.Clone(d.Keys[i].Sealed)
		d.Keys[i].Sealed[len(d.Keys[i].Sealed)-1] ^= 1
	}
	if _, err := w.dir.Change(t.Context(), w.dir.Snapshot().Revision, store.Change{Domain: &d}); err != nil {
		t.Fatal(err)
	}
	fields, _, err := s.Sign(t.Context(), m.Message, m.open)
	if fields != nil || !errors.Is(err, domains.ErrKey) || errors.Is(err, store.ErrDamaged) {
		t.Errorf("damaged key: %q, %v; want ErrKey and nothing that says the message is damaged", fields, err)
	}
}

func BenchmarkSign(b *testing.B) {
	w := newWorld(b)
	d := w.live("example.com")
	both := newStored(letterFrom("a@example.com"), epoch)
	hash := dkim.NewBodyHasher()
	io.WriteString(hash, letterBody)
	both.DKIMBody = hash.Sum()
	run := func(b *testing.B, s *domains.Signer) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				m := both.Message
				m.ID = store.NewID()
				if fields, _, err := s.Sign(b.Context(), m, both.open); err != nil || fields == nil {
					b.Error(err)
				}
			}
		})
	}
	b.Run("rsa+ed25519", func(b *testing.B) { run(b, w.signer(domains.SignerOptions{})) })
	b.Run("again", func(b *testing.B) {
		s := w.signer(domains.SignerOptions{})
		for b.Loop() {
			s.Sign(b.Context(), both.Message, both.open)
		}
	})
	d.Keys = d.Keys[1:]
	if _, err := w.dir.Change(b.Context(), w.dir.Snapshot().Revision, store.Change{Domain: &d}); err != nil {
		b.Fatal(err)
	}
	b.Run("ed25519 only: all but RSA", func(b *testing.B) { run(b, w.signer(domains.SignerOptions{})) })
}
