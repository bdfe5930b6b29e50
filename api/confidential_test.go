package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/store"
)

// An account reads the server tokens of its servers, and with one of them what
// was sent. A link that proves who owns an address must not be there.
func TestMessages_ConfirmationIsForTheOwnerAlone(t *testing.T) {
	r := newRig(t, rigOptions{})
	in := intake.New(r.store, r.store, intake.Options{Hostname: "relay.example", Suppressions: r.store, Known: r.store})
	id, err := in.Submit(t.Context(), intake.Envelope{
		Principal: auth.Principal{Kind: store.CredentialConfirmation, Server: 1, Stream: "outbound"}, From: "post@x.example",
		Recipients: []intake.Recipient{{Address: "owner@y.example"}}, Protocol: "local",
	}, strings.NewReader("From: post@x.example\r\nSubject: Confirm\r\n\r\nhttps://x.example/confirm/secret\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	l := wantOK(t, r.as("GET", "/messages/outbound?count=10&offset=0", ""))
	if m := l.list("Messages"); len(m) != 1 || m[0]["MessageID"] != id.String() {
		t.Errorf("list %s, want the message", l.raw)
	}
	for _, what := range []string{"details", "dump"} {
		a := r.as("GET", "/messages/outbound/"+id.String()+"/"+what, "")
		wantError(t, a, http.StatusUnprocessableEntity, 701, "not found")
		if strings.Contains(string(a.raw), "secret") {
			t.Errorf("%s has the link: %s", what, a.raw)
		}
	}
	r.refuse(id, "owner@y.example", "HardBounce", time.Now())
	l = wantOK(t, r.as("GET", "/bounces?count=10&offset=0", ""))
	if b := l.list("Bounces"); len(b) != 1 || b[0]["DumpAvailable"] != false {
		t.Errorf("bounces %s, want one without a dump", l.raw)
	}
}
