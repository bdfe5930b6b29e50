package auth

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

func TestRecognise(t *testing.T) {
	c := newCast(newWorld(t))
	tests := []struct {
		name, s string
		want    bool
	}{
		{"access key", c.smtp.AccessKey, true},
		{"broadcast access key", c.broadcast.AccessKey, true},
		{"secret", c.smtp.Secret, true},
		{"server token", c.server, false},
		{"account token", c.account, false},
		{"empty", "", false},
		{"prefix only", "mcsk_", false},
		{"white space", c.smtp.Secret + " ", false},
		{"line feed", c.smtp.Secret + "\n", false},
		{"other letter", strings.Replace(c.smtp.AccessKey, "MC-T-", "MC-X-", 1), false},
		{"other kind", strings.Replace(c.smtp.AccessKey, "MC-T-", "MC-B-", 1), false},
		{"other stream", strings.Replace(c.smtp.AccessKey, "outbound", "inbound0", 1), false},
	}
	for _, tt := range tests {
		kind, ok := Recognise(tt.s)
		if ok != tt.want || ok != (kind == KindSMTPToken) {
			t.Errorf("%s: %q, %v", tt.name, kind, ok)
		}
	}
}

// One wrong character is always noticed: CRC-32 finds every burst of up to 32
// bits.
func TestChecksumNoticesEveryTypo(t *testing.T) {
	pair, _ := newWorld(t).smtpToken(shop, "outbound")
	for _, s := range []string{pair.AccessKey, pair.Secret} {
		for i := range s {
			for _, other := range base62 {
				typo := s[:i] + string(other) + s[i+1:]
				if _, ok := Recognise(typo); ok && typo != s {
					t.Errorf("typo at %d is not noticed", i)
				}
			}
		}
	}
}

// The value was computed with another implementation of CRC-32.
func TestChecksumValue(t *testing.T) {
	if got, want := withChecksum("123456789"), "123456789"+"3jZRME"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := withChecksum(""); got != "000000" {
		t.Errorf("got %s", got)
	}
}

func TestFindSecrets(t *testing.T) {
	c := newCast(newWorld(t))
	text := "SMTP_USER=" + c.smtp.AccessKey + "\nSMTP_PASS='" + c.smtp.Secret + "'; # " + uuid.NewString() +
		"\nmcsk_" + strings.Repeat("0", 36) + " x" + c.smtp.Secret + " (" + c.broadcast.AccessKey + ")."
	at := func(s string, secret bool) Finding {
		i := strings.Index(text, s)
		return Finding{KindSMTPToken, secret, i, i + len(s)}
	}
	want := []Finding{at(c.smtp.AccessKey, false), at(c.smtp.Secret, true), at(c.broadcast.AccessKey, false)}
	if diff := cmp.Diff(want, FindSecrets(text)); diff != "" {
		t.Error(diff)
	}
}

// Each character is as likely as any other. 620,000 draws give 10,000 each; the
// bounds are eight standard deviations, while a modulo bias would give the first
// eight characters 12,100.
func TestBase62IsUniform(t *testing.T) {
	counts := map[rune]int{}
	for _, r := range randomBase62(620_000) {
		counts[r]++
	}
	for _, r := range base62 {
		if n := counts[r]; n < 10_000-800 || n > 10_000+800 {
			t.Errorf("%c: %d times", r, n)
		}
	}
	if len(counts) != 62 {
		t.Errorf("%d characters", len(counts))
	}
	for _, n := range []int{0, 1, 63, 64, 65, 1000} {
		if got := len(randomBase62(n)); got != n {
			t.Errorf("%d characters, want %d", got, n)
		}
	}
}

func FuzzRecognise(f *testing.F) {
	f.Add("MC-T-outbound-0123456789abcdefghijkl", "text ", "\n")
	f.Add("mcsk_0123456789abcdefghijABCDEFGHIJ", "=", ";")
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, body, before, after string) {
		s := withChecksum(body)
		_, ok := Recognise(s)
		if shaped := secretShape.MatchString(s) || accessKeyShape.MatchString(s); ok != shaped {
			t.Fatalf("%q: shape %v, recognised %v", s, shaped, ok)
		}
		text := before + " " + s + " " + after
		found := false
		for _, at := range FindSecrets(text) {
			if _, ok := Recognise(text[at.Start:at.End]); !ok {
				t.Fatalf("found %q, which is not recognised", text[at.Start:at.End])
			}
			found = found || text[at.Start:at.End] == s
		}
		if ok && !found {
			t.Fatalf("%q is not found in its text", s)
		}
	})
}

// A stream can have every character of a stream ID in its access keys.
func TestAccessKeyShape_AnyStream(t *testing.T) {
	for _, stream := range []string{"outbound", "my_stream", "a-b_c9"} {
		if !accessKeyShape.MatchString("MC-T-" + stream + "-" + strings.Repeat("0", 28)) {
			t.Errorf("an access key of stream %s is none", stream)
		}
	}
}
