package auth

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/store"
)

// printed returns v in every way in which it may get into a log.
func printed(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		fmt.Fprintf(&b, verb+"\n", v)
		fmt.Fprintf(&b, verb+"\n", []any{v})
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		log := slog.New(h)
		log.Info("x", "v", v)
		log.Info("x", slog.Group("g", "v", []any{v}))
	}
	if data, err := json.Marshal(v); err == nil {
		b.Write(data)
	}
	return b.String()
}

func TestNothingPrintsASecret(t *testing.T) {
	w := newWorld(t)
	c := newCast(w)
	v := NewVerifier(w.d, w.k, VerifierOptions{Throttle: ThrottleOptions{NetworkFailures: 3}})
	values := map[string]any{
		"credential": c.smtp, "credential pointer": &c.smtp, "keyring": w.k, "verifier": v,
		"keys": w.k.Keys(), "server record": c.serverRecord, "SMTP record": c.smtpRecord,
		"findings": FindSecrets(c.smtp.Secret),
	}
	for i, l := range append(c.bad(), c.good()...) {
		p, err := v.SMTP(t.Context(), host(i/5), l.username, l.password)
		values[l.name+" principal"], values[l.name+" error"] = p, err
	}
	for name, err := range errorsOfKeys(t, w, c) {
		values[name] = err
	}
	secrets := secretsOf(t, w, c)
	for name, value := range values {
		text := strings.ToLower(printed(t, value))
		for kind, secret := range secrets {
			if strings.Contains(text, strings.ToLower(secret)) {
				t.Errorf("%s shows the %s", name, kind)
			}
		}
	}
}

// secretsOf returns all secrets of the world in the forms in which a verb could
// print them, and the master keys from the file.
func secretsOf(t *testing.T, w *world, c cast) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, s := range map[string]string{
		"server token": c.server, "other server token": c.otherServer, "account token": c.account,
		"SMTP secret": c.smtp.Secret, "broadcast secret": c.broadcast.Secret,
	} {
		out[name], out[name+" in hex"] = s, hex.EncodeToString([]byte(s))
	}
	for i, k := range w.k.set.Load().keys {
		out[fmt.Sprintf("master key %d in hex", i)] = hex.EncodeToString(k.master[:])
		out[fmt.Sprintf("master key %d as list", i)] = strings.Trim(fmt.Sprint(k.master[:8]), "[]")
		out[fmt.Sprintf("master key %d as bytes", i)] = fmt.Sprintf("0x%x, 0x%x, 0x%x, 0x%x", k.master[0], k.master[1], k.master[2], k.master[3])
	}
	return out
}

// errorsOfKeys provokes the errors of the key file and of damaged records.
func errorsOfKeys(t *testing.T, w *world, c cast) map[string]error {
	t.Helper()
	data, err := os.ReadFile(w.path)
	if err != nil {
		t.Fatal(err)
	}
	_, cut := parseKeys(data[:len(data)-70])
	_, edited := parseKeys(summed(strings.Replace(string(data[:bytes.LastIndex(data, []byte("sum "))]), "key ", "key  ", 1)))
	_, moved := RevealServerToken(w.k, store.ServerToken{ID: 99, Sealed: c.serverRecord.Sealed})
	_, foreign := RevealServerToken(newWorld(t).k, c.serverRecord)
	out := map[string]error{"cut file": cut, "edited file": edited, "moved record": moved, "foreign record": foreign, "check": newWorld(t).k.Check(w.d.Snapshot())}
	for name, err := range out {
		if err == nil {
			t.Fatalf("%s: no error", name)
		}
	}
	return out
}

// The test above would pass on types that print nothing: these lines are what a
// log needs.
func TestWhatIsPrintedInstead(t *testing.T) {
	w := newWorld(t)
	c := SMTPCredential{AccessKey: "MC-T-outbound-x", Secret: "s"}
	tests := []struct{ got, want string }{
		{fmt.Sprint(c), "MC-T-outbound-x [redacted]"},
		{fmt.Sprintf("%#v", &c), "MC-T-outbound-x [redacted]"},
		{c.Secret, "s"},
		{fmt.Sprintf("%d", w.k), "keyring of 1 keys, " + w.k.Fingerprint()},
		{Principal{Kind: KindServerToken, Token: 7, Server: 3, Name: "x\ny"}.String(), "server-token 7 (server 3)"},
		{Principal{Kind: KindSMTPToken, Token: 7, Server: 3, Stream: "news"}.String(), "smtp-token 7 (server 3, stream news)"},
		{Principal{Kind: KindAccountToken, Token: 7}.String(), "account-token 7"},
		{Principal{}.String(), "nobody"},
		{(&DeniedError{Delay: 1}).Error(), "authentication failed"},
		{(&ThrottledError{Delay: 1}).Error(), "too many failed authentications"},
		{(&KeyMissingError{Key: 0xab}).Error(), "key file lacks a key: key 000000ab"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
	data, err := json.Marshal(c)
	if err != nil || string(data) != `{"access_key":"MC-T-outbound-x","secret":"[redacted]"}` {
		t.Errorf("got %s, %v", data, err)
	}
}

func TestDelayOf(t *testing.T) {
	for want, err := range map[int64]error{0: nil, 1: &DeniedError{Delay: 1}, 2: fmt.Errorf("x: %w", &ThrottledError{Delay: 2})} {
		if got := DelayOf(err); int64(got) != want {
			t.Errorf("%v: %v", err, got)
		}
	}
	if DelayOf(errors.New("other")) != 0 {
		t.Error("other errors wait")
	}
}
