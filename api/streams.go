package api

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/store"
)

func streamRoutes() []route {
	const one, tokens = "/message-streams/{stream}", "/message-streams/{stream}/smtp-tokens"
	return []route{
		{method: "GET", path: "/message-streams", handle: listStreams},
		{method: "POST", path: "/message-streams", handle: createStream},
		{method: "GET", path: one, handle: getStream},
		{method: "PATCH", path: one, handle: editStream},
		{method: "POST", path: one + "/archive", handle: archiveStream},
		{method: "POST", path: one + "/unarchive", handle: unarchiveStream},
		{method: "GET", path: tokens, handle: listSMTPTokens},
		{method: "POST", path: tokens, handle: createSMTPToken},
		{method: "DELETE", path: tokens + "/{token}", handle: deleteSMTPToken},
	}
}

type streamView struct {
	ID                                  string
	ServerID                            int64
	Name                                string
	Description                         string
	MessageStreamType                   string
	CreatedAt                           string
	UpdatedAt                           *string
	ArchivedAt                          *string
	ExpectedPurgeDate                   *string
	SubscriptionManagementConfiguration struct{ UnsubscribeHandlingType string }
}

type streamRequest struct {
	ID, Name, MessageStreamType, Description *string

	SubscriptionManagementConfiguration struct{ UnsubscribeHandlingType *string }
}

// unsubscribes are Postmark's words for how recipients leave a stream.
var unsubscribes = map[store.Unsubscribe]string{
	store.UnsubscribeNone: "None", store.UnsubscribeHosted: "Postmark", store.UnsubscribeCustom: "Custom",
}

const (
	purgeAfter     = 45 * 24 * time.Hour // what clients are told; archived streams stay
	maxStreamName  = 100
	maxDescription = 1000
)

var kinds = map[store.StreamKind]string{store.Transactional: "Transactional", store.Broadcast: "Broadcasts", store.Inbound: "Inbound"}

func viewStream(s store.Stream) streamView {
	v := streamView{ID: s.ID, ServerID: s.Server, Name: s.Name, Description: s.Description, MessageStreamType: kinds[s.Kind], CreatedAt: stamp(s.Created), UpdatedAt: optionalStamp(s.Edited)}
	v.SubscriptionManagementConfiguration.UnsubscribeHandlingType = unsubscribes[s.Unsubscribes()]
	if !s.Archived.IsZero() {
		at, purge := stamp(s.Archived), stamp(s.Archived.Add(purgeAfter))
		v.ArchivedAt, v.ExpectedPurgeDate = &at, &purge
	}
	return v
}

func listStreams(c *call) (any, *Error) {
	wanted := strings.ToLower(c.query["messagestreamtype"])
	archived, _ := strconv.ParseBool(strings.ToLower(c.query["includearchivedstreams"]))
	list := struct {
		MessageStreams []streamView
		TotalCount     int
	}{MessageStreams: []streamView{}}
	if wanted != "" && wanted != "all" && !slices.Contains([]string{"inbound", "transactional", "broadcasts"}, wanted) {
		return nil, refuse(CodeStreamType, "Parameter 'MessageStreamType' must be All, Inbound, Transactional or Broadcasts.")
	}
	for _, s := range c.snapshot().StreamsOf(c.principal.Server) {
		if (wanted == "" || wanted == "all" || strings.EqualFold(wanted, kinds[s.Kind])) && (archived || s.Archived.IsZero()) {
			list.MessageStreams = append(list.MessageStreams, viewStream(s))
		}
	}
	list.TotalCount = len(list.MessageStreams)
	return list, nil
}

// stream finds the stream that the path names.
func (c *call) stream(snap *store.Snapshot) (store.Stream, *Error) {
	s, ok := snap.Streams[store.StreamKey{Server: c.principal.Server, Stream: c.r.PathValue("stream")}]
	if !ok {
		return s, refuse(CodeStreamMissing, "The message stream for the provided 'ID' was not found.")
	}
	return s, nil
}

func getStream(c *call) (any, *Error) {
	s, e := c.stream(c.snapshot())
	if e != nil {
		return nil, e
	}
	return viewStream(s), nil
}

// putStream stores the stream that edit makes of the one of the path.
func (c *call) putStream(edit func(*store.Stream) *Error) (store.Stream, *Error) {
	var s store.Stream
	e := c.update(func(snap *store.Snapshot) (_ []store.Change, e *Error) {
		if s, e = c.stream(snap); e != nil {
			return nil, e
		}
		return []store.Change{{Stream: &s}}, edit(&s)
	})
	return s, e
}

// update is store.Update with refusals.
func (c *call) update(build func(*store.Snapshot) ([]store.Change, *Error)) *Error {
	_, err := store.Update(c.context(), c.store, func(snap *store.Snapshot) ([]store.Change, error) {
		changes, e := build(snap)
		if e != nil {
			return nil, e
		}
		return changes, nil
	})
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	}
	return c.unexpected("changing the directory", err)
}

// html finds what a browser takes for a tag, an end of one, or a comment (WHATWG HTML
// 13.2.5.6).
var html = regexp.MustCompile("<[A-Za-z/!?]")

func (r streamRequest) apply(s *store.Stream) *Error {
	if r.Name != nil {
		s.Name = *r.Name
	}
	if r.Description != nil {
		s.Description = *r.Description
	}
	if e := r.unsubscribe(s); e != nil {
		return e
	}
	switch {
	case strings.TrimSpace(s.Name) == "" || hasControl(s.Name):
		return refuse(CodeStreamName, "The stream needs a 'Name' without control characters.")
	case utf8.RuneCountInString(s.Name) > maxStreamName:
		return refuse(CodeStreamNameLong, "The 'Name' is longer than %d characters.", maxStreamName)
	case utf8.RuneCountInString(s.Description) > maxDescription:
		return refuse(CodeStreamText, "The 'Description' is longer than %d characters.", maxDescription)
	case r.Description != nil && html.MatchString(s.Description):
		return refuse(CodeStreamHTML, "The 'Description' must not have HTML.")
	}
	return nil
}

// unsubscribe takes the words of clients in any case. A stream whose default is
// asked for keeps no word of its own.
func (r streamRequest) unsubscribe(s *store.Stream) *Error {
	word := textOf(r.SubscriptionManagementConfiguration.UnsubscribeHandlingType)
	if word == "" {
		return nil
	}
	for handling, name := range unsubscribes {
		if !strings.EqualFold(word, name) {
			continue
		}
		if !s.Outbound() && handling != store.UnsubscribeNone {
			return refuse(CodeStreamHandlingKind, "The 'UnsubscribeHandlingType' of an inbound stream is None.")
		}
		if s.Unsubscribe = ""; s.Unsubscribes() != handling {
			s.Unsubscribe = handling
		}
		return nil
	}
	return refuse(CodeStreamHandling, "The 'UnsubscribeHandlingType' must be None, Postmark or Custom.")
}

func createStream(c *call) (any, *Error) {
	var req streamRequest
	if e := c.decode(&req); e != nil {
		return nil, e
	}
	s, e := c.newStream(req)
	if e != nil {
		return nil, e
	}
	e = c.update(func(snap *store.Snapshot) ([]store.Change, *Error) {
		if _, there := snap.Streams[store.StreamKey{Server: s.Server, Stream: s.ID}]; there {
			return nil, refuse(CodeStreamExists, "The 'ID' '%s' is in use by another stream of this server.", s.ID)
		}
		if len(snap.StreamsOf(s.Server)) >= store.MaxStreams {
			return nil, refuse(CodeStreamLimit, "A server has at most %d streams.", store.MaxStreams)
		}
		// A new stream goes the way of the default one, where that has one.
		like := snap.Streams[store.StreamKey{Server: s.Server, Stream: defaultStream}]
		s.Mode, s.Route = like.Mode, like.Route
		if s.Mode == "" || s.Mode == store.ModeRedirect {
			s.Mode, s.Route = store.ModeCapture, store.Route{}
		}
		return []store.Change{{Stream: &s}}, nil
	})
	return viewStream(s), e
}

func (c *call) newStream(req streamRequest) (store.Stream, *Error) {
	s := store.Stream{Server: c.principal.Server, Created: c.opts.Now()}
	switch strings.ToLower(textOf(req.MessageStreamType)) {
	case "transactional":
		s.Kind = store.Transactional
	case "broadcasts":
		s.Kind = store.Broadcast
	case "inbound":
		return s, refuse(CodeStreamInbound, "A server has one inbound stream.")
	default:
		return s, refuse(CodeStreamType, "The 'MessageStreamType' must be Transactional or Broadcasts.")
	}
	s.ID = textOf(req.ID)
	switch {
	case s.ID == "":
		return s, refuse(CodeStreamID, "The stream needs an 'ID'.")
	case strings.HasPrefix(s.ID, "pm-"):
		return s, refuse(CodeStreamPrefix, "The 'ID' must not begin with 'pm-'.")
	case !store.ValidStreamID(s.ID):
		return s, refuse(CodeStreamIDFormat, "The 'ID' must have 1 to 30 lower-case letters, digits, underscores and inner dashes, and begin with a letter.")
	}
	e := req.apply(&s)
	return s, e
}

func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func editStream(c *call) (any, *Error) {
	var req streamRequest
	if e := c.decode(&req); e != nil {
		return nil, e
	}
	s, e := c.putStream(func(s *store.Stream) *Error {
		s.Edited = c.opts.Now()
		return req.apply(s)
	})
	return viewStream(s), e
}

func archiveStream(c *call) (any, *Error) {
	s, e := c.putStream(func(s *store.Stream) *Error {
		if s.ID == defaultStream || s.Kind == store.Inbound {
			return refuse(CodeStreamDefault, "The default streams cannot be archived.")
		}
		if s.Archived.IsZero() {
			s.Archived = c.opts.Now()
		}
		return nil
	})
	return struct {
		ID                string
		ServerID          int64
		ExpectedPurgeDate string
	}{s.ID, s.Server, stamp(s.Archived.Add(purgeAfter))}, e
}

func unarchiveStream(c *call) (any, *Error) {
	s, e := c.putStream(func(s *store.Stream) *Error {
		s.Archived = time.Time{}
		return nil
	})
	return viewStream(s), e
}

type smtpTokenView struct {
	ID            int64
	ServerID      int64
	MessageStream string
	Name          string
	AccessKey     string
	SecretKey     string `json:",omitempty"` // in the answer to its creation only
	CreatedAt     string
}

func viewSMTPToken(t store.SMTPToken) smtpTokenView {
	return smtpTokenView{ID: t.ID, ServerID: t.Server, MessageStream: t.Stream, Name: t.Name, AccessKey: t.AccessKey, CreatedAt: stamp(t.Created)}
}

func listSMTPTokens(c *call) (any, *Error) {
	snap := c.snapshot()
	s, e := c.stream(snap)
	if e != nil {
		return nil, e
	}
	list := struct {
		TotalCount int
		SMTPTokens []smtpTokenView `json:"SmtpTokens"`
	}{SMTPTokens: []smtpTokenView{}}
	for _, t := range snap.SMTPTokens {
		if t.Server == s.Server && t.Stream == s.ID {
			list.SMTPTokens = append(list.SMTPTokens, viewSMTPToken(t))
		}
	}
	slices.SortFunc(list.SMTPTokens, func(a, b smtpTokenView) int { return int(a.ID - b.ID) })
	list.TotalCount = len(list.SMTPTokens)
	return list, nil
}

func createSMTPToken(c *call) (any, *Error) {
	var req struct{ Name string }
	if e := c.decode(&req); e != nil {
		return nil, e
	}
	snap := c.snapshot()
	s, e := c.stream(snap)
	switch {
	case e != nil:
		return nil, e
	case !s.Outbound():
		return nil, refuse(CodeSMTPTokenInbound, "Inbound streams have no SMTP tokens.")
	case !s.Archived.IsZero():
		return nil, refuse(CodeSMTPTokenStream, "The stream is archived.")
	case snap.Servers[s.Server].SMTPDisabled:
		return nil, refuse(CodeSMTPTokenOff, "SMTP is disabled on this server.")
	}
	pair, t, err := auth.CreateSMTPToken(c.context(), c.store, c.keyring, store.StreamKey{Server: s.Server, Stream: s.ID}, req.Name, c.opts.Now())
	switch {
	case errors.Is(err, store.ErrLimit):
		return nil, refuse(CodeSMTPTokenLimit, "A stream has at most %d SMTP tokens.", store.MaxSMTPTokens)
	case errors.Is(err, store.ErrInvalid):
		return nil, refuse(CodeSMTPTokenName, "The 'Name' has at most 100 octets of printable characters.")
	case err != nil:
		return nil, c.unexpected("making an SMTP token", err)
	}
	v := viewSMTPToken(t)
	v.SecretKey = pair.Secret
	return v, nil
}

// removed answers a deletion.
type removed struct {
	ErrorCode Code
	Message   string
}

func deleteSMTPToken(c *call) (any, *Error) {
	snap := c.snapshot()
	s, e := c.stream(snap)
	if e != nil {
		return nil, e
	}
	id, _ := strconv.ParseInt(c.r.PathValue("token"), 10, 64)
	if t, ok := snap.SMTPTokens[id]; !ok || t.Server != s.Server || t.Stream != s.ID {
		return nil, refuse(CodeSMTPToken, "The SMTP token was not found.")
	}
	return removed{Message: "SMTP token removed."}, c.revoke(id, auth.RevokeSMTPToken, refuse(CodeSMTPToken, "The SMTP token was not found."))
}

// revoke deletes a token. Somebody else may have been quicker.
func (c *call) revoke(id int64, do func(context.Context, store.Directory, int64) error, gone *Error) *Error {
	switch err := do(c.context(), c.store, id); {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound):
		return gone
	default:
		return c.unexpected("revoking a token", err)
	}
}
