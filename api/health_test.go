package api_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mailchute/mailchute/api"
	"github.com/mailchute/mailchute/store"
)

func TestHealth_SaysWhetherMailIsTakenAndNoMore(t *testing.T) {
	var state atomic.Pointer[error]
	r := newRig(t, rigOptions{api: api.Options{Ready: func() error {
		if p := state.Load(); p != nil {
			return *p
		}
		return nil
	}}})
	if a := r.do("GET", "/health", ""); a.status != http.StatusOK || a.text("Status") != "ok" {
		t.Errorf("healthy: %d %s", a.status, a.raw)
	}
	for _, err := range []error{
		fmt.Errorf("3 MiB free in /var/secret: %w", store.ErrFull),
		fmt.Errorf("x: %w", store.ErrClosed),
		errors.New("/var/secret: input/output error"),
	} {
		state.Store(&err)
		a := r.do("GET", "/health", "")
		wantError(t, a, http.StatusServiceUnavailable, 100)
		if strings.Contains(a.raw, "secret") || a.header.Get("Retry-After") == "" {
			t.Errorf("%v: %v %s", err, a.header, a.raw)
		}
	}
}
