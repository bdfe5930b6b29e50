package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/api"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/webhook"
)

// hookRig has a sender that may call loopback.
func hookRig(t *testing.T) *rig {
	t.Helper()
	var late lateWebhooks
	r := newRig(t, rigOptions{api: api.Options{Webhooks: &late}})
	late.Sender = webhook.New(r.store, r.keyring, webhook.Options{Guard: webhook.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, Timeout: 5 * time.Second})
	return r
}

// lateWebhooks is made before the store that its sender needs.
type lateWebhooks struct{ *webhook.Sender }

func TestWebhooks_Life(t *testing.T) {
	r := hookRig(t)
	a := wantOK(t, r.as("POST", "/webhooks", `{"Url":"https://u:p%40@hooks.example/x?y=1","HttpAuth":{"Username":"user","Password":"pass"},
		"HttpHeaders":[{"Name":"X-Key","Value":"v"}],"Triggers":{"Bounce":{"Enabled":true,"IncludeContent":true},"Open":{"Enabled":true,"PostFirstOpenOnly":true}}}`))
	id := a.text("ID")
	for _, want := range []string{
		`"Url":"https://u:p%40@hooks.example/x?y=1"`, `"MessageStream":"outbound"`, `"HttpAuth":{"Username":"user","Password":"pass"}`, `"HttpHeaders":[{"Name":"X-Key","Value":"v"}]`,
		`"Open":{"Enabled":true,"PostFirstOpenOnly":true}`, `"Click":{"Enabled":false}`, `"Bounce":{"Enabled":true,"IncludeContent":true}`, `"SigningKey":"whsec_`,
	} {
		if !strings.Contains(a.raw, want) {
			t.Errorf("created %s, lacks %s", a.raw, want)
		}
	}
	if got := wantOK(t, r.as("GET", "/webhooks/"+id, "")); got.raw != a.raw {
		t.Errorf("read %s, created %s", got.raw, a.raw)
	}
	edited := wantOK(t, r.as("PUT", "/Webhooks/"+id, `{"url":"http://hooks.example","httpauth":null,"Triggers":{"bounce":{"Enabled":false},"Delivery":{"Enabled":true}},"RollSigningKey":true}`))
	for _, want := range []string{
		`"Url":"http://hooks.example"`, `"HttpAuth":null`, `"HttpHeaders":[{"Name":"X-Key","Value":"v"}]`, `"Bounce":{"Enabled":false,"IncludeContent":true}`, `"Delivery":{"Enabled":true}`,
	} {
		if !strings.Contains(edited.raw, want) {
			t.Errorf("edited %s, lacks %s", edited.raw, want)
		}
	}
	if edited.text("SigningKey") == a.text("SigningKey") {
		t.Error("the signing key was not rolled")
	}
	wantOK(t, r.as("POST", "/webhooks", `{"Url":"https://hooks.example","MessageStream":"broadcast"}`))
	if all := wantOK(t, r.as("GET", "/webhooks", "")); len(all.list("Webhooks")) != 2 || strings.Contains(all.raw, "whsec_") {
		t.Errorf("list %s", all.raw)
	}
	if some := wantOK(t, r.as("GET", "/webhooks?MessageStream=broadcast", "")); len(some.list("Webhooks")) != 1 {
		t.Errorf("list of one stream %s", some.raw)
	}
	if gone := wantOK(t, r.as("DELETE", "/webhooks/"+id, "")); gone.text("Message") != "Webhook "+id+" removed." || gone.code() != 0 {
		t.Errorf("removed %s", gone.raw)
	}
	wantError(t, r.as("GET", "/webhooks/"+id, ""), 422, 1352, "The webhook for the provided 'ID' was not found.")
}

func TestWebhooks_SecretsAreSealed(t *testing.T) {
	r := hookRig(t)
	wantOK(t, r.as("POST", "/webhooks", `{"Url":"https://canary1:canary2@hooks.example","HttpAuth":{"Username":"canary3","Password":"canary4"},"HttpHeaders":[{"Name":"X","Value":"canary5"}]}`))
	for _, w := range r.store.Snapshot().Webhooks {
		if text := fmt.Sprintf("%+v %s", w, w.Sealed); strings.Contains(text, "canary") {
			t.Errorf("stored in the clear: %s", text)
		}
		s, err := r.keyring.OpenWebhook(w)
		if err != nil || s.Password != "canary4" {
			t.Errorf("OpenWebhook = %v", err)
		}
		if text := fmt.Sprintf("%v %+v %#v %s", s, s, s, &s); strings.Contains(text, "canary") {
			t.Errorf("printed: %s", text)
		}
	}
}

func TestWebhooks_Refusals(t *testing.T) {
	r := hookRig(t)
	own := wantOK(t, r.as("POST", "/webhooks", `{"Url":"https://hooks.example"}`)).text("ID")
	r.change(store.Change{Server: &store.Server{ID: 2, Name: "Other", DeliveryType: store.Live}},
		store.Change{Stream: &store.Stream{Server: 2, ID: "outbound", Kind: store.Transactional, Mode: store.ModeLive}})
	r.change(store.Change{Webhook: &store.Webhook{ID: 900, Server: 2, Stream: "outbound", URL: "https://x.example", Sealed: []byte{1}}})
	r.change(store.Change{Stream: &store.Stream{Server: 1, ID: "old", Kind: store.Transactional, Mode: store.ModeLive, Archived: time.Now()}})
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for _, tc := range []struct {
		method, path, body string
		code               int
	}{
		{"POST", "", `{"Url":"https://x.example","MessageStream":"old"}`, 1350},
		{"POST", "", `{"Url":"https://x.example","MessageStream":"inbound"}`, 1351},
		{"POST", "", `{"Url":"https://x.example","MessageStream":"nowhere"}`, 1226},
		{"GET", "?messagestream=nowhere", "", 1226},
		{"GET", "/900", "", 1352},
		{"GET", "/x", "", 1352},
		{"PUT", "/900", `{"Url":"https://x.example"}`, 1352},
		{"DELETE", "/900", "", 1352},
		{"POST", "/900/verify", "", 1352},
		{"GET", "/900/queue", "", 1352},
		{"GET", "/900/dead?count=1&offset=0", "", 1352},
		{"POST", "/900/replay", "", 1352},
		{"POST", "", `{"Url":"https://x.example","Triggers":{"Inbound":{"Enabled":true}}}`, 1353},
		{"POST", "", `{"MessageStream":"outbound"}`, 1354},
		{"POST", "", `{"Url":""}`, 1354},
		{"POST", "", `{"Url":"ftp://x.example"}`, 1354},
		{"POST", "", `{"Url":"https://x.example:25"}`, 1354},
		{"POST", "", `{"Url":"https://10.0.0.1/"}`, 606},
		{"POST", "", `{"Url":"http://[::ffff:169.254.169.254]/"}`, 606},
		{"PUT", "/" + own, `{"Url":"http://192.168.1.1:8080"}`, 606},
		{"POST", "", "", 1355},
		{"PUT", "/" + own, "null", 1355},
		{"POST", "", `{"ID":7,"Url":"https://x.example"}`, 1356},
		{"PUT", "/" + own, `{"ID":7}`, 1357},
		{"PUT", "/" + own, `{"MessageStream":"broadcast"}`, 1357},
		{"POST", "", `{"Url":"https://x.example","HttpHeaders":[{"Name":"Host","Value":"x"}]}`, 1358},
		{"POST", "", `{"Url":"https://x.example","HttpHeaders":[{"Name":"X-A","Value":"a\r\nX-B: c"}]}`, 1358},
		{"POST", "", `{"Url":"https://x.example","HttpHeaders":[{"Name":"","Value":"c"}]}`, 1358},
		{"POST", "", `{"Url":"https://x.example","HttpAuth":{"Username":"a:b"}}`, 1361},
		{"GET", "/" + own + "/dead?count=0&offset=0", "", 1361},
		{"POST", "/" + own + "/replay", `{"Keys":["x"]}`, 1361},
		{"POST", "", `{"Url":"` + closed.URL + `","Verify":true,"Triggers":{"Bounce":{"Enabled":true}}}`, 1364},
		{"PUT", "/" + own + "?verify=true", `{"Url":"` + closed.URL + `","Triggers":{"Bounce":{"Enabled":true}}}`, 1364},
	} {
		t.Run(tc.method+tc.path+tc.body, func(t *testing.T) { wantError(t, r.as(tc.method, "/webhooks"+tc.path, tc.body), 422, tc.code) })
	}
	for part, field := range map[string]string{
		`"Triggers":{"open":true}`: "'Triggers.open'", `"Triggers":{"Bounce":{"Enabled":"yes"}}`: "'Triggers.Bounce.Enabled'", `"HttpAuth":"a:b"`: "'HttpAuth'", `"HttpHeaders":{}`: "'HttpHeaders'",
	} {
		wantError(t, r.as("POST", "/webhooks", `{"Url":"https://x.example",`+part+`}`), 422, 403, field)
	}
	for range store.MaxWebhooks - 1 {
		wantOK(t, r.as("POST", "/webhooks", `{"Url":"https://hooks.example"}`))
	}
	wantError(t, r.as("POST", "/webhooks", `{"Url":"https://hooks.example"}`), 422, 1359)
	wantError(t, r.do("GET", "/webhooks", "", "X-Postmark-Account-Token", r.account), 401, 10)
}

func TestWebhooks_NotServed(t *testing.T) {
	r := newRig(t, rigOptions{})
	wantError(t, r.as("POST", "/webhooks", `{"Url":"https://x.example"}`), 503, 100)
}

func TestWebhooks_Verify(t *testing.T) {
	r := hookRig(t)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !strings.HasPrefix(req.Header.Get("Webhook-Signature"), "v1,") {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer endpoint.Close()
	id := wantOK(t, r.as("POST", "/webhooks", `{"Url":"`+endpoint.URL+`","Verify":true,"Triggers":{"Open":{"Enabled":true},"Click":{"Enabled":true},"Delivery":{"Enabled":true},
		"Bounce":{"Enabled":true},"SpamComplaint":{"Enabled":true},"SubscriptionChange":{"Enabled":true}}}`)).text("ID")
	a := wantOK(t, r.as("POST", "/webhooks/"+id+"/verify", ""))
	if len(a.list("Results")) != 6 || a.text("Success") != "true" || a.text("Id") != id {
		t.Errorf("verified %s", a.raw)
	}
	endpoint.Close()
	if a := wantOK(t, r.as("POST", "/webhooks/"+id+"/verify", "")); a.text("Success") != "false" {
		t.Errorf("verified a closed endpoint: %s", a.raw)
	}
}

func TestWebhooks_QueueDeadReplay(t *testing.T) {
	r := hookRig(t)
	id := wantOK(t, r.as("POST", "/webhooks", `{"Url":"https://x.example","Triggers":{"SubscriptionChange":{"Enabled":true}}}`)).text("ID")
	q := wantOK(t, r.as("GET", "/webhooks/"+id+"/queue", ""))
	if q.text("Waiting") != "0" || q.text("LastFailure") != "<nil>" {
		t.Errorf("queue %s", q.raw)
	}
	now := time.Now()
	for i := range 3 {
		r.suppress("outbound", fmt.Sprintf("%d@y.example", i), store.SuppressedManually, store.OriginCustomer, now)
	}
	for _, w := range r.store.Snapshot().Webhooks {
		due, _, err := r.store.ClaimNotifications(t.Context(), w.ID, now, now.Add(time.Minute), 2)
		if err != nil || len(due) != 2 {
			t.Fatalf("claimed %v, %v", due, err)
		}
		for _, n := range due {
			err := r.store.SettleNotifications(t.Context(), store.NotificationResult{Webhook: w.ID, Key: n.Key, Outcome: store.NotificationDead, Try: store.Try{At: now, Status: 404, Error: "404 Not Found"}})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	q = wantOK(t, r.as("GET", "/webhooks/"+id+"/queue", ""))
	if q.text("Waiting") != "1" || q.text("Dead") != "2" || !strings.Contains(q.raw, "404 Not Found") {
		t.Errorf("queue %s", q.raw)
	}
	dead := wantOK(t, r.as("GET", "/webhooks/"+id+"/dead?count=1&offset=1", ""))
	if dead.text("TotalCount") != "2" || len(dead.list("Events")) != 1 || dead.list("Events")[0]["Recipient"] != "0@y.example" {
		t.Errorf("dead %s", dead.raw)
	}
	again := wantOK(t, r.as("POST", "/webhooks/"+id+"/replay", fmt.Sprintf(`{"Keys":[%q]}`, dead.list("Events")[0]["Key"])))
	rest := wantOK(t, r.as("POST", "/webhooks/"+id+"/replay", ""))
	if again.text("Replayed") != "1" || rest.text("Replayed") != "1" {
		t.Errorf("replayed %s and %s", again.raw, rest.raw)
	}
}
