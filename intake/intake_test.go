package intake_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// spool is a store.Intake and a Directory that keeps what was committed.
type spool struct {
	snap     *store.Snapshot
	beginErr error
	failure  error // of Commit

	committed  int
	discarded  int
	body       []byte
	message    store.Message
	deliveries []store.Delivery
}

func (s *spool) Snapshot() *store.Snapshot { return s.snap }

func (s *spool) Begin(context.Context) (store.Draft, error) {
	if s.beginErr != nil {
		return nil, s.beginErr
	}
	return &draft{spool: s}, nil
}

type draft struct {
	*spool
	bytes.Buffer
	spent bool
}

func (d *draft) Commit(_ context.Context, m store.Message, deliveries []store.Delivery) error {
	d.spent = true
	if d.failure != nil {
		return d.failure
	}
	d.spool.committed++
	d.spool.body, d.spool.message, d.spool.deliveries = bytes.Clone(d.Bytes()), m, deliveries
	return nil
}

func (d *draft) Discard() {
	if !d.spent {
		d.discarded++
	}
}

var now = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)

func account(t *testing.T) *spool {
	t.Helper()
	changes := []store.Change{
		{Server: &store.Server{ID: 1, Name: "shop", DeliveryType: store.Live}},
		{Server: &store.Server{ID: 2, Name: "strict", DeliveryType: store.Live, VerifiedOnly: true}},
		{Server: &store.Server{ID: 3, Name: "sandbox", DeliveryType: store.Sandbox}},
		{Domain: &store.Domain{ID: 4, Name: "verified.example", Verified: now}},
		{Domain: &store.Domain{ID: 5, Name: "pending.example"}},
		{Signature: &store.Signature{ID: 6, Email: "Boss@sign.example", Verified: now}},
	}
	for server := int64(1); server <= 3; server++ {
		for _, st := range store.DefaultStreams(server, store.ModeLive, now) {
			changes = append(changes, store.Change{Stream: &st})
		}
	}
	for _, st := range []store.Stream{
		{Server: 1, ID: "old", Kind: store.Transactional, Mode: store.ModeLive, Archived: now},
		{Server: 1, ID: "closed", Kind: store.Transactional, Mode: store.ModeLive, IntakePaused: true},
		{Server: 1, ID: "waiting", Kind: store.Transactional, Mode: store.ModeLive, Paused: true},
		{Server: 1, ID: "crlf-only", Kind: store.Transactional, Mode: store.ModeLive, RefuseBareLF: true},
		{Server: 1, ID: "capture", Kind: store.Transactional, Mode: store.ModeCapture},
		{Server: 1, ID: "redirect", Kind: store.Transactional, Mode: store.ModeRedirect, RedirectTo: "qa@Test.example"},
		{Server: 1, ID: "smarthost", Kind: store.Transactional, Mode: store.ModeLive, Route: store.Route{Host: "relay.example", Port: 587}},
	} {
		changes = append(changes, store.Change{Stream: &st})
	}
	snap, err := new(store.Snapshot).With(changes...)
	if err != nil {
		t.Fatal(err)
	}
	return &spool{snap: snap}
}

func newIntake(s *spool) *intake.Intake {
	return intake.New(s, s, intake.Options{Hostname: "mx.mailchute.example", Now: func() time.Time { return now }, MaxSize: 1 << 16})
}

var serverToken = auth.Principal{Kind: auth.KindServerToken, Token: 7, Server: 1}

func envelope(p auth.Principal) intake.Envelope {
	return intake.Envelope{
		Principal: p, From: "app@verified.example", Recipients: []intake.Recipient{{Address: "a@one.example"}},
		Client: netip.MustParseAddr("192.0.2.9"), Hello: "app.local", Protocol: "ESMTPSA", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256",
	}
}

const simple = "From: App <app@verified.example>\r\nTo: a@one.example\r\nSubject: Hello\r\n" +
	"Date: Mon, 23 Nov 2026 18:00:00 +0000\r\nMessage-ID: <1@app>\r\n\r\nbody\r\n"

func TestSubmit_StoresHeaderUnderTraceAndBodyByteForByte(t *testing.T) {
	s := account(t)
	body := "line\r\n.leading dot\r\n\xff\xfe 8-bit\r\n\r\n"
	content := "Received: from x by y; Mon, 23 Nov 2026 17:00:00 +0000\r\n" + strings.TrimSuffix(simple, "body\r\n") + body
	id, err := newIntake(s).Submit(t.Context(), envelope(serverToken), strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	trace, rest, _ := strings.Cut(string(s.body), "Received: from x")
	if rest != strings.TrimPrefix(content, "Received: from x") {
		t.Errorf("stored after the trace field:\n%q\nwant\n%q", rest, content)
	}
	for _, want := range []string{"Received: from app.local", "192.0.2.9", "by mx.mailchute.example", "ESMTPSA", id.String()} {
		if !strings.Contains(trace, want) {
			t.Errorf("trace field %q lacks %q", trace, want)
		}
	}
	if !s.message.EightBit || s.message.ID != id || s.message.Credential != "server-token 7" {
		t.Errorf("message = %+v", s.message)
	}
}

func TestSubmit_RemovesControlAndBlindFieldsAndAddsMissingOnes(t *testing.T) {
	s := account(t)
	content := "X-PM-Tag: welcome\r\nBcc: secret@one.example\r\nFrom: app@verified.example\r\nx-pm-metadata-order: 42\r\n" +
		"X-PM-TrackOpens: true\r\nReturn-Path: <x@y>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nhi\r\n"
	if _, err := newIntake(s).Submit(t.Context(), envelope(serverToken), strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	stored := string(s.body)
	for _, gone := range []string{"X-PM", "x-pm", "Bcc", "secret@", "Return-Path"} {
		if strings.Contains(stored, gone) {
			t.Errorf("stored message still has %q:\n%s", gone, stored)
		}
	}
	for _, added := range []string{"\r\nDate: Mon, 23 Nov 2026 18:00:00 +0000\r\n", "\r\nMessage-ID: <"} {
		if !strings.Contains(stored, added) {
			t.Errorf("stored message lacks %q:\n%s", added, stored)
		}
	}
	if s.message.Tag != "welcome" || !cmp.Equal(s.message.Metadata, map[string]string{"order": "42"}) || s.message.TrackOpens == nil {
		t.Errorf("controls not kept: %+v", s.message)
	}
	if s.message.Header.Subject != "Grüße" {
		t.Errorf("subject = %q", s.message.Header.Subject)
	}
}

func TestSubmit_ChoosesTheStream(t *testing.T) {
	for _, tt := range []struct {
		name   string
		token  string // the SMTP token's stream
		header string
		want   string
		kind   intake.Kind
	}{
		{"server token, no header", "", "", "outbound", 0},
		{"server token, header", "", "broadcast", "broadcast", 0},
		{"server token, paused for delivery only", "", "waiting", "waiting", 0},
		{"server token, unknown", "", "nowhere", "", intake.KindStream},
		{"server token, inbound", "", "inbound", "", intake.KindStream},
		{"server token, archived", "", "old", "", intake.KindStream},
		{"server token, paused for intake", "", "closed", "", intake.KindStream},
		{"SMTP token, no header", "broadcast", "", "broadcast", 0},
		{"SMTP token, its own", "broadcast", "broadcast", "broadcast", 0},
		{"SMTP token, another", "outbound", "broadcast", "", intake.KindStream},
		{"SMTP token, stream archived since", "old", "", "", intake.KindStream},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := account(t)
			p := auth.Principal{Kind: auth.KindServerToken, Server: 1, Stream: tt.token}
			content := simple
			if tt.header != "" {
				content = "X-PM-Message-Stream: " + tt.header + "\r\n" + simple
			}
			_, err := newIntake(s).Submit(t.Context(), envelope(p), strings.NewReader(content))
			wantKind(t, err, tt.kind)
			if s.message.Stream != tt.want {
				t.Errorf("stream = %q, want %q", s.message.Stream, tt.want)
			}
		})
	}
}

func wantKind(t *testing.T, err error, want intake.Kind) {
	t.Helper()
	var r *intake.Refusal
	errors.As(err, &r)
	switch {
	case want == 0 && err != nil:
		t.Errorf("error = %v, want none", err)
	case want != 0 && (r == nil || r.Kind != want):
		t.Errorf("error = %v, want kind %d", err, want)
	}
}

func TestSubmit_RefusesAndQueuesNothing(t *testing.T) {
	from := "From: app@verified.example\r\n"
	for _, tt := range []struct {
		name    string
		content string
		want    intake.Kind
	}{
		{"bare CR", from + "\r\na\rb\r\n", intake.KindSmuggling},
		{"NUL", from + "\r\na\x00b\r\n", intake.KindSmuggling},
		{"long line", from + "\r\n" + strings.Repeat("x", 999) + "\r\n", intake.KindLineTooLong},
		{"too large", from + "\r\n" + strings.Repeat(strings.Repeat("x", 62)+"\r\n", 1<<10), intake.KindTooLarge},
		{"no colon", from + "nonsense\r\n\r\nb\r\n", intake.KindHeaderSyntax},
		{"8-bit header", from + "Subject: \xc3\xbc\r\n\r\nb\r\n", intake.KindHeaderSyntax},
		{"no From", "Subject: x\r\n\r\nb\r\n", intake.KindHeaderFields},
		{"two From", from + from + "\r\nb\r\n", intake.KindHeaderFields},
		{"From without address", "From: nobody\r\n\r\nb\r\n", intake.KindHeaderFields},
		{"group in From", "From: all: a@verified.example;\r\n\r\nb\r\n", intake.KindHeaderFields},
		{"bad control", "X-PM-TrackOpens: perhaps\r\n" + from + "\r\nb\r\n", intake.KindControl},
		{"loop", strings.Repeat("Received: by x; Mon, 23 Nov 2026 17:00:00 +0000\r\n", 101) + from + "\r\nb\r\n", intake.KindLoop},
		{"bare LF where refused", "X-PM-Message-Stream: crlf-only\r\n" + from + "\r\na\nb\r\n", intake.KindBareLF},
		{"empty", "", intake.KindHeaderFields},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := account(t)
			_, err := newIntake(s).Submit(t.Context(), envelope(serverToken), strings.NewReader(tt.content))
			wantKind(t, err, tt.want)
			if s.committed != 0 {
				t.Error("message was queued")
			}
		})
	}
}

func TestSubmit_NormalisesBareLF(t *testing.T) {
	s := account(t)
	_, err := newIntake(s).Submit(t.Context(), envelope(serverToken), strings.NewReader(strings.ReplaceAll(simple, "\r\n", "\n")))
	if err != nil || !strings.HasSuffix(string(s.body), "\r\nFrom: App <app@verified.example>\r\n"+simple[len("From: App <app@verified.example>\r\n"):]) {
		t.Errorf("stored %q, error %v", s.body, err)
	}
}

func TestSenderPolicy(t *testing.T) {
	strict := auth.Principal{Kind: auth.KindServerToken, Server: 2}
	for _, tt := range []struct {
		name, from string
		p          auth.Principal
		want       intake.Kind
	}{
		{"any sender", "x@anywhere.example", serverToken, 0},
		{"verified domain", "x@VERIFIED.example", strict, 0},
		{"domain not yet verified", "x@pending.example", strict, intake.KindSender},
		{"subdomain of a verified domain", "x@sub.verified.example", strict, intake.KindSender},
		{"verified signature", "boss@sign.example", strict, 0},
		{"another address there", "other@sign.example", strict, intake.KindSender},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := account(t)
			in := newIntake(s)
			a, err := message.ParsePath(tt.from, false)
			if err != nil {
				t.Fatal(err)
			}
			wantKind(t, in.CheckSender(tt.p, a), tt.want)
			wantKind(t, in.CheckSender(tt.p, message.Address{}), 0)
			_, err = in.Submit(t.Context(), envelope(tt.p), strings.NewReader("From: x <"+tt.from+">\r\n\r\nb\r\n"))
			wantKind(t, err, tt.want)
		})
	}
}

func TestSubmit_PlansDeliveries(t *testing.T) {
	to := []string{"a@One.example", "b@two.example", "c@one.EXAMPLE", "a@one.example", "A@one.example"}
	for _, tt := range []struct {
		server int64
		stream string
		want   []string
	}{
		{1, "outbound", []string{"one.example: a@One.example c@one.EXAMPLE A@one.example", "two.example: b@two.example"}},
		{1, "capture", []string{"capture: a@One.example b@two.example c@one.EXAMPLE A@one.example"}},
		{1, "redirect", []string{"test.example: a@One.example b@two.example c@one.EXAMPLE A@one.example"}},
		{1, "smarthost", []string{"relay.example:587: a@One.example b@two.example c@one.EXAMPLE A@one.example"}},
		{3, "outbound", []string{"capture: a@One.example b@two.example c@one.EXAMPLE A@one.example"}},
	} {
		t.Run(fmt.Sprint(tt.server, tt.stream), func(t *testing.T) {
			s := account(t)
			e := envelope(auth.Principal{Kind: auth.KindServerToken, Server: tt.server, Stream: tt.stream})
			e.Recipients = nil
			for _, r := range to {
				e.Recipients = append(e.Recipients, intake.Recipient{Address: r})
			}
			if _, err := newIntake(s).Submit(t.Context(), e, strings.NewReader(simple)); err != nil {
				t.Fatal(err)
			}
			var got []string
			for i, d := range s.deliveries {
				line := d.Destination + ":"
				for _, r := range d.Recipients {
					line += " " + r.Address
				}
				got = append(got, line)
				if d.ID.Part != i || d.Due != now || d.Expires != now.Add(5*24*time.Hour) || d.Stream != tt.stream {
					t.Errorf("delivery %d = %+v", i, d)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("deliveries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSubmit_StoreFaultsAreTemporaryAndNamed(t *testing.T) {
	broken := errors.New("disk on fire")
	for _, tt := range []struct {
		name          string
		begin, commit error
		want          intake.Kind
	}{
		{"no space at begin", fmt.Errorf("draft: %w", store.ErrFull), nil, intake.KindFull},
		{"no space at commit", nil, fmt.Errorf("commit: %w", store.ErrFull), intake.KindFull},
		{"closing", nil, store.ErrClosed, intake.KindShuttingDown},
		{"unknown", nil, store.ErrUnknown, intake.KindUnavailable},
		{"anything else", nil, broken, intake.KindUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := account(t)
			s.beginErr, s.failure = tt.begin, tt.commit
			_, err := newIntake(s).Submit(t.Context(), envelope(serverToken), strings.NewReader(simple))
			wantKind(t, err, tt.want)
		})
	}
}

func TestSubmit_ReadErrorIsTheFrontEndsOwn(t *testing.T) {
	s := account(t)
	gone := errors.New("connection reset")
	content := io.MultiReader(strings.NewReader(simple+"more"), &failing{gone})
	_, err := newIntake(s).Submit(t.Context(), envelope(serverToken), content)
	var r *intake.Refusal
	if !errors.Is(err, gone) || errors.As(err, &r) {
		t.Errorf("error = %v, want the reader's own and no refusal", err)
	}
	if s.committed != 0 || s.discarded != 1 {
		t.Errorf("committed %d, discarded %d drafts; want 0 and 1", s.committed, s.discarded)
	}
}

func TestSubmit_FaultAtTheEndOfContentIsARefusal(t *testing.T) {
	s := account(t)
	content := io.MultiReader(strings.NewReader(simple), &failing{message.ErrLoneDot})
	_, err := newIntake(s).Submit(t.Context(), envelope(serverToken), content)
	wantKind(t, err, intake.KindSmuggling)
	if s.committed != 0 {
		t.Error("message was queued")
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

// What is for tests is apart from what leaves, and is captured with the rest.
func TestSubmit_PlansTestAddressesApart(t *testing.T) {
	for stream, want := range map[string]string{
		"smarthost": "relay.example:587 2, bounce-testing.postmarkapp.com 1, blackhole.postmarkapp.com 1", "redirect": "test.example 2, bounce-testing.postmarkapp.com 1, blackhole.postmarkapp.com 1",
		"outbound": "one.example 1, bounce-testing.postmarkapp.com 1, two.example 1, blackhole.postmarkapp.com 1", "capture": "capture 4",
	} {
		s := account(t)
		e := envelope(auth.Principal{Kind: auth.KindServerToken, Server: 1, Stream: stream})
		e.Recipients = []intake.Recipient{{Address: "a@one.example"}, {Address: "HardBounce@Bounce-Testing.postmarkapp.com"}, {Address: "b@two.example"}, {Address: "x@blackhole.postmarkapp.com"}}
		if _, err := newIntake(s).Submit(t.Context(), e, strings.NewReader(simple)); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range s.deliveries {
			got = append(got, fmt.Sprintf("%s %d", d.Destination, len(d.Recipients)))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: %q, want %q", stream, got, want)
		}
	}
}
