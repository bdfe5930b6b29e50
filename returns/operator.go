package returns

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// toOperator passes mail for postmaster and abuse on to the operator, or keeps it where that is not possible: it must
// not be refused (RFC 5321 4.5.1). A loop is refused all the same.
func (d *Desk) toOperator(ctx context.Context, in arrival) (store.ID, error) {
	stream, ok := d.operatorStream()
	if !ok {
		return d.keepForOperator(ctx, in)
	}
	id := store.NewID()
	header, body, err := d.forwardable(in, id)
	if err != nil {
		return store.ID{}, err
	}
	if header == nil {
		return d.keepForOperator(ctx, in)
	}
	content := message.NewCanonical(io.MultiReader(bytes.NewReader(header), bytes.NewReader(body)), message.CanonicalOptions{MaxLine: -1})
	clean, err := io.ReadAll(content)
	if err != nil {
		return d.keepForOperator(ctx, in) // it could not leave as it is
	}
	to, err := message.ParsePath(d.opts.Postmaster, true)
	if err != nil {
		return store.ID{}, fmt.Errorf("address of the operator: %w", err)
	}
	destination, err := relay.DestinationFor(stream, to)
	if err != nil {
		return store.ID{}, fmt.Errorf("address of the operator: %w", err)
	}
	// The null reverse-path keeps a failure of this from coming back here.
	m := store.Message{
		ID: id, Server: stream.Server, Stream: stream.ID, Accepted: in.at, UTF8: in.envelope.UTF8, EightBit: content.EightBit(),
		Header: display(in), Client: in.envelope.Client, Protocol: in.envelope.Protocol,
		RequireTLS: in.envelope.RequireTLS,
	}
	delivery := store.Delivery{
		Server: stream.Server, Stream: stream.ID, Destination: destination, Due: in.at, Expires: in.at.Add(d.opts.NoticeLifetime),
		Recipients: []store.Recipient{{Address: to.String(), State: store.Queued, Notify: "NEVER"}},
	}
	return id, d.commit(ctx, m, delivery, clean)
}

func (d *Desk) operatorStream() (store.Stream, bool) {
	if d.opts.Postmaster == "" || d.opts.PostmasterStream == nil {
		return store.Stream{}, false
	}
	stream, ok := d.opts.PostmasterStream(d.store.Snapshot())
	if !ok || !stream.Outbound() || !stream.Archived.IsZero() {
		d.opts.Log.Warn("mail for the operator is kept: its stream is not there", "to", d.opts.Postmaster)
		return store.Stream{}, false
	}
	return stream, true
}

// forwardable puts a trace field on top. It returns no header for what has none that can be read.
func (d *Desk) forwardable(in arrival, id store.ID) (header, body []byte, err error) {
	h, rest, err := message.ReadHeader(bytes.NewReader(in.raw), message.HeaderLimits{UTF8: in.envelope.UTF8})
	if err != nil {
		return nil, nil, nil
	}
	if err := h.CheckLoop(d.opts.Hostname, message.LoopLimits{}); err != nil {
		return nil, nil, &intake.Refusal{Kind: intake.KindLoop, Reason: "mail loop: too many Received fields", Err: err}
	}
	e := in.envelope
	trace := message.Received(message.TraceInfo{Hello: e.Hello, ClientIP: e.Client, By: d.opts.Hostname, Protocol: e.Protocol, ID: id.String(), Time: in.at})
	if err := h.Prepend(trace); err != nil {
		return nil, nil, fmt.Errorf("adding the trace field: %w", err)
	}
	body, err = io.ReadAll(rest)
	return h.Bytes(), body, err
}

// keepForOperator stores what came as a message that goes nowhere and belongs to no server: "message list" shows it.
func (d *Desk) keepForOperator(ctx context.Context, in arrival) (store.ID, error) {
	s := d.keep(store.Message{}, in)
	return s.Message.ID, d.commit(ctx, s.Message, s.Deliveries[0], s.Body)
}

func (d *Desk) commit(ctx context.Context, m store.Message, delivery store.Delivery, body []byte) error {
	draft, err := d.store.Begin(ctx)
	if err != nil {
		return fmt.Errorf("keeping mail for the operator: %w", err)
	}
	defer draft.Discard()
	if _, err := draft.Write(body); err != nil {
		return fmt.Errorf("keeping mail for the operator: %w", err)
	}
	if err := draft.Commit(ctx, m, []store.Delivery{delivery}); err != nil {
		return fmt.Errorf("keeping mail for the operator: %w", err)
	}
	d.opts.Log.Info("mail for the operator", "message", m.ID, "kept", m.Returned)
	return nil
}
