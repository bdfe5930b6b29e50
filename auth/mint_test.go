package auth

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/mailchute/mailchute/store"
)

func TestAPITokensAreLowerCaseUUIDv4(t *testing.T) {
	w := newWorld(t)
	server, _ := w.serverToken(shop)
	account, _ := w.accountToken()
	for _, token := range []string{server, account} {
		u, err := uuid.Parse(token)
		if err != nil || u.Version() != 4 || u.Variant() != uuid.RFC4122 || u.String() != token {
			t.Errorf("not a lower-case UUID version 4: version %v, %v", u.Version(), err)
		}
	}
	if server == account {
		t.Error("two tokens are one")
	}
}

func TestRevealGivesTheTokenBack(t *testing.T) {
	w := newWorld(t)
	server, serverRecord := w.serverToken(shop)
	account, accountRecord := w.accountToken()
	if got, err := RevealServerToken(w.k, serverRecord); got != server || err != nil {
		t.Errorf("server token: %v", err)
	}
	if got, err := RevealAccountToken(w.k, accountRecord); got != account || err != nil {
		t.Errorf("account token: %v", err)
	}
	// A record of another kind or number does not open.
	if _, err := RevealAccountToken(w.k, store.AccountToken{ID: serverRecord.ID, Sealed: serverRecord.Sealed}); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("server token as account token: %v", err)
	}
	serverRecord.ID++
	if _, err := RevealServerToken(w.k, serverRecord); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("token of another number: %v", err)
	}
}

func TestSMTPTokenShape(t *testing.T) {
	w := newWorld(t)
	for stream, prefix := range map[string]string{"outbound": "MC-T-outbound-", "broadcast": "MC-B-broadcast-"} {
		pair, record := w.smtpToken(shop, stream)
		if !strings.HasPrefix(pair.AccessKey, prefix) || len(pair.AccessKey) != len(prefix)+28 {
			t.Errorf("access key %s", pair.AccessKey)
		}
		if !strings.HasPrefix(pair.Secret, "mcsk_") || len(pair.Secret) != 5+36 {
			t.Errorf("secret of %d characters", len(pair.Secret))
		}
		if record.AccessKey != pair.AccessKey || record.Stream != stream || record.Server != shop || !w.k.Matches(record.SecretHash, pair.Secret) {
			t.Errorf("record %+v does not fit", record)
		}
	}
	long := store.Stream{Server: shop, ID: "a" + strings.Repeat("-b", 14) + "b", Kind: store.Broadcast, Mode: store.ModeLive}
	pair, _, err := MintSMTPToken(w.k, 99, long, "", epoch)
	if err != nil || len(pair.AccessKey) > MaxCredential {
		t.Errorf("longest stream ID: %v", err)
	}
	if _, ok := Recognise(pair.AccessKey); !ok {
		t.Errorf("%s is not recognised", pair.AccessKey)
	}
}

func TestMintSMTPTokenRefusesStreamsThatDoNotSend(t *testing.T) {
	w := newWorld(t)
	for name, stream := range map[string]store.Stream{
		"inbound":  {Server: shop, ID: "inbound", Kind: store.Inbound},
		"archived": {Server: shop, ID: "outbound", Kind: store.Transactional, Archived: epoch},
		"no kind":  {Server: shop, ID: "outbound"},
		"bad ID":   {Server: shop, ID: "Out bound", Kind: store.Transactional},
	} {
		if pair, _, err := MintSMTPToken(w.k, 1, stream, "", epoch); !errors.Is(err, store.ErrInvalid) || pair != (SMTPCredential{}) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFourthServerTokenIsRefused(t *testing.T) {
	w := newWorld(t)
	var last store.ServerToken
	for range store.MaxServerTokens {
		_, last = w.serverToken(shop)
	}
	token, _, err := CreateServerToken(t.Context(), w.d, w.k, shop, "", epoch)
	if !errors.Is(err, store.ErrLimit) || !strings.Contains(err.Error(), "at most 3 API tokens; revoke one first") || token != "" {
		t.Errorf("got %v", err)
	}
	w.serverToken(blog) // has its own three
	if err := RevokeServerToken(t.Context(), w.d, last.ID); err != nil {
		t.Fatal(err)
	}
	if _, again := w.serverToken(shop); again.ID == last.ID {
		t.Error("a number was given twice")
	}
}

func TestCreateAndRevokeErrors(t *testing.T) {
	w := newWorld(t)
	ctx, ended := context.WithCancel(t.Context())
	ended()
	create := func(ctx context.Context, server int64, name string) error {
		_, _, err := CreateServerToken(ctx, w.d, w.k, server, name, epoch)
		return err
	}
	smtp := func(stream string) error {
		_, _, err := CreateSMTPToken(t.Context(), w.d, w.k, store.StreamKey{Server: shop, Stream: stream}, "", epoch)
		return err
	}
	account := func(name string) error {
		_, _, err := CreateAccountToken(t.Context(), w.d, w.k, name, epoch)
		return err
	}
	tests := []struct {
		name      string
		got, want error
	}{
		{"unknown server", create(t.Context(), 99, ""), store.ErrNotFound},
		{"unknown stream", smtp("nowhere"), store.ErrNotFound},
		{"inbound stream", smtp("inbound"), store.ErrInvalid},
		{"context ended", create(ctx, shop, ""), context.Canceled},
		{"name with line feed", account("a\nb"), store.ErrInvalid},
		{"name not UTF-8", account("\xff"), store.ErrInvalid},
		{"name too long", account(strings.Repeat("n", 101)), store.ErrInvalid},
		{"good name", account("Größe 日本 1"), nil},
		{"revoking an unknown server token", RevokeServerToken(t.Context(), w.d, 99), store.ErrNotFound},
		{"revoking an unknown account token", RevokeAccountToken(t.Context(), w.d, 99), store.ErrNotFound},
		{"revoking an unknown SMTP token", RevokeSMTPToken(t.Context(), w.d, 99), store.ErrNotFound},
	}
	for _, tt := range tests {
		if !errors.Is(tt.got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}

func TestAccountTokenIsRevokedAtOnce(t *testing.T) {
	w := newWorld(t)
	token, record := w.accountToken()
	v := NewVerifier(w.d, w.k, patient)
	p, err := v.AccountToken(t.Context(), office, token)
	if err != nil {
		t.Fatal(err)
	}
	if err := RevokeAccountToken(t.Context(), w.d, record.ID); err != nil {
		t.Fatal(err)
	}
	if v.Alive(p) {
		t.Error("alive")
	}
	p, err = v.AccountToken(t.Context(), office, token)
	assertDenied(t, p, err)
}

// Many makers at once, each retrying over the others' changes, get tokens that
// all work: the token handed out is the one that was stored.
func TestCreateUnderContention(t *testing.T) {
	w := newWorld(t)
	type made struct {
		pair SMTPCredential
		err  error
	}
	results := make(chan made)
	for range 20 {
		go func() {
			pair, _, err := CreateSMTPToken(t.Context(), w.d, w.k, store.StreamKey{Server: shop, Stream: "outbound"}, "", epoch)
			results <- made{pair, err}
		}()
	}
	v := NewVerifier(w.d, w.k, patient)
	for range 20 {
		m := <-results
		if m.err != nil {
			t.Error(m.err)
			continue
		}
		if _, err := v.SMTP(t.Context(), office, m.pair.AccessKey, m.pair.Secret); err != nil {
			t.Error(err)
		}
	}
}
