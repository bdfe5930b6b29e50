package api_test

import "testing"

// TestEmail_TLSOptional: the field of RFC 8689 works over HTTP, too.
func TestEmail_TLSOptional(t *testing.T) {
	r := newRig(t, rigOptions{})
	a := r.as("POST", "/email", `{"From": "shop@x.example", "To": "jane@y.example", "TextBody": "hello", "Headers": [{"Name": "TLS-Required", "Value": "No"}]}`)
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	if m := r.record(a.text("MessageID")).Message; !m.TLSOptional || m.RequireTLS {
		t.Errorf("%+v", m)
	}
}
