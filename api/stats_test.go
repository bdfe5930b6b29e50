package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

// outcome gives the one delivery of a message its end.
func (r *rig) outcome(id string, now time.Time, state store.State, kind store.EventKind, bounce string) {
	r.t.Helper()
	parsed, err := store.ParseID(id)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := r.store.Claim(context.Background(), store.DeliveryID{Message: parsed}, 0, time.Now().Add(time.Minute), time.Now().Add(time.Hour))
	if err != nil {
		r.t.Fatal(err)
	}
	d := c.Delivery
	d.Recipients[0].State, d.Recipients[0].Last = state, store.Reply{Text: "so it is", At: now}
	err = r.store.Resolve(context.Background(), store.Resolution{Delivery: d, Events: []store.Event{
		{At: now, Kind: kind, Recipient: d.Recipients[0].Address, Bounce: bounce},
	}})
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestStats(t *testing.T) {
	r := newRig(t, rigOptions{})
	send := func(extra string) string {
		return wantOK(t, r.as("POST", "/email", strings.Replace(simple, `"To"`, extra+`"To"`, 1))).text("MessageID")
	}
	first := time.Date(2026, 3, 4, 23, 59, 59, 0, time.UTC)
	second := first.Add(time.Second)
	r.outcome(send(`"Tag":"a",`), first, store.Sent, store.EventSent, "")
	r.outcome(send(`"MessageStream":"broadcast",`), second, store.Sent, store.EventSent, "")
	r.outcome(send(`"Tag":"a",`), second, store.Bounced, store.EventBounced, "HardBounce")
	r.outcome(send(""), second, store.Expired, store.EventExpired, "DnsError")
	complained := send("")
	r.outcome(complained, first, store.Sent, store.EventSent, "")
	id, _ := store.ParseID(complained)
	err := r.store.Return(t.Context(), store.Return{Message: id, Was: store.Sent, State: store.Sent,
		Events: []store.Event{{At: second, Kind: store.EventComplaint, Bounce: "SpamComplaint"}}})
	if err != nil {
		t.Fatal(err)
	}
	send("") // waits, and counts nowhere

	for path, want := range map[string]string{
		"/sends":                     `{"Days":[{"Date":"2026-03-04","Sent":2},{"Date":"2026-03-05","Sent":3}],"Sent":5}`,
		"/sends?tag=a":               `{"Days":[{"Date":"2026-03-04","Sent":1},{"Date":"2026-03-05","Sent":1}],"Sent":2}`,
		"/sends?tag=A":               `{"Days":[],"Sent":0}`,
		"/sends?messageStream=other": `{"Days":[],"Sent":0}`,
		"/sends?messagestream=broadcast&fromdate=2026-3-5&todate=2026-3-5": `{"Days":[{"Date":"2026-03-05","Sent":1}],"Sent":1}`,
		"/sends?todate=2026-03-04":            `{"Days":[{"Date":"2026-03-04","Sent":2}],"Sent":2}`,
		"/sends?fromdate=2026-03-04T23:59:59": `{"Days":[{"Date":"2026-03-04","Sent":2},{"Date":"2026-03-05","Sent":3}],"Sent":5}`,
		"/bounces":                            `{"Days":[{"Date":"2026-03-05","HardBounce":1,"SMTPApiError":0,"SoftBounce":1,"Transient":0}],"HardBounce":1,"SMTPApiError":0,"SoftBounce":1,"Transient":0}`,
		"/bounces?tag=a":                      `{"Days":[{"Date":"2026-03-05","HardBounce":1,"SMTPApiError":0,"SoftBounce":0,"Transient":0}],"HardBounce":1,"SMTPApiError":0,"SoftBounce":0,"Transient":0}`,
		"/spam/":                              `{"Days":[{"Date":"2026-03-05","SpamComplaint":1}],"SpamComplaint":1}`,
		"/tracked":                            `{"Days":[],"Tracked":0}`,
		"/opens":                              `{"Days":[],"Opens":0,"Unique":0}`,
		"/opens/platforms":                    `{"Days":[],"Desktop":0,"Mobile":0,"Unknown":0,"WebMail":0}`,
		"/Opens/EmailClients":                 `{"Days":[]}`,
		"/opens/readTimes":                    `{"Days":[]}`,
		"/clicks":                             `{"Clicks":0,"Days":[],"Unique":0}`,
		"/clicks/browserfamilies":             `{"Days":[]}`,
		"/clicks/platforms":                   `{"Days":[],"Desktop":0,"Mobile":0,"Unknown":0}`,
		"/clicks/location":                    `{"Days":[],"HTML":0,"Text":0}`,
	} {
		if a := wantOK(t, r.as("GET", "/stats/outbound"+path, "")); strings.TrimSpace(a.raw) != want {
			t.Errorf("%s = %s, want %s", path, a.raw, want)
		}
	}
	a := wantOK(t, r.as("GET", "/stats/outbound?fromdate=2026-03-04", ""))
	got := fmt.Sprint(a.text("Sent"), a.text("Bounced"), a.text("BounceRate"), a.text("SpamComplaints"), a.text("SpamComplaintsRate"), a.text("SMTPApiErrors"), a.text("Opens"))
	if want := fmt.Sprint("5", "2", "40", "1", "20", "0", "0"); got != want {
		t.Errorf("overview %s", a.raw)
	}
	if a := wantOK(t, r.as("GET", "/stats/outbound?tag=none", "")); a.text("BounceRate") != "0" {
		t.Errorf("overview of nothing %s", a.raw)
	}
	wantError(t, r.as("GET", "/stats/outbound?fromdate=yesterday", ""), 422, 900)
	wantError(t, r.as("GET", "/stats/outbound/sends?fromdate=2026-03-05&todate=2026-03-04", ""), 422, 1502)
	wantOK(t, r.as("GET", "/messages/outbound/opens?count=1&offset=0", ""))
	wantOK(t, r.as("GET", "/messages/outbound/clicks?count=1&offset=0", ""))
	wantError(t, r.as("GET", "/messages/outbound/clicks", ""), 422, 700)
}
