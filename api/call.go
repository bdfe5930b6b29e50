package api

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/store"
)

// call is one request on its way through a handler.
type call struct {
	*Server
	r         *http.Request
	id        string
	principal auth.Principal
	trial     bool // POSTMARK_API_TEST: check everything, do nothing
	query     map[string]string
	body      []byte
	reserved  int64 // octets of the budget
}

// requestID is the header that names a request in our log.
const requestID = "X-Request-Id"

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for prefix, h := range s.opts.Public {
		if strings.HasPrefix(r.URL.Path, prefix) {
			h.ServeHTTP(w, r)
			return
		}
	}
	id := rand.Text()
	h := w.Header()
	h.Set(requestID, id)
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store") // answers hold tokens and mail
	h.Set("X-Content-Type-Options", "nosniff")
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler:
			panic(v) // ends the connection
		default:
			s.opts.Log.Error("API request panicked", "request", id, "method", r.Method, "panic", v)
			s.fail(w, errInternal(id))
		}
	}()
	p, ok := normalise(r.URL.Path)
	switch {
	case len(r.RequestURI) > maxTarget:
		s.fail(w, &errLongURI)
	case !ok:
		s.fail(w, &errNoRoute)
	default:
		r.URL.Path, r.URL.RawPath = p, ""
		s.mux.ServeHTTP(w, r)
	}
}

// serve runs one route: who is calling, what is asked, the handler, the answer.
func (s *Server) serve(rt route, w http.ResponseWriter, r *http.Request) {
	start := s.opts.Now()
	c := &call{Server: s, r: r, id: w.Header().Get(requestID), query: queryOf(r)}
	defer c.release()
	answer, e := c.run(rt, w)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.opts.WriteTimeout)) // a writer without deadlines is a test's
	status := http.StatusOK
	if e != nil {
		status = e.Status
		s.fail(w, e)
	} else {
		s.write(w, answer)
	}
	s.opts.Log.Debug("API request", "request", c.id, "method", rt.method, "path", rt.path, "status", status,
		"principal", c.principal, "took", s.opts.Now().Sub(start))
}

func (c *call) run(rt route, w http.ResponseWriter) (any, *Error) {
	if e := c.authenticate(rt); e != nil {
		return nil, e
	}
	if rt.role == forAnyone { // a body of theirs would take memory from those who may send one
		return rt.handle(c)
	}
	if e := c.meter(w); e != nil {
		return nil, e
	}
	if e := c.readBody(rt, w); e != nil {
		return nil, e
	}
	return rt.handle(c)
}

func (c *call) context() context.Context { return c.r.Context() }

func (c *call) snapshot() *store.Snapshot { return c.store.Snapshot() }

// readBody reads the body within its limits.
func (c *call) readBody(rt route, w http.ResponseWriter) *Error {
	limit := c.opts.MaxBody
	if rt.batch {
		limit = c.opts.MaxBatch
	}
	size := c.r.ContentLength
	switch {
	case size == 0:
		return nil
	case size > limit:
		return c.tooLarge(w, limit)
	}
	if e := c.reserve(max(size, 0) * heldOctets); e != nil {
		w.Header().Set("Connection", "close")
		return e
	}
	return c.receive(w, limit)
}

// maxDrained octets of a body that is too large are read and thrown away.
const maxDrained = 64 << 20

// tooLarge refuses a body, and reads on for a while: a client that writes all of it
// before it reads would otherwise see the connection break and no answer. One that
// expects to be told whether to go on is told not to (RFC 9110 10.1.1).
func (c *call) tooLarge(w http.ResponseWriter, limit int64) *Error {
	w.Header().Set("Connection", "close") // the body may not have been read to its end
	if c.r.ContentLength <= limit+maxDrained && c.r.Header.Get("Expect") == "" {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(c.opts.ReadTimeout)) // a writer without deadlines is a test's
		_, _ = io.CopyN(io.Discard, c.r.Body, limit+maxDrained)                               // the answer is the same
	}
	return errTooLarge(limit)
}

// What a request takes in memory. A test measures both.
const (
	heldOctets    = 4   // for each of a body: the body, what it decodes to, and what that takes on the way
	elementOctets = 384 // for each element that is decoded, however short
	shownOctets   = 6   // for each of a text that is shown
	// maxDecoded bounds the elements of one message: three lists are decoded.
	maxDecoded = 3 * maxElements
)

// reserve takes octets of the budget until the request has been answered.
func (c *call) reserve(octets int64) *Error {
	most := c.opts.MaxBodies
	if c.trial {
		most = c.opts.MaxBatch * heldOctets
	}
	octets = min(octets, most-c.reserved) // what needs more than there is has to get all of it
	if !c.trial && !c.shares.take(c.principal.Server, octets, c.reserved, most) {
		return &errBusy
	}
	if !c.budget().TryAcquire(octets) {
		c.giveShare(octets)
		return &errBusy
	}
	c.reserved += octets
	return nil
}

func (c *call) release() {
	c.budget().Release(c.reserved)
	c.giveShare(c.reserved)
}

func (c *call) giveShare(octets int64) {
	if !c.trial {
		c.shares.give(c.principal.Server, octets)
	}
}

func (c *call) budget() *semaphore.Weighted {
	if c.trial {
		return c.untrue
	}
	return c.bodies
}

// receive gives the body the time that its size needs at the least rate.
func (c *call) receive(w http.ResponseWriter, limit int64) *Error {
	rc := http.NewResponseController(w)
	size := c.r.ContentLength
	if size < 0 {
		size = limit
	}
	last := time.Now().Add(c.opts.ReadTimeout + time.Duration(size/c.opts.MinRate)*time.Second)
	_ = rc.SetReadDeadline(last) // a writer without deadlines is a test's
	_ = rc.SetWriteDeadline(last.Add(c.opts.WriteTimeout))
	body, err := c.readAll(http.MaxBytesReader(w, c.r.Body, limit), limit)
	var large *http.MaxBytesError
	var refused *Error
	switch {
	case errors.As(err, &refused):
		w.Header().Set("Connection", "close")
		return refused
	case errors.As(err, &large):
		return c.tooLarge(w, limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		return &errSlowBody
	case err != nil:
		w.Header().Set("Connection", "close")
		return &errBody
	}
	if !empty(body) && !isJSON(c.r.Header) {
		return &errContentType
	}
	c.body = body
	return nil
}

// readAll reads a body. Where its length is known it takes that much memory and
// no more, else it reserves what it takes as the body comes.
func (c *call) readAll(r io.Reader, limit int64) ([]byte, error) {
	if c.r.ContentLength < 0 {
		return c.readUnknown(r, int(limit))
	}
	b := make([]byte, c.r.ContentLength)
	n, err := io.ReadFull(r, b)
	return b[:n], err
}

// firstOctets of a body of unknown length are reserved before any of them comes.
const firstOctets = 64 << 10

// readUnknown reads from a reader that fails behind the limit.
func (c *call) readUnknown(r io.Reader, limit int) ([]byte, error) {
	var b []byte
	for {
		if len(b) == cap(b) {
			more := min(max(cap(b), firstOctets), limit+1-cap(b)) // one more, to see that there is no more
			if e := c.reserve(int64(more) * heldOctets); e != nil {
				return nil, e
			}
			b = append(make([]byte, 0, cap(b)+more), b...)
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return b, err
		}
	}
}

// isJSON tells whether the headers announce JSON that we read. There is no
// decompression: a small body could become a very large one.
func isJSON(h http.Header) bool {
	if enc := h.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return false
	}
	mediaType, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8") {
		return false
	}
	return mediaType == "application/json" || mediaType == "text/json" || mediaType == "text/x-json"
}

// queryOf returns the parameters by lower-case name. Empty ones count as absent. Of
// names that differ in case alone the last in order counts, always the same.
func queryOf(r *http.Request) map[string]string {
	out, all := map[string]string{}, r.URL.Query()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if v := all[name][0]; v != "" {
			out[strings.ToLower(name)] = v
		}
	}
	return out
}

// client returns the address of the peer.
func (c *call) client() netip.Addr {
	peer, err := netip.ParseAddrPort(c.r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr().Unmap()
}

// unexpected logs what the client may not see.
func (c *call) unexpected(doing string, err error) *Error {
	if errors.Is(err, store.ErrClosed) {
		return &errStopping
	}
	c.opts.Log.Error("API request failed", "request", c.id, "doing", doing, "err", err)
	return errInternal(c.id)
}

// errorBody is what a refusal looks like.
type errorBody struct {
	ErrorCode          Code
	Message            string
	InactiveRecipients []string `json:",omitempty"`
}

func (s *Server) fail(w http.ResponseWriter, e *Error) {
	h := w.Header()
	h.Set("X-PM-ApiErrorCode", strconv.Itoa(int(e.Code)))
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(seconds(e.RetryAfter)))
	}
	if e.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Token") // RFC 9110 15.5.2 asks for one
	}
	w.WriteHeader(e.Status)
	s.encode(w, errorBody{e.Code, e.Message, e.Inactive})
}

func (s *Server) write(w http.ResponseWriter, answer any) {
	w.WriteHeader(http.StatusOK)
	pieces, ok := answer.(streamed)
	if !ok {
		s.encode(w, answer)
		return
	}
	if err := pieces(w); err != nil {
		s.opts.Log.Debug("API answer cut off", "err", err)
		panic(http.ErrAbortHandler)
	}
}

func (s *Server) encode(w http.ResponseWriter, v any) {
	if err := encode(w, v); err != nil {
		s.opts.Log.Debug("API answer not sent", "err", err)
	}
}
