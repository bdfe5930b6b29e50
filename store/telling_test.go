package store

import "testing"

func TestEvent_Diagnostic(t *testing.T) {
	for _, tc := range []struct {
		e    Event
		want string
	}{
		{Event{Reply: Reply{Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "no such user"}}, "smtp;550 5.1.1 no such user"},
		{Event{Reply: Reply{Code: 421, Text: "busy"}}, "smtp;421 busy"},
		{Event{Reply: Reply{Text: "reading the password file for 192.0.2.1: permission denied", Command: "auth", Enhanced: [3]int{4, 3, 0}}, Detail: "given up"},
			"4.3.0 this mail system could not pass the message on"},
		{Event{Reply: Reply{Text: "looking up MX of x.example at 192.0.2.53: refused", Command: "dns"}}, "the mail hosts of the destination could not be looked up"},
		{Event{Detail: "kept by the stream"}, "kept by the stream"},
		{Event{}, ""},
	} {
		if got := tc.e.Diagnostic(); got != tc.want {
			t.Errorf("Diagnostic of %+v = %q, want %q", tc.e, got, tc.want)
		}
	}
}

func TestRecord_Dump(t *testing.T) {
	back, notice := NewID(), NewID()
	r := Record{Events: []Event{
		{Kind: EventBounced, Part: 1, Attempt: 2},
		{Kind: EventNotice, Part: 1, Attempt: 2, Detail: "notice (delayed) to the sender for 1 recipients", Notice: NewID()},
		{Kind: EventNotice, Part: 1, Attempt: 2, Detail: "notice (failed) to the sender for 1 recipients", Notice: notice},
	}}
	for _, tc := range []struct {
		e    Event
		want ID
	}{
		{Event{Part: 1, Attempt: 2, Notice: back}, back},
		{Event{Part: 1, Attempt: 2}, notice},
		{Event{Part: 0, Attempt: 2}, ID{}},
	} {
		if got := r.Dump(tc.e); got != tc.want {
			t.Errorf("Dump(%+v) = %s, want %s", tc.e, got, tc.want)
		}
	}
}

func TestMessage_Author(t *testing.T) {
	for from, want := range map[string]string{
		"": "path@x.example", "a@x.example": "a@x.example", "Ada <a@x.example>": "a@x.example", "Ada, Countess <a@x.example>": "a@x.example", "nobody": "path@x.example",
	} {
		m := Message{From: "path@x.example", Header: Display{From: from}}
		if got := m.Author(); got != want {
			t.Errorf("Author of %q = %q, want %q", from, got, want)
		}
	}
}
