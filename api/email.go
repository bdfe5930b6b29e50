package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/internal/failpoint"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/message/compose"
	"github.com/mailchute/mailchute/store"
)

func emailRoutes() []route {
	return []route{
		{method: "POST", path: "/email", trial: true, handle: sendEmail},
		{method: "POST", path: "/email/batch", trial: true, batch: true, handle: sendBatch},
	}
}

// emailRequest is one message as a client describes it.
type emailRequest struct {
	From          string
	To            string
	Cc            string
	Bcc           string
	Subject       string
	Tag           string
	HTMLBody      string `json:"HtmlBody"`
	TextBody      string
	ReplyTo       string
	Headers       []headerField
	TrackOpens    *bool
	TrackLinks    string
	Metadata      metadata
	Attachments   []attachment
	MessageStream string
}

type headerField struct{ Name, Value string }

type attachment struct {
	Name        string
	Content     base64Text
	ContentType string
	ContentID   string
}

// metadata is an object of texts. An empty list counts as an empty object,
// since PHP cannot tell the two apart.
type metadata map[string]string

// UnmarshalJSON implements json.Unmarshaler.
func (m *metadata) UnmarshalJSON(b []byte) error {
	if len(b) > 1 && b[0] == '[' && len(bytes.TrimSpace(b[1:len(b)-1])) == 0 {
		return nil
	}
	return json.Unmarshal(b, (*map[string]string)(m))
}

// emailResponse answers a send. In a batch, a message that was not taken has
// the nil UUID and the zero time, since some clients need every key there.
type emailResponse struct {
	To                 string
	Cc                 string `json:",omitempty"`
	Bcc                string `json:",omitempty"`
	SubmittedAt        string
	MessageID          string
	ErrorCode          Code
	Message            string
	InactiveRecipients []string `json:",omitempty"`
}

func sendEmail(c *call) (any, *Error) {
	var req emailRequest
	if e := c.decode(&req); e != nil {
		return nil, e
	}
	once, e := c.requestKey()
	if e != nil {
		return nil, e
	}
	return c.send(req, once)
}

const (
	maxBatchMessages = 500
	batchWorkers     = 8
)

// sendBatch answers in the order of the request. Each message is durable, or
// refused, by itself.
func sendBatch(c *call) (any, *Error) {
	items, e := c.items()
	if e != nil {
		return nil, e
	}
	once, e := c.requestKey()
	if e != nil {
		return nil, e
	}
	holder, e := c.holder(once, len(items))
	if e != nil {
		return nil, e
	}
	done, answers := 0, make([]emailResponse, len(items))
	if once != nil && holder < 0 {
		if done, holder, e = c.claim(once, items, answers); e != nil {
			return nil, e
		}
	}
	spread(done, len(items), func(i int) { answers[i] = c.sendItem(items[i], item(once, i, holder)) })
	return answers, nil
}

// spread does what is to be done for the numbers from first to below end, by
// several workers.
func spread(first, end int, do func(int)) {
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(batchWorkers, end-first) {
		workers.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := first; i < end; i++ {
		next <- i
	}
	close(next)
	workers.Wait()
}

// items returns the messages of a batch as they stand in the body, which may be
// large: nothing of them is copied or decoded yet.
func (c *call) items() ([][]byte, *Error) {
	if empty(c.body) {
		return nil, nil
	}
	if e := c.checkBody(batchWorkers); e != nil {
		return nil, e
	}
	items, ok := elements(c.body)
	switch {
	case !ok:
		return nil, refuse(CodeField, "Invalid request: the body is no JSON array.")
	case len(items) > maxBatchMessages:
		return nil, refuse(CodeBatchSize, "A batch has at most %d messages; this one has %d.", maxBatchMessages, len(items))
	}
	return items, nil
}

// sendItem sends one message of a batch. A panic costs that message only: nobody
// further up would recover from one of this goroutine.
func (c *call) sendItem(item []byte, once *intake.Request) (answer emailResponse) {
	var req emailRequest
	var e *Error
	defer func() {
		if v := recover(); v != nil {
			c.opts.Log.Error("API request panicked", "request", c.id, "panic", v)
			answer = refusedItem(req, errInternal(c.id))
		}
	}()
	if int64(len(item)) > c.opts.MaxBody {
		e = refuse(CodeInvalidEmail, "The message is larger than %d octets.", c.opts.MaxBody)
	} else if e = decodeChecked(item, &req); e == nil {
		if answer, e = c.send(req, once); e == nil {
			return answer
		}
	}
	return refusedItem(req, e)
}

func refusedItem(req emailRequest, e *Error) emailResponse {
	return emailResponse{
		To: req.To, SubmittedAt: stamp(time.Time{}), MessageID: store.ID{}.String(),
		ErrorCode: e.Code, Message: e.Message, InactiveRecipients: e.Inactive,
	}
}

// send checks a message and makes it durable, once is what names its request if
// anything does.
func (c *call) send(req emailRequest, once *intake.Request) (emailResponse, *Error) {
	l, e := c.prepare(req)
	if e != nil {
		return emailResponse{}, e
	}
	answer := emailResponse{To: req.To, Cc: req.Cc, Bcc: req.Bcc, SubmittedAt: stamp(c.opts.Now()), Message: "OK"}
	if c.trial {
		answer.MessageID, answer.Message = store.NewID().String(), "Test job accepted"
		return answer, nil
	}
	if done, e := c.repeated(once, &answer); done || e != nil {
		return answer, e
	}
	if len(l.letter.ReplyTo) == 0 && !slices.ContainsFunc(l.letter.Fields, func(f compose.Field) bool { return strings.EqualFold(f.Name, "Reply-To") }) {
		l.letter.ReplyTo, _ = c.mailboxes(c.replyTo(l.letter.From.Address)) // none where it cannot be read
	}
	if e := c.checkStream(l); e != nil {
		return emailResponse{}, e
	}
	id, err := c.submit(l, once)
	if err != nil {
		return emailResponse{}, c.refused(err, req)
	}
	failpoint.Hit(failpoint.APIDurable)
	answer.MessageID = id.String()
	c.tellInactive(id, &answer)
	return answer, nil
}

// submit hands a message over while it is being written, so that it is never in
// memory as a whole.
func (c *call) submit(l prepared, once *intake.Request) (store.ID, error) {
	r, w := io.Pipe()
	var writing sync.WaitGroup
	defer writing.Wait()
	defer r.Close() // ends a writer that nobody reads any more
	writing.Go(func() {
		defer func() {
			if v := recover(); v != nil { // as in sendItem
				w.CloseWithError(fmt.Errorf("panic in writing a message: %v", v))
			}
		}()
		b := bufio.NewWriterSize(w, pipeOctets)
		_, err := l.letter.WriteTo(b)
		if err == nil {
			err = b.Flush()
		}
		w.CloseWithError(err)
	})
	e := c.envelope(l)
	e.Request = once
	return c.intake.Submit(c.context(), e, r)
}

// pipeOctets go through the pipe at once.
const pipeOctets = 16 << 10

// tellInactive says when a message was taken and which of its recipients get
// nothing. It is taken in any case.
func (c *call) tellInactive(id store.ID, answer *emailResponse) {
	r, err := c.store.Record(c.context(), id)
	if err != nil {
		c.opts.Log.Warn("recipients of a message not looked at", "request", c.id, "message", id, "err", err)
		return
	}
	answer.SubmittedAt = stamp(r.Message.Accepted)
	off := inactiveOf(r)
	if len(off) == 0 {
		return
	}
	answer.InactiveRecipients = off
	answer.Message = "Message OK, but will not deliver to these inactive addresses: " + strings.Join(off, ", ") +
		". Inactive recipients are ones that have generated a hard bounce, a spam complaint, or a manual suppression."
}

// inactiveOf names the suppressed recipients as message.MailboxKey writes them.
func inactiveOf(r store.Record) (off []string) {
	for _, d := range r.Deliveries {
		for _, to := range d.Recipients {
			if key, err := message.MailboxKey(to.Address); err == nil && to.State == store.Suppressed {
				off = append(off, key)
			}
		}
	}
	slices.Sort(off)
	return slices.Compact(off)
}

func (c *call) envelope(l prepared) intake.Envelope {
	e := intake.Envelope{
		Principal: c.principal, From: l.letter.From.Address.String(), UTF8: l.utf8,
		Controls: l.controls, Client: c.client(), Protocol: "HTTP",
	}
	for _, to := range l.recipients {
		e.Recipients = append(e.Recipients, intake.Recipient{Address: to.String()})
	}
	if state := c.r.TLS; state != nil {
		e.Protocol, e.TLS = "HTTPS", tlsName(state)
	}
	return e
}

// checkStream gives the stream its own codes; intake decides again.
func (c *call) checkStream(l prepared) *Error {
	stream, ok := c.snapshot().Streams[store.StreamKey{Server: c.principal.Server, Stream: l.stream}]
	switch {
	case !ok:
		return refuse(CodeStreamUnknown, "The stream provided: '%s' does not exist on this server.", shortened(l.stream))
	case !stream.Outbound():
		return refuse(CodeStreamNotSending, "The stream provided: '%s' is not for sending.", l.stream)
	case !stream.Archived.IsZero():
		return refuse(CodeStreamNotSending, "The stream provided: '%s' is archived.", l.stream)
	case stream.IntakePaused:
		return refuse(CodeStreamNotSending, "The stream provided: '%s' does not take mail at present.", l.stream)
	}
	return nil
}

// refused maps what intake says.
func (c *call) refused(err error, req emailRequest) *Error {
	var r *intake.Refusal
	if !errors.As(err, &r) {
		return c.unexpected("submitting a message", err)
	}
	switch r.Kind {
	case intake.KindRevoked:
		return failure(http.StatusUnauthorized, CodeToken, textNeedServer)
	case intake.KindSender:
		return refuse(CodeSender, "The 'From' address you supplied (%s) is not a Sender Signature on your account. "+
			"Please add and confirm this address in order to be able to use it in the 'From' field of your messages.", req.From)
	case intake.KindStream:
		return refuse(CodeStreamNotSending, "%s.", capital(r.Reason))
	case intake.KindSuppressed:
		return inactive(r)
	case intake.KindConflict:
		return c.keyRefused(err)
	case intake.KindFull:
		return &errFull
	case intake.KindShuttingDown:
		return &errStopping
	case intake.KindUnavailable:
		return c.unexpected("submitting a message", err)
	case intake.KindTooLarge:
		return failure(http.StatusRequestEntityTooLarge, CodeInvalidEmail, "The message is larger than this server accepts.")
	}
	return refuse(CodeInvalidEmail, "%s.", capital(r.Reason))
}

// inactive names all addresses: clients read them out of the message.
func inactive(r *intake.Refusal) *Error {
	text := r.Reason
	if n := len(r.Inactive); n > 0 {
		text = intake.InactiveReason(r.Inactive, n, math.MaxInt)
	}
	e := refuse(CodeInactive, "%s.", capital(text))
	e.Inactive = r.Inactive
	return e
}

func capital(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return fmt.Sprintf("%c%s", s[0]-'a'+'A', s[1:])
}

// stamp is how times are written: UTC with seven digits.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }
