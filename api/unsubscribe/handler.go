package unsubscribe

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/mailchute/mailchute/api/page"
)

// Options tunes a Handler. Zero values mean the defaults named.
type Options struct {
	// Prefix is the path that stands before tokens; "/".
	Prefix string
	Log    *slog.Logger     // discarded
	Now    func() time.Time // time.Now
}

func (o Options) withDefaults() Options {
	if o.Prefix == "" {
		o.Prefix = "/"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Handler answers links. It is safe for concurrent use.
type Handler struct {
	store  Store
	links  Links
	opts   Options
	pages  page.Pages
	limits *limits
	acting singleflight.Group // by token: who clicks twice unsubscribes once
}

// New returns a Handler.
func New(s Store, l Links, opts Options) *Handler {
	return &Handler{store: s, links: l, opts: opts.withDefaults(), pages: page.New(pageText), limits: newLimits()}
}

const (
	maxBody   = 16 << 10         // a form of one field, in either encoding
	actTime   = 20 * time.Second // until it must be on disk
	tryLater  = "60"             // Retry-After, in seconds
	noLink    = "This link is not valid."
	overload  = "There are too many requests from your network. Please try again in a minute."
	noForm    = "This request does not say what to do."
	noMethod  = "This address is for looking at and for unsubscribing only."
	notNow    = "This did not work. Please try again in a few minutes."
	oneClick  = "One-Click"
	fieldName = "List-Unsubscribe"
)

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h.pages.Write(w, h.answer(w, r)); err != nil {
		h.opts.Log.Error("page not written", "err", err)
		w.WriteHeader(http.StatusInternalServerError)
	}
}

func (h *Handler) answer(w http.ResponseWriter, r *http.Request) page.Answer {
	if !h.limits.allow(client(r), h.opts.Now()) {
		w.Header().Set("Retry-After", tryLater)
		return failed(http.StatusTooManyRequests, overload)
	}
	token, ok := strings.CutPrefix(r.URL.Path, h.opts.Prefix)
	if !ok {
		return failed(http.StatusNotFound, noLink)
	}
	l, ok := h.links.open(token)
	if !ok {
		return failed(http.StatusNotFound, noLink)
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return asking(l.address)
	case http.MethodPost:
		return h.post(w, r, token, l)
	}
	w.Header().Set("Allow", "GET, HEAD, POST")
	return failed(http.StatusMethodNotAllowed, noMethod)
}

// post unsubscribes. It goes on when the client does not wait for the answer.
func (h *Handler) post(w http.ResponseWriter, r *http.Request, token string, l link) page.Answer {
	if !asked(w, r) {
		return failed(http.StatusBadRequest, noForm)
	}
	_, err, _ := h.acting.Do(token, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), actTime)
		defer cancel()
		return nil, leave(ctx, h.store, l, h.opts.Now())
	})
	if err != nil {
		h.opts.Log.Error("unsubscription failed", "message", l.message, "stream", l.stream, "err", err)
		w.Header().Set("Retry-After", tryLater)
		return failed(http.StatusServiceUnavailable, notNow)
	}
	h.opts.Log.Info("unsubscribed", "message", l.message, "server", l.server, "stream", l.stream)
	return done()
}

// asked tells whether the body is the form of RFC 8058 3.2, in either of the two encodings.
func asked(w http.ResponseWriter, r *http.Request) bool {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := r.ParseMultipartForm(maxBody); err != nil && !errors.Is(err, http.ErrNotMultipart) {
		return false
	}
	return strings.EqualFold(r.PostForm.Get(fieldName), oneClick)
}

func client(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}
