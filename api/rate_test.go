package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/mailchute/mailchute/api"
)

func TestRate_EachTokenHasItsOwn(t *testing.T) {
	now := time.Now()
	r := newRig(t, rigOptions{api: api.Options{Rate: 3, Now: func() time.Time { return now }}})
	for _, want := range []string{`"token";r=2;t=20`, `"token";r=1;t=40`, `"token";r=0;t=60`} {
		a := r.as("GET", "/server", "")
		if got := wantOK(t, a).header.Get("RateLimit"); got != want || a.header.Get("RateLimit-Policy") != `"token";q=3;w=60` {
			t.Errorf("RateLimit %s of %s, want %s", got, a.header.Get("RateLimit-Policy"), want)
		}
	}
	a := r.as("POST", "/email", simple)
	wantError(t, a, http.StatusTooManyRequests, 429, "3 in a minute")
	if a.header.Get("Retry-After") != "20" || a.header.Get("RateLimit") != `"token";r=0;t=60` {
		t.Errorf("headers %v", a.header)
	}
	wantOK(t, r.asAccount("GET", "/servers/1", ""))
	if a := wantError(t, r.asAccount("GET", "/servers/none", ""), 422, 601); a.header.Get("RateLimit") != `"token";r=1;t=40` {
		t.Errorf("a refusal does not count: %v", a.header)
	}
	wantError(t, r.do("GET", "/server", ""), http.StatusUnauthorized, 10)
	now = now.Add(20 * time.Second)
	wantOK(t, r.as("GET", "/server", ""))
	wantError(t, r.as("GET", "/server", ""), http.StatusTooManyRequests, 429)
}

// The trial token is everybody's: each network has its own allowance of it.
func TestRate_TrialToken(t *testing.T) {
	r := newRig(t, rigOptions{api: api.Options{Rate: 1}})
	trial := func() answer { return r.do("POST", "/email", simple, "X-Postmark-Server-Token", "POSTMARK_API_TEST") }
	wantOK(t, trial())
	wantError(t, trial(), http.StatusTooManyRequests, 429)
	wantOK(t, r.as("GET", "/server", ""))
}
