package api_test

import (
	"encoding/json"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/api"
)

// chunked sends an empty batch of so many octets without telling how many.
func (r *rig) chunked(octets int) (status, code int) {
	r.t.Helper()
	body := struct{ io.Reader }{strings.NewReader("[" + strings.Repeat(" ", octets-2) + "]")}
	req := httptest.NewRequestWithContext(r.t.Context(), "POST", "/email/batch", body)
	req.Header.Set("X-Postmark-Server-Token", r.server)
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	r.api.ServeHTTP(w, req)
	var refusal struct{ ErrorCode int }
	_ = json.Unmarshal(w.Body.Bytes(), &refusal) // a list is none
	return w.Code, refusal.ErrorCode
}

// Most clients that do not tell the length of a body send a small one.
func TestManners_BodiesOfUnknownLengthReserveAsTheyCome(t *testing.T) {
	const limit = 1 << 20
	r := newRig(t, rigOptions{api: api.Options{MaxBatch: limit, MaxBodies: 1}})
	for n := range 10 {
		if _, status := r.reading(0); status != "100" {
			t.Fatalf("number %d: %s", n, status)
		}
	}
	if status, code := r.chunked(100_000); status != 200 {
		t.Errorf("a small one: %d, ErrorCode %d", status, code)
	}
	if status, code := r.chunked(limit); status != 503 || code != 100 {
		t.Errorf("a large one, while others have a part of the budget: %d, ErrorCode %d", status, code)
	}
}

func TestManners_BodiesOfUnknownLengthHaveTheLimit(t *testing.T) {
	const limit = 1 << 20
	r := newRig(t, rigOptions{api: api.Options{MaxBatch: limit}})
	for octets, want := range map[int]int{2: 200, limit: 200, limit + 1: 413, 2 * limit: 413} {
		if status, code := r.chunked(octets); status != want {
			t.Errorf("%d octets: %d, ErrorCode %d, want %d", octets, status, code, want)
		}
	}
}
