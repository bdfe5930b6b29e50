package intake

import (
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/message/dkim"
	"github.com/mailchute/mailchute/store"
)

// submission is one message between its first octet and its commit.
type submission struct {
	*Intake
	envelope Envelope
	snap     *store.Snapshot
	now      time.Time
	id       store.ID
	content  *message.Canonical
	memory   *scratch

	server   store.Server
	stream   store.Stream
	header   *message.Header
	authors  []message.Mailbox
	controls message.Controls
	dkim     *dkim.BodyHasher             // nil where nobody signs for the author
	off      map[string]store.Suppression // recipients that the stream does not write to
	files    *message.FileNames           // nil where there are no parts
	once     *once                        // nil where nothing tells that it came before
	request  [32]byte                     // of once
}

func (s *submission) run(ctx context.Context) error {
	limits := s.opts.Header
	limits.UTF8, limits.Buffer = s.envelope.UTF8, s.memory.header[:]
	header, body, err := message.ReadHeader(s.content, limits)
	if err != nil {
		return err
	}
	s.header = header
	if err := s.check(); err != nil {
		return err
	}
	if done, err := s.recognise(ctx, body); done || err != nil {
		return err
	}
	if err := s.hopeless(); err != nil {
		return err
	}
	if s.off, err = s.suppressed(ctx); err != nil {
		return err
	}
	if err := s.rewrite(); err != nil {
		return err
	}
	return s.commit(ctx, body)
}

// check applies every rule that the header decides.
func (s *submission) check() error {
	var err error
	if s.controls, err = message.TakeControls(s.header); err != nil {
		return err
	}
	if s.controls, err = combine(s.envelope.Controls, s.controls); err != nil {
		return err
	}
	if err := s.route(); err != nil {
		return err
	}
	if s.authors, err = s.header.Authors(); err != nil {
		return err
	}
	if err := s.header.CheckLoop(s.opts.Hostname, s.opts.Loop); err != nil {
		return err
	}
	for _, author := range s.authors {
		if err := checkSender(s.snap, s.server, author.Address); err != nil {
			return err
		}
	}
	return nil
}

// route finds the stream: the token's own, or for a server token the one that
// the header names, or "outbound".
func (s *submission) route() error {
	p := s.envelope.Principal
	id := s.controls.Stream
	switch {
	case p.Stream != "" && id != "" && id != p.Stream:
		return &Refusal{Kind: KindStream, Reason: "this SMTP token sends through another message stream only"}
	case p.Stream != "":
		id = p.Stream
	case id == "":
		id = "outbound"
	}
	server, ok := s.snap.Servers[p.Server]
	if !ok {
		return &Refusal{Kind: KindRevoked, Reason: "credential is no longer valid"}
	}
	stream, ok := s.snap.Streams[store.StreamKey{Server: p.Server, Stream: id}]
	if !ok {
		return &Refusal{Kind: KindStream, Reason: "message stream does not exist on this server"}
	}
	s.server, s.stream = server, stream
	return usable(stream)
}

func usable(stream store.Stream) error {
	switch {
	case !stream.Outbound():
		return &Refusal{Kind: KindStream, Reason: "message stream is not for sending"}
	case !stream.Archived.IsZero():
		return &Refusal{Kind: KindStream, Reason: "message stream is archived"}
	case stream.IntakePaused:
		return &Refusal{Kind: KindStream, Reason: "message stream does not take mail at present"}
	}
	return nil
}

// rewrite makes the header what will leave: nothing blind or forged, Date and
// Message-ID present, our trace field on top.
func (s *submission) rewrite() error {
	message.Strip(s.header, s.opts.Hostname)
	if s.unsubscribe() != "" {
		message.RemoveUnsubscribe(s.header) // two of them would be two ways out, of which one is ours
	}
	e, id := &s.envelope, s.id.String()
	messageID := ""
	if !s.header.Has("Message-ID") {
		messageID = message.NewMessageID(id, s.opts.Hostname)
	}
	message.AddMissing(s.header, s.now, messageID)
	version, cipher, _ := strings.Cut(e.TLS, " ")
	return s.header.Prepend(message.Received(message.TraceInfo{
		Hello: e.Hello, ClientIP: e.Client, HideClient: s.opts.PrivateTrace,
		By: s.opts.Hostname, Protocol: e.Protocol, TLSVersion: version, TLSCipher: cipher,
		ID: id, Time: s.now,
	}))
}

// commit streams header and body into a draft and makes it durable. Rules that
// only the end of the content can decide are checked before that.
func (s *submission) commit(ctx context.Context, body io.Reader) error {
	draft, err := s.store.Begin(ctx)
	if err != nil {
		return err
	}
	defer draft.Discard()
	if _, err := draft.Write(s.header.AppendTo(s.memory.copy[:0])); err != nil {
		return err
	}
	to := s.hashing(draft)
	if s.once != nil && s.once.body != nil {
		to = io.MultiWriter(to, s.once.body)
	}
	if s.files = message.NewFileNames(s.header); s.files != nil {
		to = io.MultiWriter(to, s.files)
	}
	if _, err := io.CopyBuffer(to, body, s.memory.copy[:]); err != nil {
		return err
	}
	if s.stream.RefuseBareLF && s.content.BareLFs() > 0 {
		return message.ErrBareLF
	}
	if err := drainedFor(s.snap, s.envelope.Recipients); err != nil {
		return err
	}
	deliveries, err := plan(s.id, s.envelope.Recipients, s.server, s.stream, s.now, s.opts.Expire)
	if err != nil {
		return err
	}
	if err := leaveOut(deliveries, s.off, s.now); err != nil {
		return err
	}
	if s.once != nil {
		done, unlock, err := s.settle(ctx)
		defer unlock()
		if done || err != nil {
			return err
		}
	}
	return draft.Commit(ctx, s.record(), deliveries)
}

// returnHost is the author's own host for return paths, "" where there is none.
func (s *submission) returnHost() string {
	if len(s.snap.Domains) == 0 {
		return ""
	}
	return s.snap.ReturnHost(message.AuthorDomain(s.authors))
}

// unsubscribe is where the links of the copies lead, "" where they get none.
func (s *submission) unsubscribe() string {
	if s.stream.Unsubscribes() != store.UnsubscribeHosted {
		return ""
	}
	return s.opts.UnsubscribeURL
}

func (s *submission) record() store.Message {
	e := &s.envelope
	return store.Message{
		ID: s.id, Server: s.server.ID, Stream: s.stream.ID, Accepted: s.now,
		From: e.From, UTF8: e.UTF8, EightBit: s.content.EightBit(), Ret: e.Ret, EnvID: e.EnvID,
		RequireTLS: e.RequireTLS, TLSOptional: !e.RequireTLS && s.header.TLSOptional(),
		Header: s.display(), DKIMBody: s.bodyHash(), Tag: s.controls.Tag, Metadata: metadata(s.controls),
		TrackOpens: s.controls.TrackOpens, TrackLinks: s.controls.TrackLinks,
		Unsubscribe: s.unsubscribe(),
		ReturnHost:  s.returnHost(),
		Request:     s.request,
		Credential:  credential(e.Principal), Client: e.Client, Protocol: e.Protocol,
	}
}

func credential(p auth.Principal) string {
	return string(p.Kind) + " " + strconv.FormatInt(p.Token, 10)
}

func metadata(c message.Controls) map[string]string {
	if len(c.Metadata) == 0 {
		return nil
	}
	m := make(map[string]string, len(c.Metadata))
	for _, d := range c.Metadata {
		m[d.Key] = d.Value
	}
	return m
}

// Lengths, in characters, of what lists show of a header.
const (
	displayText      = 500
	displayAddresses = 50
)

func (s *submission) display() store.Display {
	h := s.header
	d := store.Display{Subject: cut(h.Get("Subject")), From: cut(h.Get("From")), MessageID: cut(h.Get("Message-ID"))}
	var to, cc []string
	d.To, to = addresses(h, "To")
	d.Cc, cc = addresses(h, "Cc")
	if names := append(to, cc...); slices.ContainsFunc(names, func(name string) bool { return name != "" }) {
		d.Names = names
	}
	for _, name := range s.files.Names() {
		d.Attachments = append(d.Attachments, cut(name))
	}
	return d
}

func addresses(h *message.Header, field string) (out, names []string) {
	list, err := h.AddressList(field)
	if err != nil {
		return nil, nil // To and Cc are for display only; the envelope is law
	}
	for _, m := range list[:min(len(list), displayAddresses)] {
		out, names = append(out, cut(m.Address.String())), append(names, cut(m.Name))
	}
	return out, names
}

func cut(s string) string {
	if utf8.RuneCountInString(s) > displayText {
		return string([]rune(s)[:displayText])
	}
	return strings.ToValidUTF8(s, "�")
}
