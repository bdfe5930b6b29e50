package intake_test

import (
	"strings"
	"testing"
)

// TestSubmit_WhatAMessageSaysOfTLS: the envelope's demand counts, the field's wish only without it, and the field stays.
func TestSubmit_WhatAMessageSaysOfTLS(t *testing.T) {
	for _, c := range []struct {
		name           string
		demand         bool
		fields         string
		require, spare bool
	}{
		{name: "nothing"},
		{name: "REQUIRETLS", demand: true, require: true},
		{name: "field", fields: "TLS-Required: No\r\n", spare: true},
		{name: "field in other letters", fields: "tls-required:\r\n  nO \r\n", spare: true},
		{name: "both", demand: true, fields: "TLS-Required: No\r\n", require: true},
		{name: "another value", fields: "TLS-Required: Yes\r\n"},
		{name: "twice", fields: "TLS-Required: No\r\nTLS-Required: No\r\n"},
		{name: "empty", fields: "TLS-Required:\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := account(t)
			e := envelope(serverToken)
			e.RequireTLS = c.demand
			if _, err := newIntake(s).Submit(t.Context(), e, strings.NewReader(c.fields+simple)); err != nil {
				t.Fatal(err)
			}
			if s.message.RequireTLS != c.require || s.message.TLSOptional != c.spare {
				t.Errorf("REQUIRETLS %v, optional %v, want %v and %v", s.message.RequireTLS, s.message.TLSOptional, c.require, c.spare)
			}
			if !strings.Contains(string(s.body), c.fields) {
				t.Errorf("the field is gone:\n%s", s.body)
			}
		})
	}
}
