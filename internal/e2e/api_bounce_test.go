//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// endpoint keeps the events that are posted to it.
type endpoint struct {
	url    string
	mu     sync.Mutex
	events []map[string]any // guarded by mu
}

func newEndpoint(t testing.TB) *endpoint {
	t.Helper()
	e := &endpoint{}
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var event map[string]any
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
			t.Errorf("event: %v", err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.events = append(e.events, event)
	}))
	t.Cleanup(s.Close)
	e.url = s.URL
	return e
}

// of returns the events of a kind about an address.
func (e *endpoint) of(kind, address string) (out []map[string]any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, event := range e.events {
		if event["RecordType"] == kind && (event["Email"] == address || event["Recipient"] == address) {
			out = append(out, event)
		}
	}
	return out
}

// apiWorld is a relay with a receiver, and its API behind a checker.
type apiWorld struct {
	*relay
	rcv    *receiver
	server caller
}

func newAPIWorld(t *testing.T) *apiWorld {
	t.Helper()
	address := freePort(t)
	t.Setenv("MAILCHUTE_API_LISTENERS", address+"/none")
	rcv := newReceiver(t)
	r := startRelay(t, "webhooks: {allow: [127.0.0.0/8]}\n")
	r.run("stream", "set", "outbound", "--mode", "live", "--smarthost", rcv.address, "--tls", "none")
	return &apiWorld{relay: r, rcv: rcv, server: caller{t, checkedAPI(t, address), "X-Postmark-Server-Token", r.serverToken}}
}

// email sends a message over HTTP and returns its ID.
func (w *apiWorld) email(subject, to string) string {
	w.t.Helper()
	return fmt.Sprint(w.server.call("POST", "/email", map[string]string{"From": "shop@sender.example", "To": to, "Subject": subject, "TextBody": "text"})["MessageID"])
}

// objects are those of a list in an answer.
func objects(answer map[string]any, key string) (out []map[string]any) {
	list, _ := answer[key].([]any)
	for _, v := range list {
		out = append(out, v.(map[string]any))
	}
	return out
}

// details waits until a message is no longer queued.
func (w *apiWorld) details(id string) (d map[string]any) {
	w.t.Helper()
	if !until(15*time.Second, func() bool {
		d = w.server.call("GET", "/messages/outbound/"+id+"/details", nil)
		return d["Status"] == "Sent"
	}) {
		w.t.Fatalf("message %s: %v\n%s", id, d, w.log)
	}
	return d
}

// A message is found, followed and shown whichever way it came in.
func TestAPI_FindsAndShowsMailOfBothWays(t *testing.T) {
	w := newAPIWorld(t)
	w.run("domain", "add", "sender.example")
	w.run("domain", "rotate", "sender.example", "--now")
	subjects := map[string]string{"by-http": w.email("by-http", "one@dest.example, two@dest.example")}
	c, err := w.session(w.serverToken, w.serverToken)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Mail("shop@sender.example"); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"one@dest.example", "two@dest.example"} {
		if err := c.Rcpt(to); err != nil {
			t.Fatal(err)
		}
	}
	body, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(body, "From: shop@sender.example\r\nTo: one@dest.example, two@dest.example\r\nSubject: by-smtp\r\n\r\ntext\r\n")
	if err := body.Close(); err != nil {
		t.Fatal(err)
	}
	found := w.server.call("GET", "/messages/outbound?count=10&offset=0&recipient=two@dest.example", nil)
	for _, m := range objects(found, "Messages") {
		subjects[fmt.Sprint(m["Subject"])] = fmt.Sprint(m["MessageID"])
	}
	if found["TotalCount"] != float64(2) || subjects["by-smtp"] == "" {
		t.Fatalf("found %v", found)
	}
	for subject, id := range subjects {
		w.isShown(subject, id)
	}
}

func (w *apiWorld) isShown(subject, id string) {
	w.t.Helper()
	if a := w.server.call("GET", "/messages/outbound?count=10&offset=0&subject="+subject, nil); a["TotalCount"] != float64(1) || objects(a, "Messages")[0]["MessageID"] != id {
		w.t.Errorf("search of %s: %v", subject, a)
	}
	var events []string
	for _, e := range objects(w.details(id), "MessageEvents") {
		events = append(events, fmt.Sprint(e["Type"], " ", e["Recipient"]))
	}
	slices.Sort(events)
	if want := []string{"Delivered one@dest.example", "Delivered two@dest.example"}; !slices.Equal(events, want) {
		w.t.Errorf("%s: events %v, want %v", subject, events, want)
	}
	dump := fmt.Sprint(w.server.call("GET", "/messages/outbound/"+id+"/dump", nil)["Body"])
	got := w.rcv.about("Subject: " + subject + "\r\n")
	if len(got) != 1 || got[0].data != dump || !strings.HasPrefix(dump, "DKIM-Signature:") {
		w.t.Errorf("%s: the dump is\n%s\nand this was delivered:\n%v", subject, dump, got)
	}
}

// A hard bounce shows everywhere, keeps the next message from its address, and
// does so no longer when it is activated.
func TestAPI_HardBounceUntilItIsActivated(t *testing.T) {
	const gone = "gone@dest.example"
	w, hook := newAPIWorld(t), newEndpoint(t)
	on := map[string]any{"Enabled": true}
	w.server.call("POST", "/webhooks", map[string]any{"Url": hook.url, "Triggers": map[string]any{"Bounce": on, "SubscriptionChange": on, "Delivery": on}})
	w.rcv.setGone(gone, true)
	id := w.email("bounces", gone)
	w.details(id)

	list := w.server.call("GET", "/bounces?count=10&offset=0", nil)
	bounces := objects(list, "Bounces")
	if len(bounces) != 1 || bounces[0]["Email"] != gone || bounces[0]["Type"] != "HardBounce" || bounces[0]["MessageID"] != id || bounces[0]["Inactive"] != true {
		t.Fatalf("bounces %v", list)
	}
	if dump := objects(w.server.call("GET", "/message-streams/outbound/suppressions/dump", nil), "Suppressions"); len(dump) != 1 ||
		dump[0]["EmailAddress"] != gone || dump[0]["SuppressionReason"] != "HardBounce" {
		t.Errorf("suppressions %v", dump)
	}
	w.told(hook, "Bounce", gone, "ID", bounces[0]["ID"])
	w.told(hook, "SubscriptionChange", gone, "SuppressSending", true)
	w.counts(map[string]float64{"Sent": 1, "Bounced": 1})
	if status, a := w.server.try("POST", "/email", map[string]string{"From": "shop@sender.example", "To": gone, "Subject": "kept", "TextBody": "text"}); status != 422 || a["ErrorCode"] != float64(406) {
		t.Errorf("the next message: %d %v", status, a)
	}

	w.rcv.setGone(gone, false)
	a := w.server.call("PUT", fmt.Sprintf("/bounces/%.0f/activate", bounces[0]["ID"]), nil)
	if a["Message"] != "OK" || a["Bounce"].(map[string]any)["Inactive"] != false {
		t.Errorf("activated: %v", a)
	}
	w.details(w.email("passes", gone))
	if n := len(w.rcv.about("Subject: passes\r\n")); n != 1 {
		t.Errorf("delivered %d times after the activation", n)
	}
	w.told(hook, "Delivery", gone, "Recipient", gone)
	w.told(hook, "SubscriptionChange", gone, "SuppressSending", false)
	w.counts(map[string]float64{"Sent": 2, "Bounced": 1})
}

// told waits for an event that has a value.
func (w *apiWorld) told(e *endpoint, kind, address, key string, want any) {
	w.t.Helper()
	if !until(15*time.Second, func() bool {
		return slices.ContainsFunc(e.of(kind, address), func(v map[string]any) bool { return v[key] == want })
	}) {
		w.t.Errorf("no %s of %s with %s %v: %v", kind, address, key, want, e.of(kind, address))
	}
}

// counts waits for the statistics.
func (w *apiWorld) counts(want map[string]float64) {
	w.t.Helper()
	var got map[string]any
	if !until(15*time.Second, func() bool {
		got = w.server.call("GET", "/stats/outbound", nil)
		for key, n := range want {
			if got[key] != n {
				return false
			}
		}
		return true
	}) {
		w.t.Errorf("statistics %v, want %v", got, want)
	}
}
