package confirm

import (
	"context"
	_ "embed"
	"errors"
	"net/http"
	"strings"

	"github.com/mailchute/mailchute/api/page"
	"github.com/mailchute/mailchute/store"
)

//go:embed page.html
var pageText string

var (
	noLink   = page.Answer{Status: http.StatusNotFound, Title: "This link is not valid", Text: "It may be incomplete, too old, or about a sender that is gone. Ask for a new one."}
	noMethod = page.Answer{Status: http.StatusMethodNotAllowed, Title: "Not like this", Text: "This address is for looking at and for confirming only."}
	notNow   = page.Answer{Status: http.StatusServiceUnavailable, Title: "This did not work", Text: "Please try again in a few minutes."}
)

// ServeHTTP shows the question and takes the answer.
func (d *Desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := d.pages.Write(w, d.answer(w, r)); err != nil {
		d.opts.Log.Error("page not written", "err", err)
		w.WriteHeader(http.StatusInternalServerError)
	}
}

func (d *Desk) answer(w http.ResponseWriter, r *http.Request) page.Answer {
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
		return page.Answer{Status: http.StatusOK, Title: "Confirm " + g.Email, Ask: true,
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

func done(g store.Signature) page.Answer {
	return page.Answer{Status: http.StatusOK, Title: g.Email + " is confirmed", Text: "Mail can be sent in its name now. You can close this page."}
}

// confirm stores the answer, which may be given twice. It goes on when the
// client does not wait.
func (d *Desk) confirm(r *http.Request, g store.Signature) page.Answer {
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
