package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/mailchute/mailchute/store"
)

// patient never boxes, so that a table can fail as often as it likes.
var patient = VerifierOptions{Throttle: ThrottleOptions{NetworkFailures: 1 << 20, CredentialFailures: 1 << 20}}

// cast is every sort of credential that a client may present.
type cast struct {
	server, otherServer, account, unknown string
	smtp, broadcast, otherSMTP            SMTPCredential
	serverRecord                          store.ServerToken
	smtpRecord                            store.SMTPToken
}

func newCast(w *world) cast {
	var c cast
	c.server, c.serverRecord = w.serverToken(shop)
	c.otherServer, _ = w.serverToken(blog)
	c.account, _ = w.accountToken()
	c.unknown = uuid.NewString()
	c.smtp, c.smtpRecord = w.smtpToken(shop, "outbound")
	c.broadcast, _ = w.smtpToken(shop, "broadcast")
	c.otherSMTP, _ = w.smtpToken(blog, "outbound")
	return c
}

type login struct{ name, username, password string }

func (c cast) good() []login {
	return []login{
		{"server token twice", c.server, c.server},
		{"server token in upper case", strings.ToUpper(c.server), strings.ToUpper(c.server)},
		{"server token in mixed case", strings.ToUpper(c.server), c.server},
		{"server token with white space", " " + c.server + "\r\n", "\t" + c.server + " "},
		{"access key and secret", c.smtp.AccessKey, c.smtp.Secret},
	}
}

func (c cast) bad() []login {
	flip := "mcsk_" + strings.Repeat("0", 36)
	long := strings.Repeat("a", MaxCredential+1)
	return []login{
		{"unknown token", c.unknown, c.unknown},
		{"server token as username only", c.server, "x"},
		{"server token as password only", "x", c.server},
		{"server token, unknown token", c.server, c.unknown},
		{"unknown token, server token", c.unknown, c.server},
		{"two server tokens", c.server, c.otherServer},
		{"account token twice", c.account, c.account},
		{"account token and server token", c.account, c.server},
		{"server token and account token", c.server, c.account},
		{"API test token", "POSTMARK_API_TEST", "POSTMARK_API_TEST"},
		{"access key twice", c.smtp.AccessKey, c.smtp.AccessKey},
		{"secret twice", c.smtp.Secret, c.smtp.Secret},
		{"secret as username", c.smtp.Secret, c.smtp.AccessKey},
		{"secret of another stream", c.smtp.AccessKey, c.broadcast.Secret},
		{"secret of another server", c.smtp.AccessKey, c.otherSMTP.Secret},
		{"access key and server token", c.smtp.AccessKey, c.server},
		{"server token and secret", c.server, c.smtp.Secret},
		{"wrong secret", c.smtp.AccessKey, flip},
		{"secret in lower case", c.smtp.AccessKey, strings.ToLower(c.smtp.Secret)},
		{"access key in lower case", strings.ToLower(c.smtp.AccessKey), c.smtp.Secret},
		{"secret with white space", c.smtp.AccessKey, c.smtp.Secret + " "},
		{"access key with white space", " " + c.smtp.AccessKey, c.smtp.Secret},
		{"secret cut short", c.smtp.AccessKey, c.smtp.Secret[:len(c.smtp.Secret)-1]},
		{"token without dashes", strings.ReplaceAll(c.server, "-", ""), strings.ReplaceAll(c.server, "-", "")},
		{"token in braces", "{" + c.server + "}", "{" + c.server + "}"},
		{"token with inner space", c.server[:8] + " " + c.server[8:], c.server[:8] + " " + c.server[8:]},
		{"empty username", "", c.server},
		{"empty password", c.server, ""},
		{"both empty", "", ""},
		{"access key, empty secret", c.smtp.AccessKey, ""},
		{"white space only", " ", " "},
		{"long username", long, c.smtp.Secret},
		{"long password", c.smtp.AccessKey, long},
		{"token padded beyond the limit", c.server + strings.Repeat(" ", MaxCredential), c.server},
		{"NUL after token", c.server + "\x00", c.server + "\x00"},
		{"NUL in secret", c.smtp.AccessKey, c.smtp.Secret + "\x00"},
		{"only NUL", "\x00", "\x00"},
		{"known access key and the filler", c.smtp.AccessKey, filler},
	}
}

func TestSMTPAcceptsGoodPairs(t *testing.T) {
	w := newWorld(t)
	c := newCast(w)
	v := NewVerifier(w.d, w.k, patient)
	for _, l := range c.good() {
		t.Run(l.name, func(t *testing.T) {
			got, err := v.SMTP(t.Context(), office, l.username, l.password)
			if err != nil {
				t.Fatal(err)
			}
			want := Principal{Kind: KindServerToken, Token: c.serverRecord.ID, Server: shop, Name: "t"}
			if l.username == c.smtp.AccessKey {
				want = Principal{Kind: KindSMTPToken, Token: c.smtpRecord.ID, Server: shop, Stream: "outbound", Name: "t"}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if !v.Alive(got) {
				t.Error("not alive right after its login")
			}
		})
	}
}

func TestSMTPRefusesBadPairsAlike(t *testing.T) {
	w := newWorld(t)
	c := newCast(w)
	for _, l := range c.bad() {
		t.Run(l.name, func(t *testing.T) {
			v := NewVerifier(w.d, w.k, patient)
			got, err := v.SMTP(t.Context(), office, l.username, l.password)
			assertDenied(t, got, err)
		})
	}
}

// assertDenied demands the one look of a first failure.
func assertDenied(t *testing.T, p Principal, err error) {
	t.Helper()
	var denied *DeniedError
	if !errors.As(err, &denied) || !errors.Is(err, ErrDenied) {
		t.Fatalf("got %v, %v", p, err)
	}
	if *denied != (DeniedError{Delay: time.Second}) || err.Error() != "authentication failed" || p != (Principal{}) {
		t.Errorf("a failure with a look of its own: %#v, %q, %v", denied, err, p)
	}
}

// withdrawals are the ways in which a credential of shop stops working.
func withdrawals(w *world, c cast) map[string]struct {
	login  login
	change store.Change
} {
	type row = struct {
		login  login
		change store.Change
	}
	server := w.d.Snapshot().Servers[shop]
	server.SMTPDisabled = true
	archived := w.d.Snapshot().Streams[store.StreamKey{Server: shop, Stream: "outbound"}]
	archived.Archived = epoch
	token, pair := login{"", c.server, c.server}, login{"", c.smtp.AccessKey, c.smtp.Secret}
	return map[string]row{
		"server token revoked":              {token, store.Change{Delete: true, ServerToken: &c.serverRecord}},
		"server token, SMTP disabled":       {token, store.Change{Server: &server}},
		"server token, its server deleted":  {token, store.Change{Delete: true, Server: &server}},
		"SMTP token revoked":                {pair, store.Change{Delete: true, SMTPToken: &c.smtpRecord}},
		"SMTP token, SMTP disabled":         {pair, store.Change{Server: &server}},
		"SMTP token, its server deleted":    {pair, store.Change{Delete: true, Server: &server}},
		"SMTP token, its stream archived":   {pair, store.Change{Stream: &archived}},
		"SMTP token, its stream deleted":    {pair, store.Change{Delete: true, Stream: &archived}},
		"SMTP token, moved to other stream": {pair, store.Change{SMTPToken: moved(c.smtpRecord)}},
	}
}

// moved is a record of the same token for another stream with another secret.
func moved(t store.SMTPToken) *store.SMTPToken {
	t.Stream, t.SecretHash.Sum = "broadcast", [32]byte{1}
	return &t
}

func TestWithdrawnCredentialStopsAtOnce(t *testing.T) {
	names := withdrawals(newWorld(t), cast{})
	for name := range names {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := newCast(w)
			row := withdrawals(w, c)[name]
			v := NewVerifier(w.d, w.k, patient)
			p, err := v.SMTP(t.Context(), office, row.login.username, row.login.password)
			if err != nil || !v.Alive(p) {
				t.Fatalf("before: %v, alive %v", err, v.Alive(p))
			}
			w.change(row.change)
			if v.Alive(p) {
				t.Error("alive after its withdrawal")
			}
			p, err = v.SMTP(t.Context(), office, row.login.username, row.login.password)
			assertDenied(t, p, err)
		})
	}
}

func TestInboundStreamNeverSends(t *testing.T) {
	w := newWorld(t)
	pair, record := w.smtpToken(shop, "outbound")
	snap := *w.d.Snapshot()
	record.Stream = "inbound"
	snap.SMTPTokens = map[int64]store.SMTPToken{record.ID: record} // no engine lets this in
	v := NewVerifier(newMemory(&snap), w.k, patient)
	p, err := v.SMTP(t.Context(), office, pair.AccessKey, pair.Secret)
	assertDenied(t, p, err)
}

func TestHTTPTokens(t *testing.T) {
	w := newWorld(t)
	c := newCast(w)
	server := w.d.Snapshot().Servers[shop]
	server.SMTPDisabled = true
	w.change(store.Change{Server: &server})
	tests := []struct {
		name, token     string
		server, account bool
	}{
		{"server token", c.server, true, false},
		{"server token in upper case with space", " " + strings.ToUpper(c.server), true, false},
		{"account token", c.account, false, true},
		{"account token in upper case", strings.ToUpper(c.account) + "\n", false, true},
		{"unknown", c.unknown, false, false},
		{"access key", c.smtp.AccessKey, false, false},
		{"secret", c.smtp.Secret, false, false},
		{"API test token", "POSTMARK_API_TEST", false, false},
		{"empty", "", false, false},
		{"NUL", "\x00", false, false},
		{"long", strings.Repeat("a", MaxCredential+1), false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := NewVerifier(w.d, w.k, patient)
			p, err := v.ServerToken(t.Context(), office, tt.token)
			assertHTTP(t, p, err, KindServerToken, tt.server)
			v = NewVerifier(w.d, w.k, patient)
			p, err = v.AccountToken(t.Context(), office, tt.token)
			assertHTTP(t, p, err, KindAccountToken, tt.account)
			if err == nil && !v.Alive(p) {
				t.Error("account token is not alive")
			}
		})
	}
}

func assertHTTP(t *testing.T, p Principal, err error, kind Kind, want bool) {
	t.Helper()
	switch {
	case !want:
		assertDenied(t, p, err)
	case err != nil || p.Kind != kind:
		t.Errorf("%s: got %v, %v", kind, p, err)
	}
}

// Every path, good or bad, computes the same keyed hashes: one a key.
func TestEveryPathCostsTheSame(t *testing.T) {
	w := newWorld(t)
	c := newCast(w)
	revoked, record := w.serverToken(shop)
	if err := RevokeServerToken(t.Context(), w.d, record.ID); err != nil {
		t.Fatal(err)
	}
	logins := append(append(c.good(), c.bad()...), login{"revoked", revoked, revoked})
	for range 2 {
		if _, err := w.k.Rotate(epoch); err != nil {
			t.Fatal(err)
		}
	}
	v := NewVerifier(w.d, w.k, patient)
	calls, hashes := 0, 0
	v.digests = func(secret string) []store.Digest {
		out := w.k.Digests(secret)
		calls, hashes = calls+1, hashes+len(out)
		return out
	}
	check := func(t *testing.T) {
		if calls != 1 || hashes != 3 {
			t.Errorf("%d calls with %d hashes, want 1 with 3", calls, hashes)
		}
	}
	for _, l := range logins {
		t.Run(l.name, func(t *testing.T) {
			calls, hashes = 0, 0
			v.SMTP(t.Context(), office, l.username, l.password) // either outcome
			check(t)
			calls, hashes = 0, 0
			v.ServerToken(t.Context(), office, l.password)
			check(t)
		})
	}
}

func TestUnavailableIsNotDenied(t *testing.T) {
	w := newWorld(t)
	c := newCast(w)
	other := newWorld(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name               string
		ctx                context.Context
		d                  store.Directory
		k                  *Keyring
		username, password string
	}{
		{"context ended", ended, w.d, w.k, c.server, c.server},
		{"directory not open", t.Context(), newMemory(nil), w.k, c.server, c.server},
		{"key of server tokens missing", t.Context(), w.d, other.k, c.server, c.server},
		{"key of SMTP token missing", t.Context(), w.d, other.k, c.smtp.AccessKey, c.smtp.Secret},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := NewVerifier(tt.d, tt.k, VerifierOptions{Throttle: ThrottleOptions{NetworkFailures: 1}})
			_, err := v.SMTP(tt.ctx, office, tt.username, tt.password)
			if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrDenied) {
				t.Errorf("got %v", err)
			}
			if v.Boxed(office) {
				t.Error("counted as a failure")
			}
			if strings.Contains(tt.name, "missing") && !errors.Is(err, ErrKeyMissing) {
				t.Errorf("does not name the key: %v", err)
			}
		})
	}
}

func TestRunKeepsTheIndexNew(t *testing.T) {
	w := newWorld(t)
	v := NewVerifier(w.d, w.k, patient)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	w.serverToken(shop)
	deadline := time.Now().Add(10 * time.Second)
	for x := v.index.Load(); x == nil || x.snap.Revision < w.d.Snapshot().Revision; x = v.index.Load() {
		if time.Now().After(deadline) {
			t.Fatal("no new index")
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := NewVerifier(newMemory(nil), w.k, patient).Run(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Run without a directory: %v", err)
	}
}

// Once a revocation has returned, no verification that begins later succeeds,
// however many run.
func TestRevocationRace(t *testing.T) {
	w := newWorld(t)
	v := NewVerifier(w.d, w.k, VerifierOptions{Throttle: ThrottleOptions{NetworkFailures: 1 << 20, CredentialFailures: 1 << 20}})
	for round := range 20 {
		pair, record := w.smtpToken(shop, "outbound")
		p, err := v.SMTP(t.Context(), office, pair.AccessKey, pair.Secret)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		revoked := make(chan struct{})
		var clients sync.WaitGroup
		for range 4 {
			clients.Go(func() { hammer(t, v, p, pair, revoked) })
		}
		if err := RevokeSMTPToken(t.Context(), w.d, record.ID); err != nil {
			t.Fatal(err)
		}
		close(revoked)
		clients.Wait()
	}
}

// hammer verifies until it has seen the revocation, and some times after.
func hammer(t *testing.T, v *Verifier, p Principal, pair SMTPCredential, revoked <-chan struct{}) {
	for after := 0; after < 20; {
		late := false
		select {
		case <-revoked:
			late = true
			after++
		default:
		}
		_, err := v.SMTP(t.Context(), office, pair.AccessKey, pair.Secret)
		if late && (!errors.Is(err, ErrDenied) || v.Alive(p)) {
			t.Errorf("after revocation: %v, alive %v", err, v.Alive(p))
			return
		}
	}
}

// Verification goes on while keys come and go.
func TestKeyringRace(t *testing.T) {
	w := newWorld(t)
	token, _ := w.serverToken(shop)
	v := NewVerifier(w.d, w.k, patient)
	done := make(chan struct{})
	var clients sync.WaitGroup
	for range 2 {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := v.SMTP(t.Context(), office, token, token); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 5 {
		if _, err := w.k.Rotate(epoch); err != nil {
			t.Fatal(err)
		}
		if _, err := w.k.Rekey(t.Context(), w.d); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	clients.Wait()
}

// Claim: a login costs under 3 µs, however many tokens there are.
func BenchmarkSMTP(b *testing.B) {
	for _, n := range []int{1, 100_000} {
		w := newWorld(b)
		pair, _ := w.smtpToken(shop, "outbound")
		token, _ := w.serverToken(shop)
		v := NewVerifier(newMemory(crowded(b, w, n)), w.k, patient)
		for name, l := range map[string]login{"pair": {"", pair.AccessKey, pair.Secret}, "token": {"", token, token}} {
			b.Run(fmt.Sprintf("%s/tokens=%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := v.SMTP(b.Context(), office, l.username, l.password); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// crowded returns the world's snapshot with n more SMTP and server tokens.
func crowded(b *testing.B, w *world, n int) *store.Snapshot {
	b.Helper()
	snap, err := w.d.Snapshot().With()
	if err != nil {
		b.Fatal(err)
	}
	stream := snap.Streams[store.StreamKey{Server: blog, Stream: "outbound"}]
	for i := range n {
		id := snap.NextID(int64(2 * i))
		_, smtp, err := MintSMTPToken(w.k, id, stream, "", epoch)
		if err != nil {
			b.Fatal(err)
		}
		snap.SMTPTokens[id] = smtp
		_, server := MintServerToken(w.k, id+1, blog, "", epoch)
		snap.ServerTokens[id+1] = server
	}
	return snap
}

// Claim: with 100,000 tokens, the first login after a change of the directory waits
// under 100 ms.
func BenchmarkIndexRebuild(b *testing.B) {
	w := newWorld(b)
	snap := crowded(b, w, 50_000)
	for b.Loop() {
		newIndex(snap)
	}
}

// Claim: asking at every MAIL costs under 1 µs.
func BenchmarkAlive(b *testing.B) {
	w := newWorld(b)
	pair, _ := w.smtpToken(shop, "outbound")
	v := NewVerifier(w.d, w.k, patient)
	p, err := v.SMTP(b.Context(), office, pair.AccessKey, pair.Secret)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if !v.Alive(p) {
			b.Fatal("not alive")
		}
	}
}
