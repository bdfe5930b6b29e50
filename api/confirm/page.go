package confirm

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"strconv"
	"strings"

	"github.com/mailchute/mailchute/store"
)

//go:embed page.html
var pageText string

const style = "body{font:1.1rem/1.5 system-ui,sans-serif;margin:0;padding:10vh 1.5rem;color:#222;background:#fff}" +
	"main{max-width:32rem;margin:auto}h1{font-size:1.5rem}" +
	"button{font:inherit;padding:.6rem 1.4rem;border:0;border-radius:.4rem;background:#1a56c4;color:#fff;cursor:pointer}" +
	"button:focus-visible{outline:3px solid #000}" +
	"@media(prefers-color-scheme:dark){body{color:#eee;background:#181818}button:focus-visible{outline-color:#fff}}"

// page renders answers.
type page struct {
	text   *template.Template
	policy string
}

func newPage() page {
	sum := sha256.Sum256([]byte(style))
	return page{
		text: template.Must(template.New("page").Parse(pageText)),
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	}
}

// words are what a page says.
type words struct {
	status      int
	Title, Text string
	Ask         bool // with the button
	Style       template.CSS
}

var (
	noLink   = words{status: http.StatusNotFound, Title: "This link is not valid", Text: "It may be incomplete, too old, or about a sender that is gone. Ask for a new one."}
	noMethod = words{status: http.StatusMethodNotAllowed, Title: "Not like this", Text: "This address is for looking at and for confirming only."}
	notNow   = words{status: http.StatusServiceUnavailable, Title: "This did not work", Text: "Please try again in a few minutes."}
)

// ServeHTTP shows the question and takes the answer.
func (d *Desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := d.answer(w, r)
	v.Style = style
	var b bytes.Buffer
	if err := d.page.text.Execute(&b, v); err != nil {
		d.opts.Log.Error("page not written", "err", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	h.Set("Content-Security-Policy", d.page.policy)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Robots-Tag", "noindex, nofollow")
	w.WriteHeader(v.status)
	_, _ = w.Write(b.Bytes()) // who has gone needs no answer
}

func (d *Desk) answer(w http.ResponseWriter, r *http.Request) words {
	text, ok := strings.CutPrefix(r.URL.Path, d.opts.Prefix)
	if !ok {
		return noLink
	}
	g, until, ok := open(d.keys, d.directory.Snapshot(), text)
	if !ok || d.opts.Now().After(until) {
		return noLink
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if !g.Verified.IsZero() {
			return done(g)
		}
		return words{status: http.StatusOK, Title: "Confirm " + g.Email, Ask: true,
			Text: "Press the button if " + d.who() + " may send mail in the name of this address."}
	case http.MethodPost:
		return d.confirm(r, g)
	}
	w.Header().Set("Allow", "GET, HEAD, POST")
	return noMethod
}

func (d *Desk) who() string {
	if name := d.directory.Snapshot().Account.Name; name != "" {
		return name
	}
	return "the sender of the message"
}

func done(g store.Signature) words {
	return words{status: http.StatusOK, Title: g.Email + " is confirmed", Text: "Mail can be sent in its name now. You can close this page."}
}

// confirm stores the answer, which may be given twice. It goes on when the
// client does not wait.
func (d *Desk) confirm(r *http.Request, g store.Signature) words {
	_, err := store.Update(context.WithoutCancel(r.Context()), d.directory, func(s *store.Snapshot) ([]store.Change, error) {
		now, there := s.Signatures[g.ID]
		switch {
		case !there || now.Email != g.Email:
			return nil, store.ErrNotFound
		case now.Verified.IsZero():
			now.Verified = d.opts.Now()
		}
		return []store.Change{{Signature: &now}}, nil
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return noLink
	case err != nil:
		d.opts.Log.Error("sender not confirmed", "sender", g.ID, "err", err)
		return notNow
	}
	d.opts.Log.Info("sender confirmed by its owner", "sender", g.ID)
	return done(g)
}
