package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/intake"
)

// TestManners_NamesEveryInactiveAddress: clients parse the addresses out of the
// message, which over SMTP has no room for many.
func TestManners_NamesEveryInactiveAddress(t *testing.T) {
	var off []string
	for i := range 12 {
		off = append(off, fmt.Sprintf("off%d@example.org", i))
	}
	refusal := &intake.Refusal{Kind: intake.KindSuppressed, Reason: intake.InactiveReason(off, 5, 240), Inactive: off}
	a := newRig(t, rigOptions{intake: refusing{refusal}}).as("POST", "/email", simple)
	wantError(t, a, 422, 406)
	want := "You tried to send to recipient(s) that have been marked as inactive. Found inactive addresses: " + strings.Join(off, ", ") +
		". Inactive recipients are ones that have generated a hard bounce, a spam complaint, or a manual suppression."
	if got := a.text("Message"); got != want {
		t.Errorf("Message = %q, want %q", got, want)
	}
	if n := strings.Count(a.raw, "off11@example.org"); n != 2 {
		t.Errorf("the last address is named %d times, want in the text and in the list: %s", n, a.raw)
	}
}
