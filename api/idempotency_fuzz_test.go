package api

import (
	"strings"
	"testing"
)

// FuzzRequestKey: a key that is taken is visible ASCII within its bounds, and
// quoting it changes nothing.
func FuzzRequestKey(f *testing.F) {
	for _, s := range []string{"", "order-7", `"order-7"`, `"`, `""`, `"a"b"`, `\`, "a b", "ü", strings.Repeat("k", 256)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key, ok := parseRequestKey(s)
		if !ok {
			return
		}
		if len(key) < 1 || len(key) > maxRequestKey || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			t.Fatalf("%q is taken as %q", s, key)
		}
		if !strings.ContainsAny(key, `"\`) {
			if again, ok := parseRequestKey(`"` + key + `"`); !ok || again != key {
				t.Errorf("quoted, %q is %q, %v", key, again, ok)
			}
		}
	})
}
