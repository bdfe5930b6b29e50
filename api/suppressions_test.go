package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

const suppressionPath = "/message-streams/outbound/suppressions"

// suppress puts an address on a list of server 1.
func (r *rig) suppress(stream, address string, reason store.SuppressionReason, origin store.SuppressionOrigin, at time.Time) {
	r.t.Helper()
	if _, err := r.store.Suppress(r.t.Context(), store.Suppression{
		Server: 1, Stream: stream, Address: address, Reason: reason, Origin: origin, Created: at,
	}); err != nil {
		r.t.Fatal(err)
	}
}

// addresses is the body of a request.
func addresses(list ...string) string {
	type one struct{ EmailAddress string }
	all := []one{}
	for _, a := range list {
		all = append(all, one{a})
	}
	b, _ := json.Marshal(map[string]any{"Suppressions": all})
	return string(b)
}

// statuses returns address, status and message of each entry of an answer.
func statuses(a answer) string {
	var out []string
	for _, s := range a.list("Suppressions") {
		out = append(out, fmt.Sprint(s["EmailAddress"], " ", s["Status"], " ", s["Message"]))
	}
	return strings.Join(out, "\n")
}

func TestSuppressions_CreateDumpDelete(t *testing.T) {
	r := newRig(t, rigOptions{})
	a := wantOK(t, r.as("POST", suppressionPath, addresses("Off@Y.Example", "no address", "off@y.example", `"quoted one"@y.example`)))
	if got, want := statuses(a), "Off@Y.Example Suppressed <nil>\nno address Failed An invalid email address was provided.\n"+
		"off@y.example Suppressed <nil>\n\"quoted one\"@y.example Suppressed <nil>"; got != want {
		t.Errorf("created\n%s\nwant\n%s", got, want)
	}
	d := wantOK(t, r.as("GET", suppressionPath+"/dump/?count=30&offset=0", ""))
	list := d.list("Suppressions")
	if len(list) != 2 || list[1]["EmailAddress"] != "off@y.example" || list[1]["SuppressionReason"] != "ManualSuppression" || list[1]["Origin"] != "Customer" {
		t.Errorf("dump %s", d.raw)
	}
	if _, err := time.Parse(time.RFC3339, fmt.Sprint(list[1]["CreatedAt"])); err != nil {
		t.Errorf("CreatedAt: %v", err)
	}
	if d := wantOK(t, r.as("GET", "/message-streams/broadcast/suppressions/dump", "")); d.raw != "{\"Suppressions\":[]}\n" {
		t.Errorf("another stream's list: %s", d.raw)
	}
	history, err := r.store.SuppressionHistory(t.Context(), 1, "outbound", "off@y.example")
	if err != nil || len(history) != 1 || !strings.HasPrefix(history[0].By, "server-token ") {
		t.Errorf("history %+v, %v, want the token", history, err)
	}
	a = wantOK(t, r.as("POST", suppressionPath+"/delete", addresses("OFF@y.example", "never@y.example", "@")))
	if got, want := statuses(a), "OFF@y.example Deleted <nil>\nnever@y.example Deleted <nil>\n@ Failed An invalid email address was provided."; got != want {
		t.Errorf("deleted\n%s\nwant\n%s", got, want)
	}
	if d := wantOK(t, r.as("GET", suppressionPath+"/dump", "")); len(d.list("Suppressions")) != 1 {
		t.Errorf("dump after the deletion %s", d.raw)
	}
}

func TestSuppressions_OnlyTheRecipientTakesBackWhatTheySaid(t *testing.T) {
	r := newRig(t, rigOptions{})
	now := time.Now()
	r.suppress("outbound", "dead@y.example", store.SuppressedHardBounce, store.OriginRecipient, now)
	r.suppress("outbound", "angry@y.example", store.SuppressedSpamComplaint, store.OriginRecipient, now)
	r.suppress("outbound", "left@y.example", store.SuppressedManually, store.OriginRecipient, now)
	r.suppress("outbound", "operator@y.example", store.SuppressedManually, store.OriginAdmin, now)
	a := wantOK(t, r.as("POST", suppressionPath+"/delete", addresses("dead@y.example", "Angry@y.example", "left@y.example", "operator@y.example")))
	const no = "Failed You do not have the required authority to change this suppression."
	if got, want := statuses(a), "dead@y.example Deleted <nil>\nAngry@y.example "+no+"\nleft@y.example "+no+"\noperator@y.example Deleted <nil>"; got != want {
		t.Errorf("deleted\n%s\nwant\n%s", got, want)
	}
	wantOK(t, r.as("POST", suppressionPath, addresses("angry@y.example")))
	d := wantOK(t, r.as("GET", suppressionPath+"/dump", ""))
	if l := d.list("Suppressions"); len(l) != 2 || l[0]["SuppressionReason"] != "SpamComplaint" {
		t.Errorf("dump %s: a customer's wish has replaced a complaint", d.raw)
	}
}

func TestSuppressions_Filters(t *testing.T) {
	r := newRig(t, rigOptions{})
	day := func(n int) time.Time { return time.Date(2026, 11, n, 12, 0, 0, 0, time.UTC) }
	r.suppress("outbound", "a@y.example", store.SuppressedHardBounce, store.OriginRecipient, day(1))
	r.suppress("outbound", "a@y.example.org", store.SuppressedManually, store.OriginCustomer, day(2))
	r.suppress("outbound", "c@y.example", store.SuppressedSpamComplaint, store.OriginRecipient, day(3))
	r.suppress("broadcast", "d@y.example", store.SuppressedManually, store.OriginAdmin, day(3))
	for query, want := range map[string]string{
		"": "a@y.example a@y.example.org c@y.example", "SuppressionReason=hardbounce": "a@y.example", "suppressionReason=SpamComplaint": "c@y.example",
		"SuppressionReason=ManualSuppression&Origin=Customer": "a@y.example.org", "origin=Admin": "", "Origin=Recipient": "a@y.example c@y.example",
		"EmailAddress=A@Y.example": "a@y.example", "emailaddress=invalid": "", "emailAddress=y.example": "", "EmailAddress=": "a@y.example a@y.example.org c@y.example",
		"fromdate=2026-11-02": "a@y.example.org c@y.example", "todate=2026-11-02": "a@y.example a@y.example.org", "fromdate=2026-11-2&todate=2026-11-2": "a@y.example.org",
		"todate=2026-11-01T12:00:00": "a@y.example",
	} {
		a := wantOK(t, r.as("GET", suppressionPath+"/dump?"+query, ""))
		var got []string
		for _, s := range a.list("Suppressions") {
			got = append(got, fmt.Sprint(s["EmailAddress"]))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("dump of %q: %v, want %s", query, got, want)
		}
	}
}

// A list longer than a page of the store comes whole, and every address once.
func TestSuppressions_DumpOfMany(t *testing.T) {
	r := newRig(t, rigOptions{})
	var all []store.Suppression
	for i := range 2500 {
		all = append(all, store.Suppression{
			Server: 1, Stream: "outbound", Address: fmt.Sprintf("n%d@y.example", i), Reason: store.SuppressedManually, Origin: store.OriginAdmin, Created: time.Now(),
		})
	}
	if _, err := r.store.Suppress(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range wantOK(t, r.as("GET", suppressionPath+"/dump", "")).list("Suppressions") {
		seen[fmt.Sprint(s["EmailAddress"])] = true
	}
	if len(seen) != len(all) {
		t.Errorf("%d of %d addresses", len(seen), len(all))
	}
}

func TestSuppressions_Refusals(t *testing.T) {
	r := newRig(t, rigOptions{})
	many := make([]string, 51)
	for i := range many {
		many[i] = fmt.Sprintf("n%d@y.example", i)
	}
	for _, tt := range []struct {
		method, path, body string
		code               int
	}{
		{"GET", "/dump?SuppressionReason=x", "", 1404}, {"GET", "/dump?Origin=x", "", 1405}, {"GET", "/dump?fromdate=x", "", 403},
		{"GET", "/dump?todate=2026-13-40", "", 403}, {"POST", "", "", 1409}, {"POST", "/delete", "{}", 1409}, {"POST", "", "null", 1409},
		{"POST", "", addresses(many...), 1410}, {"POST", "/delete", addresses(many...), 1410},
		{"POST", "", `{"Suppressions":[{}]}`, 1411}, {"POST", "/delete", `{"Suppressions":[{"EmailAddress":null}]}`, 1411},
		{"POST", "", `{"Suppressions":[{"EmailAddress":1}]}`, 403}, {"POST", "", `{"Suppressions":{}}`, 403}, {"POST", "", `{`, 402},
	} {
		t.Run(tt.method+tt.path+tt.body, func(t *testing.T) { wantError(t, r.as(tt.method, suppressionPath+tt.path, tt.body), 422, tt.code) })
	}
	for _, what := range []string{"GET /dump", "POST ", "POST /delete"} {
		method, path, _ := strings.Cut(what, " ")
		wantError(t, r.as(method, "/message-streams/none/suppressions"+path, addresses("a@y.example")), 422, 1226, "was not found")
		wantError(t, r.asAccount(method, suppressionPath+path, addresses("a@y.example")), 401, 10, "Server token")
	}
	wantError(t, r.as("POST", "/message-streams/inbound/suppressions", addresses("a@y.example")), 422, 1236)
	wantOK(t, r.as("POST", suppressionPath, `{"suppressions":[]}`))
	wantOK(t, r.as("POST", strings.ToUpper(suppressionPath)+"/", `{"SUPPRESSIONS":[{"emailaddress":"a@y.example"}]}`))
}

func TestSend_SaysWhoGetsNothing(t *testing.T) {
	r := newRig(t, rigOptions{})
	wantOK(t, r.as("POST", suppressionPath, addresses("off@y.example", "gone@y.example")))
	body := func(to string) string { return strings.Replace(simple, "b@y.example", to, 1) }
	a := wantOK(t, r.as("POST", "/email", body("Off@y.example, b@y.example, gone@Y.example")))
	const tail = ". Inactive recipients are ones that have generated a hard bounce, a spam complaint, or a manual suppression."
	if want := "Message OK, but will not deliver to these inactive addresses: gone@y.example, off@y.example" + tail; a.text("Message") != want ||
		a.code() != 0 || fmt.Sprint(a.body["InactiveRecipients"]) != "[gone@y.example off@y.example]" {
		t.Errorf("partly suppressed: %s", a.raw)
	}
	for _, d := range r.record(a.text("MessageID")).Deliveries {
		for _, to := range d.Recipients {
			if want := map[bool]store.State{true: store.Queued, false: store.Suppressed}[to.Address == "b@y.example"]; to.State != want {
				t.Errorf("%s is %s, want %s", to.Address, to.State, want)
			}
		}
	}
	wantError(t, r.as("POST", "/email", body("off@y.example")), 422, 406, "Found inactive addresses: off@y.example"+tail)
	batch := r.as("POST", "/email/batch", "["+body("off@y.example")+","+body("off@y.example,b@y.example")+","+simple+"]")
	var items []struct {
		ErrorCode int
		Message   string
	}
	if err := json.Unmarshal([]byte(batch.raw), &items); err != nil || len(items) != 3 {
		t.Fatalf("%v: %s", err, batch.raw)
	}
	if items[0].ErrorCode != 406 || items[1].ErrorCode != 0 || !strings.HasPrefix(items[1].Message, "Message OK, but") || items[2].Message != "OK" {
		t.Errorf("batch: %s", batch.raw)
	}
	a = wantOK(t, r.as("POST", "/email", strings.Replace(body("off@y.example"), `"To"`, `"MessageStream":"broadcast","To"`, 1)))
	if a.text("Message") != "OK" {
		t.Errorf("the list of another stream counts: %s", a.raw)
	}
}
