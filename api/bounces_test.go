package api_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

// refused sends a message and has it refused at its first attempt, with the
// notice that the sender gets. It returns the message's ID.
func (r *rig) refused(to, kind, extra string, at time.Time) store.ID {
	r.t.Helper()
	body := fmt.Sprintf(`{"From":"Shop <a@x.example>","To":%q,"Subject":"order","TextBody":"t"%s}`, to, extra)
	id, err := store.ParseID(wantOK(r.t, r.as("POST", "/email", body)).text("MessageID"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.refuse(id, to, kind, at)
	return id
}

// refuse has a message refused at its first attempt.
func (r *rig) refuse(id store.ID, to, kind string, at time.Time) {
	r.t.Helper()
	now := time.Now()
	claimed, err := r.store.Claim(r.t.Context(), store.DeliveryID{Message: id}, 0, now, now.Add(time.Minute))
	if err != nil {
		r.t.Fatal(err)
	}
	d := claimed.Delivery
	d.Recipients[0].State = store.Bounced
	notice := store.Submission{
		Body:       []byte("Subject: Undelivered\r\n\r\nnot delivered\r\n"),
		Message:    store.Message{ID: store.NewID(), Server: 1, Stream: "outbound", Accepted: now, Bounce: true, About: id},
		Deliveries: []store.Delivery{{Destination: "x.example", Due: now, Expires: now, Recipients: []store.Recipient{{Address: "a@x.example", State: store.Queued}}}},
	}
	err = r.store.Resolve(r.t.Context(), store.Resolution{Delivery: d, Notices: []store.Submission{notice}, Events: []store.Event{
		{At: at, Kind: store.EventBounced, Attempt: 1, Recipient: to, Bounce: kind, Reply: store.Reply{Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "no such user", Host: "mx.y.example"}},
		{At: at, Kind: store.EventNotice, Attempt: 1, Notice: notice.Message.ID, Detail: "notice (failed) to the sender for 1 recipients"},
	}})
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestBounces_GetDumpActivate(t *testing.T) {
	r := newRig(t, rigOptions{})
	at := time.Date(2026, 11, 22, 10, 11, 12, 0, time.UTC)
	message := r.refused("Gone@y.example", "HardBounce", `,"Tag":"welcome"`, at)
	r.suppress("outbound", "gone@y.example", store.SuppressedHardBounce, store.OriginRecipient, at)
	l := wantOK(t, r.as("GET", "/bounces/?count=10&offset=0", ""))
	if l.text("TotalCount") != "1" || len(l.list("Bounces")) != 1 {
		t.Fatalf("list %s", l.raw)
	}
	listed := l.list("Bounces")[0]
	for key, want := range map[string]any{
		"RecordType": "Bounce", "Type": "HardBounce", "TypeCode": 1.0, "Name": "Hard bounce", "Tag": "welcome", "MessageID": message.String(), "ServerID": 1.0,
		"MessageStream": "outbound", "Description": "The server was unable to deliver your message (ex: unknown user, mailbox not found).",
		"Details": "smtp;550 5.1.1 no such user", "Email": "Gone@y.example", "From": "a@x.example", "BouncedAt": "2026-11-22T10:11:12.0000000Z",
		"DumpAvailable": true, "Inactive": true, "CanActivate": true, "Subject": "order", "Content": nil,
	} {
		if listed[key] != want {
			t.Errorf("%s is %v, want %v", key, listed[key], want)
		}
	}
	id := strconv.FormatInt(int64(listed["ID"].(float64)), 10)
	b := wantOK(t, r.as("GET", "/bounces/"+id, ""))
	if b.text("MessageID") != message.String() || b.text("Content") != "Subject: Undelivered\r\n\r\nnot delivered\r\n" {
		t.Errorf("bounce %s", b.raw)
	}
	if d := wantOK(t, r.as("GET", "/bounces/"+id+"/dump", "")); d.text("Body") != b.text("Content") {
		t.Errorf("dump %s", d.raw)
	}
	details := wantOK(t, r.as("GET", "/messages/outbound/"+message.String()+"/details", ""))
	if e := details.list("MessageEvents"); len(e) != 1 || e[0]["Type"] != "Bounced" || e[0]["Details"].(map[string]any)["BounceID"] != id {
		t.Errorf("events %s, want the bounce %s", details.raw, id)
	}
	wantError(t, r.as("POST", "/email", strings.Replace(simple, "b@y.example", "gone@y.example", 1)), 422, 406)
	for range 2 { // once more is no error
		a := wantOK(t, r.as("PUT", "/bounces/"+id+"/activate", "{}"))
		if one := a.body["Bounce"].(map[string]any); a.text("Message") != "OK" || one["Inactive"] != false || one["CanActivate"] != false || one["Email"] != "Gone@y.example" {
			t.Errorf("activated %s", a.raw)
		}
	}
	wantOK(t, r.as("POST", "/email", strings.Replace(simple, "b@y.example", "gone@y.example", 1)))
	if d := wantOK(t, r.as("GET", suppressionPath+"/dump", "")); len(d.list("Suppressions")) != 0 {
		t.Errorf("still suppressed: %s", d.raw)
	}
}

func TestBounces_WhatCannotBeActivated(t *testing.T) {
	r := newRig(t, rigOptions{})
	now := time.Now()
	r.refused("full@y.example", "SoftBounce", "", now)
	r.refused("angry@y.example", "HardBounce", "", now.Add(1))
	r.suppress("outbound", "angry@y.example", store.SuppressedSpamComplaint, store.OriginRecipient, now)
	for _, b := range wantOK(t, r.as("GET", "/bounces?count=10&offset=0", "")).list("Bounces") {
		inactive := b["Email"] == "angry@y.example"
		if b["Inactive"] != inactive || b["CanActivate"] != false {
			t.Errorf("%v: Inactive %v, CanActivate %v", b["Email"], b["Inactive"], b["CanActivate"])
		}
		wantError(t, r.as("PUT", fmt.Sprintf("/bounces/%.0f/activate", b["ID"]), ""), 422, 1003)
	}
	wantError(t, r.as("POST", "/email", strings.Replace(simple, "b@y.example", "angry@y.example", 1)), 422, 406)
}

func TestBounces_Filters(t *testing.T) {
	r := newRig(t, rigOptions{})
	day := func(n int) time.Time { return time.Date(2026, 11, n, 12, 0, 0, 0, time.UTC) }
	a := r.refused("a@y.example", "HardBounce", "", day(1))
	r.refused("b@y.example", "SoftBounce", `,"Tag":"t"`, day(2))
	r.refused("c@z.example", "HardBounce", "", day(3))
	r.refused("d@y.example", "HardBounce", `,"MessageStream":"broadcast"`, day(4))
	r.suppress("outbound", "a@y.example", store.SuppressedHardBounce, store.OriginRecipient, day(1))
	r.suppress("outbound", "b@y.example", store.SuppressedManually, store.OriginCustomer, day(1)) // not because of the bounce
	for query, want := range map[string]string{
		"": "c@z.example b@y.example a@y.example", "type=hardbounce": "c@z.example a@y.example", "type=4096": "b@y.example", "Type=Transient": "",
		"inactive=true": "a@y.example", "inactive=False": "c@z.example b@y.example", "emailFilter=Y.Exam": "b@y.example a@y.example", "EmailFilter=": "c@z.example b@y.example a@y.example",
		"tag=t": "b@y.example", "tag=T": "", "messageID=" + a.String(): "a@y.example", "messageid=" + strings.ToUpper(a.String()): "a@y.example",
		"messageID=" + store.NewID().String(): "", "fromdate=2026-11-02": "c@z.example b@y.example", "todate=2026-11-02": "b@y.example a@y.example",
		"fromdate=2026-11-2&todate=2026-11-2&type=SoftBounce": "b@y.example", "messagestream=broadcast": "d@y.example", "MessageStream=none": "",
	} {
		l := wantOK(t, r.as("GET", "/bounces?count=10&offset=0&"+query, ""))
		var got []string
		for _, b := range l.list("Bounces") {
			got = append(got, fmt.Sprint(b["Email"]))
		}
		if strings.Join(got, " ") != want || l.text("TotalCount") != fmt.Sprint(len(got)) {
			t.Errorf("bounces of %q: %v of %s, want %s", query, got, l.text("TotalCount"), want)
		}
	}
	if l := wantOK(t, r.as("GET", "/bounces?count=1&offset=1", "")); l.text("TotalCount") != "3" || len(l.list("Bounces")) != 1 || l.list("Bounces")[0]["Email"] != "b@y.example" {
		t.Errorf("second page: %s", l.raw)
	}
	s := wantOK(t, r.as("GET", "/deliveryStats/", ""))
	var got []string
	for _, b := range s.list("Bounces") {
		got = append(got, fmt.Sprint(b["Name"], b["Type"], b["TypeCode"], b["Count"]))
	}
	if fmt.Sprint(got) != "[AllAll0 4 Hard bounceHardBounce1 3 Soft bounceSoftBounce4096 1]" || s.text("InactiveMails") != "2" {
		t.Errorf("stats %s", s.raw)
	}
}

func TestBounces_Refusals(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.refused("a@y.example", "HardBounce", "", time.Now())
	id := fmt.Sprintf("%.0f", wantOK(t, r.as("GET", "/bounces?count=1&offset=0", "")).list("Bounces")[0]["ID"])
	for _, query := range []string{"", "?count=-1&offset=0", "?count=1", "?count=1&offset=10000", "?count=501&offset=0", "?count=1&offset=9223372036854775807", "?count=1&offset=0&type=x",
		"?count=1&offset=0&inactive=x", "?count=1&offset=0&messageID=x", "?count=1&offset=0&fromdate=x", "?count=1&offset=0&todate=x"} {
		wantError(t, r.as("GET", "/bounces"+query, ""), 422, 1000)
	}
	other := fmt.Sprint(wantOK(t, r.asAccount("POST", "/servers", `{"Name":"Other"}`)).body["ApiTokens"].([]any)[0])
	for _, what := range []string{"GET ", "GET /dump", "PUT /activate"} {
		method, path, _ := strings.Cut(what, " ")
		wantError(t, r.as(method, "/bounces/1"+path, ""), 422, 1001, "not found")
		wantError(t, r.as(method, "/bounces/-5"+path, ""), 422, 1001)
		wantError(t, r.as(method, "/bounces/x"+path, ""), http.StatusBadRequest, 1002)
		wantError(t, r.as(method, "/bounces/99999999999999999999"+path, ""), http.StatusBadRequest, 1002)
		wantError(t, r.do(method, "/bounces/"+id+path, "", "X-Postmark-Server-Token", other), 422, 1001)
		wantError(t, r.asAccount(method, "/bounces/"+id+path, ""), 401, 10, "Server token")
	}
	for _, path := range []string{"/bounces?count=1&offset=0", "/deliverystats"} {
		wantError(t, r.asAccount("GET", path, ""), 401, 10, "Server token")
	}
	if l := wantOK(t, r.do("GET", "/bounces?count=5&offset=0", "", "X-Postmark-Server-Token", other)); l.text("TotalCount") != "0" {
		t.Errorf("another server's bounces: %s", l.raw)
	}
}
