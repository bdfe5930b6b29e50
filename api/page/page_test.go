package page

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	w := httptest.NewRecorder()
	err := New(`<style>{{.Style}}</style>{{.Title}}: {{.Text}}{{if .Ask}}<button>{{end}}`).Write(w, Answer{Status: http.StatusNotFound, Title: "<b>", Text: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if body := w.Body.String(); w.Code != http.StatusNotFound || !strings.HasSuffix(body, "</style>&lt;b&gt;: x") {
		t.Errorf("%d %s", w.Code, body)
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Robots-Tag": "noindex, nofollow",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if p := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(p, "default-src 'none'; style-src 'sha256-") || !strings.Contains(p, "frame-ancestors 'none'") {
		t.Error(p)
	}
}

func TestWrite_FailureWritesNothing(t *testing.T) {
	w := httptest.NewRecorder()
	if err := New(`{{.Nothing}}`).Write(w, Answer{Status: http.StatusOK}); err == nil {
		t.Error("no error")
	}
	if w.Body.Len() > 0 || len(w.Header()) > 0 {
		t.Errorf("%v %s", w.Header(), w.Body)
	}
}
