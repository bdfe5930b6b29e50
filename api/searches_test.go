package api_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/mailchute/mailchute/api"
	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local"
)

// slowStore has searches that wait until they may end.
type slowStore struct {
	*local.Store
	begun, end chan struct{}
}

func (s *slowStore) Search(ctx context.Context, f store.Filter, offset, limit int) ([]store.Record, int, error) {
	s.begun <- struct{}{}
	<-s.end
	return s.Store.Search(ctx, f, offset, limit)
}

func TestMessages_FewSearchesAtOnce(t *testing.T) {
	r := newRig(t, rigOptions{})
	slow := &slowStore{r.store, make(chan struct{}), make(chan struct{})}
	r.listen(api.New(slow, r.keyring, auth.NewVerifier(r.store, r.keyring, auth.VerifierOptions{}),
		intake.New(r.store, r.store, intake.Options{}), api.Options{}))
	const query = "/messages/outbound?count=1&offset=0"
	other, _, err := auth.CreateServerToken(t.Context(), r.store, r.keyring, 1, "other", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var searches sync.WaitGroup
	search := func(token string) {
		searches.Go(func() { wantOK(t, r.do("GET", query, "", "X-Postmark-Server-Token", token)) })
		<-slow.begun
	}
	for range 4 {
		search(r.server)
	}
	fifth := r.as("GET", query, "")
	wantError(t, fifth, 429, 429)
	search(other)
	close(slow.end)
	searches.Wait()
	search(r.server)
	searches.Wait()
}
