package api_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/api"
	"github.com/mailchute/mailchute/intake"
)

func TestSenders_FromNewToConfirmed(t *testing.T) {
	c := &confirmer{}
	r := newRig(t, rigOptions{api: api.Options{Confirmer: c}})
	a := wantOK(t, r.asAccount("POST", "/senders", `{"FromEmail":"Shop@Example.com","Name":"The Shop","replyToEmail":"help@example.com","ReturnPathDomain":"pm.example.com","ConfirmationPersonalNote":"please\npress"}`))
	one := "/senders/" + a.text("ID")
	for key, want := range map[string]string{
		"EmailAddress": "Shop@example.com", "Domain": "example.com", "Name": "The Shop", "ReplyToEmailAddress": "help@example.com", "Confirmed": "false", "SPFVerified": "true",
		"DKIMVerified": "false", "DKIMUpdateStatus": "Pending", "ReturnPathDomain": "pm.example.com", "ConfirmationPersonalNote": "please\npress", "DKIMTextValue": "",
	} {
		if a.text(key) != want {
			t.Errorf("%s of a new sender is %q, want %q", key, a.text(key), want)
		}
	}
	if len(c.asked) != 1 || c.asked[0].Email != "Shop@example.com" || c.asked[0].Note != "please\npress" {
		t.Errorf("asked %+v", c.asked)
	}
	if l := wantOK(t, r.asAccount("GET", "/domains?count=10&offset=0", "")); l.text("TotalCount") != "1" || l.list("Domains")[0]["Name"] != "example.com" {
		t.Errorf("the sender's domain is not there: %s", l.raw)
	}
	wantError(t, r.asAccount("POST", one+"/requestnewdkim", ""), 422, 505, "This DKIM is already being renewed.")
	if v := wantOK(t, r.asAccount("POST", one+"/verifyspf", "{}")); v.text("SPFVerified") != "true" || v.text("ID") != a.text("ID") {
		t.Errorf("verifyspf: %s", v.raw)
	}

	// Nothing is sent in the name of an address that has not been confirmed, whatever the server takes otherwise.
	mail := strings.Replace(simple, "a@x.example", "The Shop <shop@example.com>", 1)
	wantError(t, r.as("POST", "/email", mail), 422, 400, "The 'From' address you supplied (The Shop <shop@example.com>) is not a Sender Signature on your account. "+
		"Please add and confirm this address in order to be able to use it in the 'From' field of your messages.")
	wantOK(t, r.as("POST", "/email", simple))
	if m := wantOK(t, r.asAccount("POST", one+"/resend", "")); m.text("Message") != "Confirmation email for Sender Signature Shop@example.com was re-sent." || len(c.asked) != 2 {
		t.Errorf("resend: %s, asked %d times", m.raw, len(c.asked))
	}
	r.confirm("Shop@example.com")
	wantError(t, r.asAccount("POST", one+"/resend", ""), 422, 506)
	sent := wantOK(t, r.as("POST", "/email", mail))
	if octets := r.octets(sent.text("MessageID")); !strings.Contains(octets, "Reply-To: <help@example.com>\r\n") {
		t.Errorf("without the Reply-To of the sender:\n%s", octets)
	}
	sent = wantOK(t, r.as("POST", "/email", strings.Replace(mail, `"To"`, `"ReplyTo":"own@example.com","To"`, 1)))
	if octets := r.octets(sent.text("MessageID")); strings.Contains(octets, "help@") || !strings.Contains(octets, "own@example.com") {
		t.Errorf("not with its own Reply-To:\n%s", octets)
	}

	a = wantOK(t, r.asAccount("PUT", one, `{"Name":"Other","ReplyToEmail":"","FromEmail":"not@changed.example"}`))
	if a.text("Name") != "Other" || a.text("ReplyToEmailAddress") != "" || a.text("EmailAddress") != "Shop@example.com" || a.text("Confirmed") != "true" || a.text("ReturnPathDomain") != "pm.example.com" {
		t.Errorf("edited %s", a.raw)
	}
	if a = wantOK(t, r.asAccount("PUT", one, `{"ReturnPathDomain":""}`)); a.text("ReturnPathDomain") != "" {
		t.Errorf("edited %s", a.raw)
	}
	if l := wantOK(t, r.asAccount("GET", "/senders?count=10&offset=0", "")); l.text("TotalCount") != "1" || l.list("SenderSignatures")[0]["EmailAddress"] != "Shop@example.com" {
		t.Errorf("list %s", l.raw)
	}
	wantOK(t, r.asAccount("GET", one+"/", ""))
	if d := wantOK(t, r.asAccount("DELETE", one, "")); d.text("Message") != "Signature Shop@example.com removed." {
		t.Errorf("removed %s", d.raw)
	}
	wantError(t, r.asAccount("GET", one, ""), 422, 501)
	wantOK(t, r.as("POST", "/email", mail))
}

func TestSenders_NewKeyOnRequest(t *testing.T) {
	r := newRig(t, rigOptions{})
	a := wantOK(t, r.asAccount("POST", "/senders", `{"FromEmail":"a@mail.example.com","Name":"n"}`))
	r.zone.publish(a.text("DKIMPendingHost"), a.text("DKIMPendingTextValue"))
	for id := range r.store.Snapshot().Domains {
		wantOK(t, r.asAccount("PUT", "/domains/"+strconv.FormatInt(id, 10)+"/verifydkim", ""))
	}
	b := wantOK(t, r.asAccount("POST", "/senders/"+a.text("ID")+"/requestnewdkim", ""))
	if b.text("DKIMHost") != a.text("DKIMPendingHost") || b.text("DKIMPendingHost") == "" || b.text("DKIMPendingHost") == b.text("DKIMHost") {
		t.Errorf("rotated %s", b.raw)
	}
	// A domain that covers the address is enough.
	wantOK(t, r.asAccount("POST", "/senders", `{"FromEmail":"b@sub.mail.example.com","Name":"n"}`))
	if n := len(r.store.Snapshot().Domains); n != 1 {
		t.Errorf("%d domains, want 1", n)
	}
	// The domain being verified, its addresses need no confirmation.
	wantOK(t, r.as("POST", "/email", strings.Replace(simple, "a@x.example", "a@mail.example.com", 1)))
}

func TestSenders_WithoutConfirmations(t *testing.T) {
	r := newRig(t, rigOptions{})
	one := "/senders/" + wantOK(t, r.asAccount("POST", "/senders", `{"FromEmail":"a@example.com","Name":"n"}`)).text("ID")
	wantError(t, r.asAccount("POST", one+"/resend", ""), 422, 615, "operator")
	c := &confirmer{err: &intake.Refusal{Kind: intake.KindSuppressed, Reason: "r", Inactive: []string{"a@example.com"}}}
	r = newRig(t, rigOptions{api: api.Options{Confirmer: c}})
	one = "/senders/" + wantOK(t, r.asAccount("POST", "/senders", `{"FromEmail":"a@example.com","Name":"n"}`)).text("ID")
	wantError(t, r.asAccount("POST", one+"/resend", ""), 422, 406)
	c.err = &intake.Refusal{Kind: intake.KindFull}
	wantError(t, r.asAccount("POST", one+"/resend", ""), 503, 100)
	c.err = &intake.Refusal{Kind: intake.KindBusy, Reason: "too often"}
	if a := r.asAccount("POST", one+"/resend", ""); a.header.Get("Retry-After") != "600" {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	} else {
		wantError(t, a, 429, 429, "Too often.")
	}
	c.err = &intake.Refusal{Kind: intake.KindStream}
	wantError(t, r.asAccount("POST", one+"/resend", ""), 500, 101)
}

func TestSenders_Refusals(t *testing.T) {
	r := newRig(t, rigOptions{})
	one := "/senders/" + wantOK(t, r.asAccount("POST", "/senders", `{"FromEmail":"a@example.com","Name":"n"}`)).text("ID")
	long := strings.Repeat("x", 256)
	for _, tt := range []struct {
		method, path, body string
		code               int
	}{
		{"GET", "/senders", "", 500}, {"GET", "/senders?count=0&offset=0", "", 500},
		{"POST", "/senders", "", 520}, {"POST", "/senders", `{"FromEmail":"b@example.com"}`, 520}, {"POST", "/senders", `{"Name":"n"}`, 520},
		{"POST", "/senders", `{"FromEmail":"` + long + `@example.com","Name":"n"}`, 521}, {"POST", "/senders", `{"FromEmail":"b@example.com","Name":"` + long + `"}`, 521},
		{"POST", "/senders", `{"FromEmail":"b@example.com","Name":"n","ConfirmationPersonalNote":"` + long + long + `"}`, 521},
		{"POST", "/senders", `{"FromEmail":"b","Name":"n"}`, 522}, {"POST", "/senders", `{"FromEmail":"<b@example.com>","Name":"n"}`, 522},
		{"POST", "/senders", `{"FromEmail":"b@[192.0.2.1]","Name":"n"}`, 522}, {"POST", "/senders", `{"FromEmail":"b@example.com","Name":"a\nb"}`, 522},
		{"POST", "/senders", `{"FromEmail":"b@example.com","Name":"n","ReplyToEmail":"x"}`, 522}, {"POST", "/senders", `{"FromEmail":"b@example.com","Name":"n","ReturnPathDomain":"pm.other.example"}`, 522},
		{"POST", "/senders", `{"FromEmail":"b@gmail.com","Name":"n"}`, 503}, {"POST", "/senders", `{"FromEmail":"A@EXAMPLE.com","Name":"n"}`, 504},
		{"GET", "/senders/99", "", 501}, {"GET", "/senders/x", "", 501}, {"PUT", "/senders/99", `{"Name":"x"}`, 501}, {"DELETE", "/senders/99", "", 501},
		{"POST", "/senders/99/resend", "", 501}, {"POST", "/senders/99/verifyspf", "", 501}, {"POST", "/senders/99/requestnewdkim", "", 501},
		{"PUT", one, "", 502}, {"PUT", one, `{"Name":""}`, 520}, {"PUT", one, `{"ReplyToEmail":"x"}`, 522}, {"PUT", one, `{"ReturnPathDomain":"x.example"}`, 522},
		{"POST", "/senders", `{"FromEmail":[]}`, 403},
	} {
		t.Run(tt.method+tt.path+tt.body, func(t *testing.T) { wantError(t, r.asAccount(tt.method, tt.path, tt.body), 422, tt.code) })
	}
	if n := len(r.store.Snapshot().Signatures); n != 1 {
		t.Errorf("%d senders after the refusals", n)
	}
	wantOK(t, r.asAccount("DELETE", "/domains/"+strconv.FormatInt(firstDomain(r), 10), ""))
	wantError(t, r.asAccount("POST", one+"/requestnewdkim", ""), 422, 510)
}

func firstDomain(r *rig) int64 {
	for id := range r.store.Snapshot().Domains {
		return id
	}
	return 0
}
