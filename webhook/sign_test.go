package webhook

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

// The example of the Standard Webhooks specification.
func TestSign_Specification(t *testing.T) {
	key, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := Sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("Sign = %s, want %s", got, want)
	}
}

func TestSignatures_OldKeyForATime(t *testing.T) {
	now := time.Unix(1e9, 0)
	s := store.WebhookSecrets{Key: []byte("new"), OldKey: []byte("old"), OldUntil: now.Add(time.Hour)}
	both := strings.Fields(signatures(&s, "id", now, []byte("b")))
	if len(both) != 2 || both[0] != Sign([]byte("new"), "id", now, []byte("b")) || both[1] != Sign([]byte("old"), "id", now, []byte("b")) {
		t.Errorf("signatures = %q", both)
	}
	if one := signatures(&s, "id", now.Add(time.Hour), []byte("b")); strings.Contains(one, " ") {
		t.Errorf("signatures after the time = %q", one)
	}
	if a, b := NewKey(), NewKey(); len(a) != 32 || string(a) == string(b) || !strings.HasPrefix(FormatKey(a), "whsec_") {
		t.Errorf("keys %x, %x", a, b)
	}
}
