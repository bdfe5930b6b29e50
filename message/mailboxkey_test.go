package message_test

import (
	"strings"
	"testing"

	"github.com/mailchute/mailchute/message"
)

func TestMailboxKey(t *testing.T) {
	for in, want := range map[string]string{
		"ada@example.org":           "ada@example.org",
		"<Ada@Example.ORG>":         "ada@example.org",
		"Ada+News@example.org":      "ada+news@example.org",
		"a.d.a@example.org":         "a.d.a@example.org",
		`"ada"@example.org`:         "ada@example.org",
		`"Ada L"@example.org`:       `"ada l"@example.org`,
		"ADA@BÜCHER.example":        "ada@xn--bcher-kva.example",
		"ada@XN--BCHER-KVA.example": "ada@xn--bcher-kva.example",
		"Äda@example.org":           "äda@example.org",
		"ada@[IPv6:2001:DB8::1]":    "ada@[ipv6:2001:db8::1]",
	} {
		got, err := message.MailboxKey(in)
		if err != nil || got != want {
			t.Errorf("MailboxKey(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "<>", "ada", "ada@", "@example.org", "ada@example", "a b@example.org", "ada@example.org\r\n"} {
		if got, err := message.MailboxKey(in); err == nil {
			t.Errorf("MailboxKey(%q) = %q, want an error", in, got)
		}
	}
}

// FuzzMailboxKey: the form is stable, so that what was put on a list is found there.
func FuzzMailboxKey(f *testing.F) {
	for _, s := range []string{"Ada@Example.org", `"A \" b"@x.org`, "İ@x.org", "K@x.org", "ada@[192.0.2.1]", "ß@straße.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if short, err := message.MailboxKey(in); err == nil && !strings.HasPrefix(in, "<") { // brackets keep it from being its own key
			if long, err := message.MailboxKey("<" + in + ">"); err != nil || long != short {
				t.Fatalf("MailboxKey(%q) = %q, in brackets %q, %v", in, short, long, err)
			}
		}
		once, err := message.MailboxKey(in)
		if err != nil {
			return
		}
		if once != strings.ToLower(once) || !strings.Contains(once, "@") {
			t.Errorf("MailboxKey(%q) = %q", in, once)
		}
		if twice, err := message.MailboxKey(once); err == nil && twice != once {
			t.Errorf("MailboxKey(%q) = %q, and of that %q", in, once, twice)
		}
	})
}
