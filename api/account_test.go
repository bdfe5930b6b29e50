package api_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/store"
)

func (r *rig) asAccount(method, path, body string) answer {
	r.t.Helper()
	return r.do(method, path, body, "X-Postmark-Account-Token", r.account)
}

func wantOK(t testing.TB, a answer) answer {
	t.Helper()
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	return a
}

// list returns the objects under a key.
func (a answer) list(key string) (out []map[string]any) {
	b, _ := json.Marshal(a.body[key])
	_ = json.Unmarshal(b, &out)
	return out
}

func TestServers(t *testing.T) {
	r := newRig(t, rigOptions{})
	a := wantOK(t, r.asAccount("POST", "/servers", `{"Name":"Own","Color":"RED","DeliveryType":"sandbox"}`))
	one := "/servers/" + a.text("ID")
	token := fmt.Sprint(a.body["ApiTokens"].([]any)[0])
	if a.text("Color") != "red" || a.text("DeliveryType") != "Sandbox" || a.text("SmtpApiActivated") != "true" {
		t.Errorf("created %s", a.raw)
	}
	own := wantOK(t, r.do("GET", "/server", "", "X-Postmark-Server-Token", token))
	if own.text("ID") != a.text("ID") {
		t.Errorf("own server %s", own.raw)
	}
	if s := wantOK(t, r.do("GET", "/message-streams", "", "X-Postmark-Server-Token", token)); s.text("TotalCount") != "3" {
		t.Errorf("streams of a new server: %s", s.raw)
	}
	a = wantOK(t, r.do("PUT", "/server", `{"color":"blue","SmtpApiActivated":false,"TrackOpens":false,"BounceHookUrl":""}`, "X-Postmark-Server-Token", token))
	if a.text("Color") != "blue" || a.text("Name") != "Own" || a.text("SmtpApiActivated") != "false" {
		t.Errorf("edited %s", a.raw)
	}
	wantOK(t, r.asAccount("PUT", one, `{"Name":"Other"}`))
	l := wantOK(t, r.asAccount("GET", "/servers?Count=1&offset=1&NAME=", ""))
	if l.text("TotalCount") != "2" || len(l.list("Servers")) != 1 || l.list("Servers")[0]["Name"] != "Other" {
		t.Errorf("list %s", l.raw)
	}
	if l := wantOK(t, r.asAccount("GET", "/servers?count=100&offset=0&name=hop", "")); l.text("TotalCount") != "1" {
		t.Errorf("search %s", l.raw)
	}
	if v := wantOK(t, r.asAccount("GET", one, "")); v.text("Name") != "Other" {
		t.Errorf("by ID: %s", v.raw)
	}
	if d := wantOK(t, r.asAccount("DELETE", one, "")); d.text("Message") != "Server Other removed." {
		t.Errorf("removed %s", d.raw)
	}
	wantError(t, r.do("GET", "/server", "", "X-Postmark-Server-Token", token), 401, 10)
}

func TestServers_Refusals(t *testing.T) {
	r := newRig(t, rigOptions{})
	wantError(t, r.as("GET", "/servers/1", ""), 401, 10, "Account")
	for _, tt := range []struct {
		method, path, body string
		code               int
	}{
		{"GET", "/servers", "", 600}, {"GET", "/servers?count=0&offset=0", "", 600}, {"GET", "/servers?count=501&offset=0", "", 600},
		{"GET", "/servers?count=1&offset=-1", "", 600}, {"GET", "/servers?count=1&offset=10000", "", 600},
		{"GET", "/servers/99", "", 601}, {"PUT", "/servers/x", "{}", 601}, {"DELETE", "/servers/99", "", 601},
		{"POST", "/servers", `{"Name":"Shop"}`, 603}, {"PUT", "/servers/1", `{"Color":"pink"}`, 607}, {"POST", "/servers", "", 608},
		{"POST", "/servers", `{"Name":"a","DeliveryType":"x"}`, 613}, {"PUT", "/servers/1", `{"BounceHookUrl":"https://x.example"}`, 615},
		{"GET", "/servers/99/tokens", "", 601}, {"DELETE", "/servers/1/tokens/99", "", 601}, {"POST", "/servers/1/tokens/99/roll", "", 601},
		{"POST", "/servers/1/tokens", `{"Name":"a\nb"}`, 608},
	} {
		t.Run(tt.method+tt.path+tt.body, func(t *testing.T) { wantError(t, r.asAccount(tt.method, tt.path, tt.body), 422, tt.code) })
	}
}

// A refusal names a setting as clients write it.
func TestServers_UnsupportedSettings(t *testing.T) {
	r := newRig(t, rigOptions{})
	for _, name := range []string{"EnableSmtpApiErrorHooks", "InboundHookUrl", "BounceHookUrl", "OpenHookUrl", "DeliveryHookUrl", "ClickHookUrl", "TrackOpens", "TrackLinks"} {
		wantError(t, r.as("PUT", "/server", `{"`+strings.ToLower(name)+`":"x"}`), 422, 615, "'"+name+"'")
	}
}

func TestServerTokens_MakeRollRevoke(t *testing.T) {
	r := newRig(t, rigOptions{})
	second := wantOK(t, r.asAccount("POST", "/servers/1/tokens", `{"Name":"second"}`))
	wantOK(t, r.asAccount("POST", "/servers/1/tokens", ""))
	wantError(t, r.asAccount("POST", "/servers/1/tokens", ""), 422, 614)
	rolled := wantOK(t, r.asAccount("POST", "/servers/1/tokens/"+second.text("ID")+"/roll", ""))
	if rolled.text("Name") != "second" {
		t.Errorf("rolled %s", rolled.raw)
	}
	wantError(t, r.do("GET", "/server", "", "X-Postmark-Server-Token", second.text("Token")), 401, 10)
	own := wantOK(t, r.do("GET", "/server", "", "X-Postmark-Server-Token", rolled.text("Token")))
	if n := len(own.body["ApiTokens"].([]any)); n != 3 {
		t.Errorf("%d tokens after the roll", n)
	}
	wantOK(t, r.asAccount("DELETE", "/servers/1/tokens/"+rolled.text("ID"), ""))
	wantError(t, r.do("GET", "/server", "", "X-Postmark-Server-Token", rolled.text("Token")), 401, 10)
	if l := wantOK(t, r.asAccount("GET", "/servers/1/tokens", "")); l.text("TotalCount") != "2" {
		t.Errorf("list %s", l.raw)
	}
}

func TestStreams(t *testing.T) {
	r := newRig(t, rigOptions{})
	a := wantOK(t, r.as("POST", "/message-streams", `{"ID":"news","Name":"News","MessageStreamType":"broadcasts","Description":"d"}`))
	if a.text("ID") != "news" || a.text("MessageStreamType") != "Broadcasts" || a.body["ArchivedAt"] != nil || a.text("ServerID") != "1" {
		t.Errorf("created %s", a.raw)
	}
	if s := r.store.Snapshot().Streams[store.StreamKey{Server: 1, Stream: "news"}]; s.Mode != store.ModeLive {
		t.Errorf("mode %q, want that of the default stream", s.Mode)
	}
	for word, want := range map[string]string{"custom": "Custom", "NONE": "None", "Postmark": "Postmark", "": "Postmark"} {
		edited := wantOK(t, r.as("PATCH", "/message-streams/news", `{"SubscriptionManagementConfiguration":{"UnsubscribeHandlingType":"Postmark"}}`))
		if word != "" {
			edited = wantOK(t, r.as("PATCH", "/message-streams/news", `{"SubscriptionManagementConfiguration":{"UnsubscribeHandlingType":"`+word+`"}}`))
		}
		if how := edited.body["SubscriptionManagementConfiguration"].(map[string]any); how["UnsubscribeHandlingType"] != want {
			t.Errorf("%q: %v, want %s", word, how, want)
		}
	}
	wantError(t, r.as("PATCH", "/message-streams/news", `{"SubscriptionManagementConfiguration":{"UnsubscribeHandlingType":"Never"}}`), 422, 1240)
	if a = wantOK(t, r.as("PATCH", "/message-streams/news", `{"ID":"x","Name":"New"}`)); a.text("Name") != "New" || a.text("Description") != "d" || a.text("ID") != "news" {
		t.Errorf("edited %s", a.raw)
	}
	if a.body["UpdatedAt"] == nil || wantOK(t, r.as("GET", "/message-streams/outbound", "")).body["UpdatedAt"] != nil {
		t.Errorf("UpdatedAt after an edit: %v", a.body["UpdatedAt"])
	}
	if a = wantOK(t, r.as("PATCH", "/message-streams/news", `{"Description":"1 < 2 & 3 > 2, <3"}`)); a.text("Description") != "1 < 2 & 3 > 2, <3" {
		t.Errorf("edited %s", a.raw)
	}
	if a = wantOK(t, r.as("POST", "/message-streams/news/archive", "null")); a.text("ID") != "news" || a.body["ExpectedPurgeDate"] == nil {
		t.Errorf("archived %s", a.raw)
	}
	for query, want := range map[string]string{"": "3", "?IncludeArchivedStreams=True": "4", "?messageStreamType=Broadcasts": "1", "?MessageStreamType=all&count=30": "3"} {
		if l := wantOK(t, r.as("GET", "/message-streams"+query, "")); l.text("TotalCount") != want {
			t.Errorf("list %q: %s", query, l.raw)
		}
	}
	if a = wantOK(t, r.as("POST", "/message-streams/news/unarchive", "")); a.body["ArchivedAt"] != nil {
		t.Errorf("unarchived %s", a.raw)
	}
	wantOK(t, r.as("GET", "/message-streams/news/", ""))
}

func TestStreams_Refusals(t *testing.T) {
	r := newRig(t, rigOptions{})
	for _, tt := range []struct {
		method, path, body string
		code               int
	}{
		{"GET", "?MessageStreamType=x", "", 1221}, {"POST", "", `{"ID":"a","Name":"a"}`, 1221}, {"POST", "", `{"ID":"a","Name":"a","MessageStreamType":"Inbound"}`, 1228},
		{"POST", "", `{"ID":"a","Name":"a","MessageStreamType":"Transactional","Description":"read <b>this</b>"}`, 1234}, {"PATCH", "/outbound", `{"Description":"</p"}`, 1234},
		{"PATCH", "/inbound", `{"SubscriptionManagementConfiguration":{"UnsubscribeHandlingType":"Custom"}}`, 1239},
		{"POST", "", `{"Name":"a","MessageStreamType":"Transactional"}`, 1222}, {"POST", "", `{"ID":"a","MessageStreamType":"Transactional"}`, 1223},
		{"PATCH", "/outbound", `{"Name":"` + strings.Repeat("x", 101) + `"}`, 1224}, {"GET", "/none", "", 1226}, {"PATCH", "/none", `{}`, 1226},
		{"POST", "/none/archive", "", 1226}, {"POST", "/none/unarchive", "", 1226},
		{"POST", "", `{"ID":"A","Name":"a","MessageStreamType":"Transactional"}`, 1227}, {"POST", "/outbound/archive", "", 1229}, {"POST", "/inbound/archive", "", 1229},
		{"POST", "", `{"ID":"outbound","Name":"a","MessageStreamType":"Transactional"}`, 1230},
		{"PATCH", "/outbound", `{"Description":"` + strings.Repeat("x", 1001) + `"}`, 1231}, {"POST", "", `{"ID":"pm-a","Name":"a","MessageStreamType":"Transactional"}`, 1233},
	} {
		t.Run(tt.method+tt.path+tt.body, func(t *testing.T) {
			wantError(t, r.as(tt.method, "/message-streams"+tt.path, tt.body), 422, tt.code)
		})
	}
	for i := range store.MaxStreams - 3 {
		r.change(store.Change{Stream: &store.Stream{Server: 1, ID: fmt.Sprintf("s%d", i), Kind: store.Transactional, Mode: store.ModeLive}})
	}
	wantError(t, r.as("POST", "/message-streams", `{"ID":"more","Name":"a","MessageStreamType":"Transactional"}`), 422, 1225)
}

func TestSMTPTokens(t *testing.T) {
	r := newRig(t, rigOptions{})
	const tokens = "/message-streams/outbound/smtp-tokens"
	a := wantOK(t, r.as("POST", tokens, `{"Name":"app"}`))
	if l := wantOK(t, r.as("GET", tokens, "")); l.text("TotalCount") != "2" || strings.Contains(l.raw, a.text("SecretKey")) || !strings.Contains(l.raw, a.text("AccessKey")) {
		t.Errorf("list %s", l.raw)
	}
	v := auth.NewVerifier(r.store, r.keyring, auth.VerifierOptions{})
	if p, err := v.SMTP(t.Context(), netip.MustParseAddr("127.0.0.1"), a.text("AccessKey"), a.text("SecretKey")); err != nil || p.Stream != "outbound" {
		t.Errorf("login with the new pair: %v %v", p, err)
	}
	wantOK(t, r.as("DELETE", tokens+"/"+a.text("ID"), ""))
	wantError(t, r.as("DELETE", tokens+"/"+a.text("ID"), ""), 422, 1451)
	wantError(t, r.as("DELETE", "/message-streams/broadcast/smtp-tokens/4", ""), 422, 1451)
	wantError(t, r.as("GET", "/message-streams/none/smtp-tokens", ""), 422, 1226)
	wantError(t, r.as("POST", tokens, `{"Name":"a\nb"}`), 422, 1456)
	wantError(t, r.as("POST", "/message-streams/inbound/smtp-tokens", ""), 422, 1457)
	for range store.MaxSMTPTokens - 1 {
		wantOK(t, r.as("POST", tokens, ""))
	}
	wantError(t, r.as("POST", tokens, ""), 422, 1458)
	r.stream("broadcast", func(s *store.Stream) { s.Archived = time.Now() })
	wantError(t, r.as("POST", "/message-streams/broadcast/smtp-tokens", ""), 422, 1459)
	wantOK(t, r.as("PUT", "/server", `{"SmtpApiActivated":false}`))
	wantError(t, r.as("POST", tokens, ""), 422, 1460)
}

func TestMessages(t *testing.T) {
	r := newRig(t, rigOptions{})
	send := func(extra string) string {
		return wantOK(t, r.as("POST", "/email", strings.Replace(simple, `"To"`, extra+`"To"`, 1))).text("MessageID")
	}
	one := send(`"Tag":"a","Metadata":{"Key":"v"},"Bcc":"hidden@w.example","HtmlBody":"<p>h","Attachments":[{"Name":"f.txt","Content":"eA=="}],`)
	two := send("")
	broadcast := send(`"MessageStream":"broadcast",`)
	smtp, err := intake.New(r.store, r.store, intake.Options{Hostname: "relay.example"}).Submit(t.Context(), intake.Envelope{
		Principal: auth.Principal{Kind: auth.KindServerToken, Server: 1}, From: "smtp@x.example", Protocol: "ESMTPA",
		Recipients: []intake.Recipient{{Address: "c@y.example"}},
	}, strings.NewReader("From: smtp@x.example\r\nTo: c@y.example\r\nSubject: By SMTP\r\n\r\nbody\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string][]string{
		"": {smtp.String(), two, one}, "&messagestream=broadcast": {broadcast}, "&recipient=C@y.example": {smtp.String()}, "&recipient=c@y": {},
		"&fromEmail=SMTP@x.example": {smtp.String()}, "&recipient=hidden@w.example&tag=a&metadata_KEY=v&subject=S&status=queued": {one}, "&tag=a": {one}, "&subject=by%20smtp": {smtp.String()}, "&metadata_key=v": {one}, "&metadata_key=w": {},
		"&status=queued": {smtp.String(), two, one}, "&status=Sent": {}, "&fromdate=2999-1-1": {}, "&fromdate=2999-01-01T00:00:00+02:00": {}, "&todate=2999-01-01T00:00:00%2B02:00&fromdate=1999-01-01T00:00:00.123-05:00": {smtp.String(), two, one}, "&todate=2999-01-01T00:00:00": {smtp.String(), two, one}, "&tag=": {smtp.String(), two, one},
	} {
		a := wantOK(t, r.as("GET", "/messages/outbound?count=50&offset=0"+query, ""))
		ids := []string{}
		for _, m := range a.list("Messages") {
			ids = append(ids, fmt.Sprint(m["MessageID"]))
		}
		if fmt.Sprint(ids) != fmt.Sprint(want) || a.text("TotalCount") != fmt.Sprint(len(want)) {
			t.Errorf("search %q = %v (of %s), want %v", query, ids, a.text("TotalCount"), want)
		}
	}
	if a := wantOK(t, r.as("GET", "/messages/outbound?count=1&offset=1", "")); a.text("TotalCount") != "3" || len(a.list("Messages")) != 1 || a.list("Messages")[0]["MessageID"] != two {
		t.Errorf("second page: %s", a.raw)
	}
	named := wantOK(t, r.as("POST", "/email", `{"From":"a@x.example","To":"b@y.example, \"Doe, Jörg\" <jd@y.example>","Cc":"Cy <c@y.example>","Bcc":"Di <d@y.example>","Subject":"Names","TextBody":"t"}`)).text("MessageID")
	listed := wantOK(t, r.as("GET", "/messages/outbound?count=1&offset=0&subject=names", "")).list("Messages")[0]
	if got := fmt.Sprint(listed["To"], listed["Cc"], listed["Bcc"]); listed["MessageID"] != named ||
		got != "[map[Email:b@y.example Name:<nil>] map[Email:jd@y.example Name:Doe, Jörg]] [map[Email:c@y.example Name:Cy]] [map[Email:d@y.example Name:<nil>]]" {
		t.Errorf("names: %s", got)
	}
	for _, m := range wantOK(t, r.as("GET", "/messages/outbound?count=5&offset=0", "")).list("Messages") {
		if files := map[bool]string{true: "[f.txt]", false: "[]"}[m["MessageID"] == one]; fmt.Sprint(m["Attachments"]) != files {
			t.Errorf("Attachments of %v in a list: %v, want %s", m["MessageID"], m["Attachments"], files)
		}
	}
	d := wantOK(t, r.as("GET", "/messages/outbound/"+one+"/details", ""))
	if d.text("TextBody") != "t\r\n" && d.text("TextBody") != "t" || !strings.HasPrefix(d.text("HtmlBody"), "<p>h") || d.text("Status") != "Queued" ||
		d.list("Bcc")[0]["Email"] != "hidden@w.example" || fmt.Sprint(d.body["Attachments"]) != "[f.txt]" || d.text("Subject") != "s" || fmt.Sprint(d.body["MessageEvents"]) != "[]" {
		t.Errorf("details %s", d.raw)
	}
	if dump := wantOK(t, r.as("GET", "/messages/outbound/"+strings.ToUpper(one)+"/dump/", "")); dump.text("Body") != r.octets(one) {
		t.Errorf("dump %s", dump.raw)
	}
}

func TestMessages_Events(t *testing.T) {
	r := newRig(t, rigOptions{})
	id, _ := store.ParseID(wantOK(t, r.as("POST", "/email", simple)).text("MessageID"))
	now := time.Now()
	claimed, err := r.store.Claim(t.Context(), store.DeliveryID{Message: id}, 0, now, now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	d := claimed.Delivery
	d.Recipients[0].State = store.Sent
	err = r.store.Resolve(t.Context(), store.Resolution{Delivery: d, Events: []store.Event{
		{At: now, Kind: store.EventDeferred, Reply: store.Reply{Text: "later", Host: "mx.example"}},
		{At: now, Kind: store.EventDeferred, Reply: store.Reply{Text: "cannot read /etc/password", Command: "auth"}, Detail: "before that by me@smarthost.example"},
		{At: now, Kind: store.EventSent, Recipient: "b@y.example", Reply: store.Reply{Text: "ok", Host: "mx.example", Address: "192.0.2.1"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	left := store.Event{At: now, Kind: store.EventUnsubscribed}
	if err := r.store.Return(t.Context(), store.Return{Message: id, Was: store.Sent, State: store.Sent, Events: []store.Event{left}}); err != nil {
		t.Fatal(err)
	}
	a := wantOK(t, r.as("GET", "/messages/outbound/"+id.String()+"/details", ""))
	var got []string
	for _, e := range a.list("MessageEvents") {
		got = append(got, fmt.Sprint(e["Type"], e["Recipient"], e["Details"].(map[string]any)["DestinationServer"], e["Details"].(map[string]any)["DestinationIP"], e["Details"].(map[string]any)["Origin"]))
	}
	if want := "[Transientb@y.examplemx.example<nil> Transientb@y.example<nil> Deliveredb@y.examplemx.example192.0.2.1<nil> SubscriptionChangedb@y.example<nil> <nil>Recipient]"; fmt.Sprint(got) != want || a.text("Status") != "Sent" {
		t.Errorf("events %v, want %s, in %s", got, want, a.raw)
	}
	if strings.Contains(a.raw, "/etc") || strings.Contains(a.raw, "smarthost") {
		t.Errorf("customers read what is for the operator: %s", a.raw)
	}
	if l := wantOK(t, r.as("GET", "/messages/outbound?count=1&offset=0&status=processed", "")); l.text("TotalCount") != "1" {
		t.Errorf("search %s", l.raw)
	}
}

func TestMessages_Refusals(t *testing.T) {
	r := newRig(t, rigOptions{})
	for _, query := range []string{"", "?count=-1&offset=0", "?count=1", "?count=1&offset=10000", "?count=1&offset=9223372036854775807", "?count=1&offset=0&status=x", "?count=1&offset=0&fromdate=x",
		"?count=1&offset=0&todate=x", "?count=1&offset=0&metadata_a=1&metadata_b=2", "?count=1&offset=0&metadata_=1"} {
		wantError(t, r.as("GET", "/messages/outbound"+query, ""), 422, 700)
	}
	id := wantOK(t, r.as("POST", "/email", simple)).text("MessageID")
	other := wantOK(t, r.asAccount("POST", "/servers", `{"Name":"Other"}`)).body["ApiTokens"].([]any)[0]
	for _, path := range []string{"/messages/outbound/x/details", "/messages/outbound/00000000-0000-0000-0000-000000000000/dump"} {
		wantError(t, r.as("GET", path, ""), 422, 701, "not found")
	}
	wantError(t, r.do("GET", "/messages/outbound/"+id+"/dump", "", "X-Postmark-Server-Token", fmt.Sprint(other)), 422, 701)
	if l := wantOK(t, r.do("GET", "/messages/outbound?count=5&offset=0", "", "X-Postmark-Server-Token", fmt.Sprint(other))); l.text("TotalCount") != "0" {
		t.Errorf("another server's mail: %s", l.raw)
	}
}
