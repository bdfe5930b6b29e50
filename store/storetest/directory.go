package storetest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mailchute/mailchute/store"
)

var directoryTests = []test{
	{"EmptyAtFirst", func(e *env) {
		if s := e.Snapshot(); s.Revision != 0 || len(s.Servers) != 0 {
			e.Errorf("Snapshot = revision %d with %d servers, want an empty one", s.Revision, len(s.Servers))
		}
	}},
	{"KeepsEveryKindOverReopen", directoryKeepsEveryKind},
	{"DeletesWithChildren", directoryDeletes},
	{"StaleRevisionChangesNothing", directoryStale},
	{"BrokenRuleChangesNothing", directoryRule},
	{"ChangedClosesOnce", directoryChanged},
	{"UpdateMakesConcurrentChangesInTurn", directoryConcurrent},
	{"EndedContextChangesNothing", directoryContext},
}

// oneOfEach is a transaction with every kind of record.
func oneOfEach() []store.Change {
	server := store.Server{ID: 1, Name: "shop", DeliveryType: store.Live, VerifiedOnly: true, Created: start}
	changes := []store.Change{
		{Account: &store.Account{Name: "Example", Created: start}},
		{Server: &server},
		{User: &store.User{ID: 2, Name: "Ada", Email: "ada@example.com", Role: store.ServerAdmin, Servers: []int64{1}, Created: start}},
		{AccountToken: &store.AccountToken{ID: 3, Name: "ci", Hash: store.Digest{Key: 1, Sum: [32]byte{1}}, Sealed: []byte{9, 8}, Created: start}},
		{ServerToken: &store.ServerToken{ID: 4, Server: 1, Name: "app", Hash: store.Digest{Key: 1, Sum: [32]byte{2}}, Sealed: []byte{7}, Created: start}},
		{Domain: &store.Domain{
			ID: 5, Name: "example.com", Created: start, Verified: at(time.Hour),
			Keys: []store.DomainKey{{
				Selector: "s1", Algorithm: store.KeyRSA, Sealed: []byte{1, 2}, Record: "v=DKIM1; p=", Created: start,
				Active: at(time.Hour), Replaced: at(2 * time.Hour), Retired: at(3 * time.Hour),
			}},
			Check: store.DomainCheck{At: at(time.Hour), OK: true, Findings: []store.DomainFinding{
				{Purpose: "dkim", Name: "s1._domainkey.example.com", Status: "ok", Seen: "v=DKIM1; p=", Problem: "none"},
			}},
		}},
		{Signature: &store.Signature{ID: 6, Email: "me@example.net", Name: "Me", Created: start}},
	}
	for _, s := range store.DefaultStreams(1, store.ModeLive, start) {
		changes = append(changes, store.Change{Stream: &s})
	}
	return append(changes, store.Change{SMTPToken: &store.SMTPToken{ID: 7, Server: 1, Stream: "outbound", AccessKey: "k", SecretHash: store.Digest{Key: 2, Sum: [32]byte{3}}, Created: start}},
		store.Change{Webhook: &store.Webhook{ID: 7, Server: 1, Stream: "outbound", URL: "https://hooks.example/x", Triggers: store.Triggers{Bounce: true, BounceContent: true},
			Sealed: []byte{5}, Created: start}})
}

func directoryKeepsEveryKind(e *env) {
	want, err := e.Change(e.ctx(), 0, oneOfEach()...)
	e.must(err)
	if want.Revision != 1 || want.LastID != 7 || len(want.Streams) != 3 {
		e.Errorf("Change = revision %d, last %d, %d streams", want.Revision, want.LastID, len(want.Streams))
	}
	e.wantSame("Snapshot", want, e.Snapshot())
	e.reopen()
	e.wantSame("Snapshot after reopening", want, e.Snapshot())
}

func directoryDeletes(e *env) {
	snap, err := e.Change(e.ctx(), 0, oneOfEach()...)
	e.must(err)
	snap, err = e.Change(e.ctx(), snap.Revision,
		store.Change{Delete: true, Server: &store.Server{ID: 1}},
		store.Change{Delete: true, Domain: &store.Domain{ID: 5}})
	e.must(err)
	if len(snap.Servers)+len(snap.Streams)+len(snap.ServerTokens)+len(snap.SMTPTokens)+len(snap.Domains) != 0 {
		e.Errorf("after deleting the server: %+v", snap)
	}
	e.reopen()
	e.wantSame("Snapshot after reopening", snap, e.Snapshot())
	if id := e.Snapshot().NextID(0); id != 8 {
		e.Errorf("NextID = %d, want 8: numbers are not given twice", id)
	}
}

func directoryStale(e *env) {
	snap, err := e.Change(e.ctx(), 0, oneOfEach()...)
	e.must(err)
	_, err = e.Change(e.ctx(), 0, store.Change{Account: &store.Account{Name: "Other"}})
	e.wantErr("Change of an old revision", err, store.ErrStale)
	_, err = e.Change(e.ctx(), 2, store.Change{Account: &store.Account{Name: "Other"}})
	e.wantErr("Change of a future revision", err, store.ErrStale)
	e.wantSame("Snapshot", snap, e.Snapshot())
}

func directoryRule(e *env) {
	snap, err := e.Change(e.ctx(), 0, oneOfEach()...)
	e.must(err)
	_, err = e.Change(e.ctx(), snap.Revision,
		store.Change{Account: &store.Account{Name: "Other"}},
		store.Change{Server: &store.Server{ID: 9, Name: "shop", DeliveryType: store.Live}})
	e.wantErr("Change with a name that exists", err, store.ErrExists)
	e.wantSame("Snapshot", snap, e.Snapshot())
	e.reopen()
	e.wantSame("Snapshot after reopening", snap, e.Snapshot())
}

func directoryChanged(e *env) {
	waiting := e.Changed(0)
	select {
	case <-waiting:
		e.Fatal("Changed(0) is closed before any change")
	default:
	}
	snap, err := e.Change(e.ctx(), 0, oneOfEach()...)
	e.must(err)
	select {
	case <-waiting:
	case <-time.After(10 * time.Second):
		e.Fatal("Changed(0) stays open after a change")
	}
	select {
	case <-e.Changed(0):
	default:
		e.Error("Changed(0) is open although revision 1 is there")
	}
	select {
	case <-e.Changed(snap.Revision):
		e.Error("Changed of the newest revision is closed")
	default:
	}
}

func directoryConcurrent(e *env) {
	const writers, each = 4, 5
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				_, err := store.Update(e.ctx(), e, func(s *store.Snapshot) ([]store.Change, error) {
					id := s.NextID(0)
					return []store.Change{{Domain: &store.Domain{ID: id, Name: store.NewID().String()}}}, nil
				})
				if err != nil {
					e.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if s := e.Snapshot(); len(s.Domains) != writers*each || s.Revision != writers*each {
		e.Errorf("%d domains at revision %d, want %d", len(s.Domains), s.Revision, writers*each)
	}
}

func directoryContext(e *env) {
	ctx, cancel := context.WithCancel(e.ctx())
	cancel()
	if _, err := e.Change(ctx, 0, oneOfEach()...); !errors.Is(err, context.Canceled) {
		e.Errorf("Change = %v, want %v", err, context.Canceled)
	}
	if s := e.Snapshot(); s.Revision != 0 {
		e.Errorf("revision %d, want 0", s.Revision)
	}
}
