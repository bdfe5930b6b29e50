package api_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mailchute/mailchute/api"
	"github.com/mailchute/mailchute/store"
)

func TestEmail_IsStoredAsAsked(t *testing.T) {
	r := newRig(t, rigOptions{})
	a := r.as("POST", "/email", `{
		"From": "\"Shop, The\" <shop@x.example>", "To": "\"Doe, Jane\" <jane@y.example>, joe@z.example", "Cc": "Grüße <cc@y.example>", "Bcc": "secret@w.example",
		"ReplyTo": "reply@x.example", "Subject": "Grüße", "Tag": "welcome", "HtmlBody": "<img src=\"cid:logo\">", "TextBody": "hello",
		"Headers": [{"Name": "X-Own", "Value": "mine"}, {"Name": "Message-ID", "Value": "<own@x.example>"}],
		"TrackOpens": true, "TrackLinks": "htmlonly", "Metadata": {"order id": "7 ", "ü": "b"}, "MessageStream": "broadcast",
		"Attachments": [{"Name": "logo.png", "Content": "cG5n\r\n", "ContentType": "image/png", "ContentID": "cid:logo"},
			{"Name": "a.txt", "Content": "dHh0", "ContentType": "text/plain", "ContentID": null, "ContentLength": 3}]}`)
	if a.status != 200 || a.code() != 0 || a.text("Message") != "OK" || a.text("To") != `"Doe, Jane" <jane@y.example>, joe@z.example` {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	if _, err := time.Parse("2006-01-02T15:04:05.0000000Z", a.text("SubmittedAt")); err != nil {
		t.Error(err)
	}
	rec := r.record(a.text("MessageID"))
	m := rec.Message
	yes := true
	want := store.Message{
		ID: m.ID, Server: 1, Stream: "broadcast", Accepted: m.Accepted, From: "shop@x.example", Size: m.Size, BodyHash: m.BodyHash,
		Header: store.Display{Subject: "Grüße", From: `"Shop, The" <shop@x.example>`, To: []string{"jane@y.example", "joe@z.example"}, Cc: []string{"cc@y.example"}, MessageID: "<own@x.example>", Names: []string{"Doe, Jane", "", "Grüße"}, Attachments: []string{"logo.png", "a.txt"}},
		Tag:    "welcome", Metadata: map[string]string{"order id": "7 ", "ü": "b"}, TrackOpens: &yes, TrackLinks: "HtmlOnly",
		Credential: m.Credential, Client: m.Client, Protocol: "HTTP",
	}
	if diff := cmp.Diff(want, m, cmp.Comparer(func(a, b interface{ String() string }) bool { return a.String() == b.String() })); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	var to []string
	for _, d := range rec.Deliveries {
		for _, x := range d.Recipients {
			to = append(to, x.Address)
		}
	}
	if diff := cmp.Diff([]string{"jane@y.example", "cc@y.example", "joe@z.example", "secret@w.example"}, to); diff != "" {
		t.Errorf("envelope (-want +got):\n%s", diff)
	}
	raw := r.octets(m.ID.String())
	if strings.Contains(raw, "secret@w.example") || strings.Contains(strings.ToLower(raw), "x-pm-") || !strings.Contains(raw, "X-Own: mine\r\n") {
		t.Errorf("stored:\n%s", raw)
	}
	if !strings.Contains(strings.Join(strings.Fields(raw), " "), " with HTTP id ") {
		t.Errorf("no trace of HTTP:\n%s", raw)
	}
}

func TestEmail_Refusals(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.stream("broadcast", func(s *store.Stream) { s.IntakePaused = true })
	old := store.Stream{Server: 1, ID: "old", Kind: store.Transactional, Mode: store.ModeLive, Archived: time.Now()}
	r.change(store.Change{Stream: &old})
	file := func(name, content, kind, id string) string {
		return fmt.Sprintf(`"Attachments":[{"Name":%q,"Content":%q,"ContentType":%q,"ContentID":%q}]`, name, content, kind, id)
	}
	for _, tt := range []struct {
		name, replace, with string
		code                int
		words               string
	}{
		{"no From", `"From":"a@x.example",`, ``, 300, "Invalid 'From' address: ''."},
		{"two From", `a@x.example`, `a@x.example, c@x.example`, 300, "'From'"},
		{"From too long", `a@x.example`, strings.Repeat("n", 250) + ` <a@x.example>`, 300, "'From'"},
		{"no recipient", `"To":"b@y.example",`, ``, 300, "Zero recipients specified"},
		{"bad To", `b@y.example`, `b@@y.example`, 300, "Invalid 'To' address: 'b@@y.example'."},
		{"To without a domain", `b@y.example`, `b@y`, 300, "'To'"},
		{"private literal", `b@y.example`, `b@[127.0.0.1]`, 300, "'To'"},
		{"bad Cc", `"To"`, `"Cc":"x","To"`, 300, "'Cc'"},
		{"bad Bcc", `"To"`, `"Bcc":"x","To"`, 300, "'Bcc'"},
		{"bad ReplyTo", `"To"`, `"ReplyTo":"x","To"`, 300, "'ReplyTo'"},
		{"line break in To", `b@y.example`, `b@y.example\r\nBcc: c@y.example`, 300, "'To'"},
		{"51 recipients", `b@y.example`, strings.TrimSuffix(strings.Repeat("b@y.example,", 51), ","), 300, "50"},
		{"no body", `"TextBody":"t"`, `"TextBody":""`, 300, "Provide either email TextBody or HtmlBody or both."},
		{"line break in Subject", `"s"`, `"s\r\nBcc: x@y.example"`, 300, "Subject"},
		{"long Subject", `"s"`, `"` + strings.Repeat("s", 2001) + `"`, 300, "Subject"},
		{"long Tag", `"To"`, `"Tag":"` + strings.Repeat("s", 1001) + `","To"`, 300, "Tag"},
		{"TrackLinks", `"To"`, `"TrackLinks":"Some","To"`, 300, "TrackLinks"},
		{"header name", `"To"`, `"Headers":[{"Name":"A B","Value":"x"}],"To"`, 300, "header"},
		{"header value", `"To"`, `"Headers":[{"Name":"A","Value":"x\nB: c"}],"To"`, 300, "'A'"},
		{"header of ours", `"To"`, `"Headers":[{"Name":"Bcc","Value":"x"}],"To"`, 300, "'Bcc'"},
		{"Reply-To twice", `"To"`, `"ReplyTo":"a@x.example","Headers":[{"Name":"reply-to","Value":"x"}],"To"`, 300, "'Reply-To'"},
		{"metadata key", `"To"`, `"Metadata":{"123456789012345678901":"x"},"To"`, 300, "Metadata"},
		{"metadata value", `"To"`, `"Metadata":{"a":"` + strings.Repeat("s", 81) + `"},"To"`, 300, "Metadata"},
		{"metadata twice", `"To"`, `"Metadata":{"a":"x","A":"y"},"To"`, 300, "twice"},
		{"metadata entries", `"To"`, `"Metadata":{"a":"","b":"","c":"","d":"","e":"","f":"","g":"","h":"","i":"","j":"","k":""},"To"`, 300, "10"},
		{"base64", `"To"`, file("a", "%%", "text/plain", "") + `,"To"`, 300, "base64"},
		{"file name", `"To"`, file("../a", "", "text/plain", "") + `,"To"`, 300, "Name"},
		{"file type", `"To"`, file("a", "", "plain text", "") + `,"To"`, 300, "ContentType"},
		{"content id", `"To"`, file("a", "", "text/plain", "a b") + `,"To"`, 300, "ContentID"},
		{"program", `"To"`, file("a.EXE", "", "text/plain", "") + `,"To"`, 411, "'exe'"},
		{"program with a dot", `"To"`, file("a.exe. ", "", "text/plain", "") + `,"To"`, 411, "'exe'"},
		{"unknown stream", `"To"`, `"MessageStream":"none","To"`, 1235, "The stream provided: 'none' does not exist on this server."},
		{"unknown stream in header", `"To"`, `"Headers":[{"Name":"x-pm-message-stream","Value":"none"}],"To"`, 1235, "'none'"},
		{"two streams", `"To"`, `"MessageStream":"none","Headers":[{"Name":"x-pm-message-stream","Value":"outbound"}],"To"`, 300, "streams"},
		{"inbound", `"To"`, `"MessageStream":"inbound","To"`, 1236, "sending"},
		{"archived", `"To"`, `"MessageStream":"old","To"`, 1236, "archived"},
		{"paused", `"To"`, `"MessageStream":"broadcast","To"`, 1236, "at present"},
		{"control header", `"To"`, `"Headers":[{"Name":"X-PM-TrackOpens","Value":"perhaps"}],"To"`, 300, "true or false"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := strings.Replace(simple, tt.replace, tt.with, 1)
			if body == simple {
				t.Fatal("nothing replaced")
			}
			wantError(t, r.as("POST", "/email", body), 422, tt.code, tt.words)
		})
	}
	if all, _, err := r.store.List(t.Context(), store.Filter{}, "", 1); err != nil || len(all) > 0 {
		t.Errorf("something was stored: %v %v", all, err)
	}
}

func TestEmail_UnverifiedSenderIs400(t *testing.T) {
	r := newRig(t, rigOptions{})
	s := r.store.Snapshot().Servers[1]
	s.VerifiedOnly = true
	r.change(store.Change{Server: &s})
	wantError(t, r.as("POST", "/email", simple), 422, 400, "The 'From' address you supplied (a@x.example) is not a Sender Signature on your account.")
}

func TestEmail_TrialTokenSendsNothing(t *testing.T) {
	r := newRig(t, rigOptions{})
	a := r.do("POST", "/email", simple, "X-Postmark-Server-Token", "POSTMARK_API_TEST")
	if a.status != 200 || a.text("Message") != "Test job accepted" || len(a.text("MessageID")) != 36 || a.text("To") != "b@y.example" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	wantError(t, r.do("POST", "/email", `{"From":"a@x.example"}`, "X-Postmark-Server-Token", "POSTMARK_API_TEST"), 422, 300)
	if all, _, err := r.store.List(t.Context(), store.Filter{}, "", 1); err != nil || len(all) > 0 {
		t.Errorf("something was stored: %v %v", all, err)
	}
}

func TestBatch_EachItemHasItsOwnResult(t *testing.T) {
	r := newRig(t, rigOptions{})
	a := r.as("POST", "/email/batch", "["+simple+`,{"To":"c@y.example"},7,`+strings.Replace(simple, "b@y", "d@y", 1)+"]")
	var items []map[string]any
	if err := json.Unmarshal([]byte(a.raw), &items); err != nil || a.status != 200 || len(items) != 4 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	for i, want := range []struct {
		code float64
		to   string
	}{{0, "b@y.example"}, {300, "c@y.example"}, {403, ""}, {0, "d@y.example"}} {
		if items[i]["ErrorCode"] != want.code || items[i]["To"] != want.to {
			t.Errorf("item %d = %v, want %v", i, items[i], want)
		}
		id, stored := fmt.Sprint(items[i]["MessageID"]), want.code == 0
		if stored != (id != "00000000-0000-0000-0000-000000000000") || stored && r.record(id).Deliveries[0].Recipients[0].Address != want.to {
			t.Errorf("item %d has id %s", i, id)
		}
	}
}

func TestBatch_Limits(t *testing.T) {
	r := newRig(t, rigOptions{})
	wantError(t, r.as("POST", "/email/batch", "["+strings.TrimSuffix(strings.Repeat("{},", 501), ",")+"]"), 422, 410, "500")
	wantError(t, r.as("POST", "/email/batch", simple), 422, 403)
	if a := r.as("POST", "/email/batch", "[]"); a.status != 200 || strings.TrimSpace(a.raw) != "[]" {
		t.Errorf("empty batch: %d %s", a.status, a.raw)
	}
}

// Any request that is accepted gives a message that says the same, to the
// recipients that it names. The generator makes bad ones too.
func TestEmail_AcceptedMeansTheSameMessage(t *testing.T) {
	r := newRig(t, rigOptions{api: api.Options{Rate: 10_000_000}})
	accepted, all := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		req := requests().Draw(rt, "request")
		body, err := json.Marshal(req)
		if err != nil {
			rt.Fatal(err)
		}
		all++
		a := r.as("POST", "/email", string(body))
		if a.status != 200 {
			if a.code() != 300 {
				rt.Fatalf("%s\n%d %s", body, a.status, a.raw)
			}
			return
		}
		accepted++
		id := a.text("MessageID")
		if err := api.SameMessage(body, []byte(r.octets(id))); err != nil {
			rt.Fatalf("%s\n%v in\n%s", body, err, r.octets(id))
		}
		if diff := cmp.Diff(recipients(req), envelope(r.record(id))); diff != "" {
			rt.Fatalf("recipients (-want +got):\n%s", diff)
		}
	})
	if accepted < all/3 {
		t.Errorf("%d of %d requests were accepted: the test tests little", accepted, all)
	}
}

func requests() *rapid.Generator[map[string]any] {
	text := rapid.StringOfN(rapid.RuneFrom([]rune("ab ,\"=?_<>@\\()ü語😀\n.\r")), 0, 300, -1)
	line := rapid.Map(text, strings.NewReplacer("\n", "", "\r", "").Replace)
	name := rapid.SampledFrom([]string{"", "Jane", `"Doe, Jane"`, "Grüße 😀", `"a \"b\" c"`, `"=?utf-8?q?x?="`, "=?utf-8?b?w7w=?=", "(comment)", strings.Repeat("long ", 30)})
	address := rapid.SampledFrom([]string{"a@x.example", `"odd local"@x.example`, "u@bücher.example", "A.B+c@X.example", "a@[192.0.2.1]", "ü@x.example", `"a@b"@x.example`, "b@y.example"})
	person := rapid.Custom(func(t *rapid.T) string {
		return strings.TrimSpace(name.Draw(t, "name") + " <" + address.Draw(t, "address") + ">")
	})
	list := func(least, most int) *rapid.Generator[string] {
		return rapid.Map(rapid.SliceOfN(person, least, most), func(l []string) string { return strings.Join(l, ", ") })
	}
	file := rapid.Custom(func(t *rapid.T) map[string]any {
		return map[string]any{
			"Name":        rapid.SampledFrom([]string{"ü b.png", "a.txt", `q"uote.pdf`, "two  spaces", "semi;colon=.csv", "100%.txt"}).Draw(t, "file name"),
			"ContentType": rapid.SampledFrom([]any{nil, "", "image/png", "text/plain; charset=iso-8859-1", "message/rfc822", "multipart/mixed; boundary=x"}).Draw(t, "type"),
			"ContentID":   rapid.SampledFrom([]any{nil, "", "cid:logo", "logo@x"}).Draw(t, "id"),
			"Content":     base64.StdEncoding.EncodeToString(rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "file")) + rapid.SampledFrom([]string{"", "\n", " \r\n"}).Draw(t, "blanks"),
		}
	})
	field := rapid.Custom(func(t *rapid.T) map[string]string {
		return map[string]string{"Name": rapid.SampledFrom([]string{"X-Own", "References", "x-odd-CASE", "Message-ID", "Reply-To"}).Draw(t, "field"),
			"Value": rapid.SampledFrom([]string{"<own@x.example>", "<a@b.example>", "<other@x.example>"}).Draw(t, "value")}
	})
	return rapid.Custom(func(t *rapid.T) map[string]any {
		return map[string]any{
			"From": person.Draw(t, "from"), "To": list(1, 4).Draw(t, "to"), "Cc": list(0, 2).Draw(t, "cc"), "Bcc": list(0, 2).Draw(t, "bcc"), "ReplyTo": list(0, 2).Draw(t, "reply-to"),
			"Subject": line.Draw(t, "subject"), "TextBody": text.Draw(t, "text"), "HtmlBody": text.Draw(t, "html"),
			"Headers": rapid.SliceOfNDistinct(field, 0, 3, func(f map[string]string) string { return f["Name"] }).Draw(t, "headers"),
			"Tag":     rapid.SampledFrom([]string{"", "tag", "ü"}).Draw(t, "tag"), "Attachments": rapid.SliceOfN(file, 0, 3).Draw(t, "files"),
		}
	})
}

// recipients are those that a request names, each once.
func recipients(req map[string]any) (out []string) {
	for _, field := range []string{"To", "Cc", "Bcc"} {
		list, _ := mail.ParseAddressList(req[field].(string))
		for _, a := range list {
			out = append(out, strings.ToLower(strings.ReplaceAll(a.Address, "bücher", "xn--bcher-kva")))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func envelope(r store.Record) (out []string) {
	for _, d := range r.Deliveries {
		for _, to := range d.Recipients {
			a, err := mail.ParseAddress(to.Address)
			if err != nil {
				a = &mail.Address{Address: to.Address}
			}
			out = append(out, strings.ToLower(a.Address))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
