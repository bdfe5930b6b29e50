package api

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

func suppressionRoutes() []route {
	const all = "/message-streams/{stream}/suppressions"
	return []route{
		{method: "GET", path: all + "/dump", handle: dumpSuppressions},
		{method: "POST", path: all, handle: createSuppressions},
		{method: "POST", path: all + "/delete", handle: deleteSuppressions},
	}
}

type suppressionView struct {
	EmailAddress      string
	SuppressionReason store.SuppressionReason
	Origin            store.SuppressionOrigin
	CreatedAt         string
}

// suppressionPage is how much of a list is in memory at once.
const suppressionPage = 1000

// dumpSuppressions writes the whole list of a stream, page by page: it may have
// millions of addresses.
func dumpSuppressions(c *call) (any, *Error) {
	f, none, e := c.suppressionFilter()
	if e != nil {
		return nil, e
	}
	first, cursor := []store.Suppression{}, ""
	if !none {
		var err error
		if first, cursor, err = c.store.ListSuppressions(c.context(), f, "", suppressionPage); err != nil {
			return nil, c.unexpected("listing suppressions", err)
		}
	}
	return streamed(func(w http.ResponseWriter) error {
		d := listWriter{w: w, rc: http.NewResponseController(w), timeout: c.opts.WriteTimeout}
		d.begin("Suppressions")
		for page := first; ; {
			for _, s := range page {
				d.add(suppressionView{s.Address, s.Reason, s.Origin, stamp(s.Created)})
			}
			if cursor == "" || d.err != nil {
				return d.end()
			}
			if page, cursor, d.err = c.store.ListSuppressions(c.context(), f, cursor, suppressionPage); d.err != nil {
				return d.err
			}
		}
	}), nil
}

// suppressionFilter reads what is asked for; none says that it can match
// nothing, as an address does that is no address.
func (c *call) suppressionFilter() (f store.SuppressionFilter, none bool, e *Error) {
	s, e := c.stream(c.snapshot())
	if e != nil {
		return f, false, e
	}
	f = store.SuppressionFilter{Server: s.Server, Stream: s.ID}
	if v := c.query["suppressionreason"]; v != "" {
		reasons := []store.SuppressionReason{store.SuppressedHardBounce, store.SuppressedSpamComplaint, store.SuppressedManually}
		if f.Reason = oneOf(v, reasons); f.Reason == "" {
			return f, false, refuse(CodeSuppressionReason, "Parameter 'SuppressionReason' must be HardBounce, SpamComplaint or ManualSuppression.")
		}
	}
	if v := c.query["origin"]; v != "" {
		origins := []store.SuppressionOrigin{store.OriginRecipient, store.OriginCustomer, store.OriginAdmin}
		if f.Origin = oneOf(v, origins); f.Origin == "" {
			return f, false, refuse(CodeSuppressionOrigin, "Parameter 'Origin' must be Recipient, Customer or Admin.")
		}
	}
	if f.Since, f.Until, e = c.span(CodeField); e != nil {
		return f, false, e
	}
	if v := c.query["emailaddress"]; v != "" {
		key, err := message.MailboxKey(v)
		if err != nil {
			return f, true, nil
		}
		f.Address = key
	}
	return f, false, nil
}

// oneOf finds a word without regard to case, "" when it is none of them.
func oneOf[T ~string](v string, known []T) T {
	for _, k := range known {
		if strings.EqualFold(v, string(k)) {
			return k
		}
	}
	return ""
}

// span reads fromdate and todate, both inclusive. The end is returned as the
// first moment behind it.
func (c *call) span(code Code) (since, until time.Time, _ *Error) {
	for _, p := range []struct {
		name string
		into *time.Time
		end  bool
	}{{"fromdate", &since, false}, {"todate", &until, true}} {
		var ok bool
		if *p.into, ok = date(c.query[p.name], p.end); !ok {
			return since, until, refuse(code, "Parameter '%s' must be like 2026-11-23 or 2026-11-23T12:00:00.", p.name)
		}
	}
	return since, until, nil
}

// maxSuppressions is how many addresses one request may put on a list or take off.
const maxSuppressions = 50

type suppressionStatus struct {
	EmailAddress string
	Status       string
	Message      *string
}

type suppressionAnswer struct{ Suppressions []suppressionStatus }

const (
	textBadAddress  = "An invalid email address was provided."
	textNoAuthority = "You do not have the required authority to change this suppression."
)

// suppressionRequest is a request with the form of each address that is
// compared, "" where there is none.
type suppressionRequest struct {
	stream   store.Stream
	given    []string
	keys     []string
	distinct []string // the keys without repetition
}

func (c *call) suppressionRequest() (r suppressionRequest, e *Error) {
	if r.stream, e = c.stream(c.snapshot()); e != nil {
		return r, e
	}
	var req struct {
		Suppressions []struct{ EmailAddress *string }
	}
	if e := c.decode(&req); e != nil {
		return r, e
	}
	switch n := len(req.Suppressions); {
	case req.Suppressions == nil:
		return r, refuse(CodeSuppressionBody, "The request needs a body with 'Suppressions'.")
	case n > maxSuppressions:
		return r, refuse(CodeSuppressionLimit, "A request has at most %d suppressions; this one has %d.", maxSuppressions, n)
	}
	for _, s := range req.Suppressions {
		if textOf(s.EmailAddress) == "" {
			return r, refuse(CodeSuppressionAddress, "Each of the 'Suppressions' needs an 'EmailAddress'.")
		}
		r.given, r.keys = append(r.given, *s.EmailAddress), append(r.keys, r.key(*s.EmailAddress))
	}
	r.distinct = slices.Compact(slices.Sorted(slices.Values(r.keys)))
	r.distinct = slices.DeleteFunc(r.distinct, func(k string) bool { return k == "" })
	return r, nil
}

// key returns the form of an address that lists have, "" where it is not one
// that could be on a list.
func (r suppressionRequest) key(address string) string {
	key, err := message.MailboxKey(strings.TrimSpace(address))
	s := store.Suppression{Server: r.stream.Server, Stream: r.stream.ID, Address: key, Reason: store.SuppressedManually, Origin: store.OriginCustomer}
	if err != nil || s.Check() != nil {
		return ""
	}
	return key
}

// answer tells of each address, in the order of the request, what became of it:
// done, or why not.
func (r suppressionRequest) answer(done string, why func(key string) string) suppressionAnswer {
	a := suppressionAnswer{Suppressions: []suppressionStatus{}}
	for i, key := range r.keys {
		status, text := suppressionStatus{EmailAddress: r.given[i], Status: done}, ""
		if text = textBadAddress; key != "" {
			text = why(key)
		}
		if text != "" {
			status.Status, status.Message = "Failed", &text
		}
		a.Suppressions = append(a.Suppressions, status)
	}
	return a
}

// createSuppressions puts addresses on the list. One that is on it already
// stays as it is.
func createSuppressions(c *call) (any, *Error) {
	r, e := c.suppressionRequest()
	if e != nil {
		return nil, e
	}
	if !r.stream.Outbound() {
		return nil, refuse(CodeStreamNotSending, "The stream provided: '%s' is not for sending.", r.stream.ID)
	}
	var all []store.Suppression
	for _, key := range r.distinct {
		all = append(all, store.Suppression{
			Server: r.stream.Server, Stream: r.stream.ID, Address: key, Reason: store.SuppressedManually, Origin: store.OriginCustomer,
			Created: c.opts.Now(), By: c.principal.String(),
		})
	}
	if _, err := c.store.Suppress(c.context(), all...); err != nil {
		return nil, c.unexpected("suppressing addresses", err)
	}
	return r.answer("Suppressed", func(string) string { return "" }), nil
}

// deleteSuppressions takes addresses off the list, except those whose owners
// complained or left. One that is not on it counts as taken off.
func deleteSuppressions(c *call) (any, *Error) {
	r, e := c.suppressionRequest()
	if e != nil {
		return nil, e
	}
	_, kept, err := c.store.Reactivate(c.context(), store.Reactivation{
		Server: r.stream.Server, Stream: r.stream.ID, Addresses: r.distinct, By: c.principal.String(), At: c.opts.Now(),
	})
	if err != nil {
		return nil, c.unexpected("reactivating addresses", err)
	}
	return r.answer("Deleted", func(key string) string {
		if slices.ContainsFunc(kept, func(s store.Suppression) bool { return s.Address == key }) {
			return textNoAuthority
		}
		return ""
	}), nil
}

// streamed is an answer that is written in pieces. With an error the connection
// ends, so that nobody takes a part for the whole.
type streamed func(http.ResponseWriter) error

// listWriter writes an object with one list, element by element. The reader has
// the timeout for each piece of it.
type listWriter struct {
	w       io.Writer
	rc      *http.ResponseController
	timeout time.Duration
	n       int
	err     error
}

// pieces is after how many elements the time of the reader begins anew.
const pieces = 1000

func (l *listWriter) begin(key string) { l.put(`{"` + key + `":[`) }

func (l *listWriter) put(s string) {
	if l.err == nil {
		_, l.err = io.WriteString(l.w, s)
	}
}

func (l *listWriter) add(v any) {
	if l.err != nil {
		return
	}
	if l.n%pieces == 0 {
		_ = l.rc.SetWriteDeadline(time.Now().Add(l.timeout)) // a writer without deadlines is a test's
	}
	if l.n++; l.n > 1 {
		l.put(",")
	}
	b, err := json.Marshal(v)
	if err != nil {
		l.err = err
		return
	}
	l.put(string(b))
}

func (l *listWriter) end() error {
	l.put("]}\n")
	return l.err
}
