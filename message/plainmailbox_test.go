package message

import (
	"net/mail"
	"testing"
)

func TestPlainMailbox(t *testing.T) {
	tests := []struct {
		value string
		want  Mailbox
		plain bool
	}{
		{"ada@example.org", Mailbox{Address: Address{Local: "ada", Domain: "example.org"}}, true},
		{"<ada@example.org>", Mailbox{Address: Address{Local: "ada", Domain: "example.org"}}, true},
		{"Ada Lovelace 2 <ada.l+x@example.org>", Mailbox{Name: "Ada Lovelace 2", Address: Address{Local: "ada.l+x", Domain: "example.org"}}, true},
		{value: ""},
		{value: "ada"},
		{value: "ada@"},
		{value: "@example.org"},
		{value: "a@b@c"},
		{value: "ada@example.org, bob@example.org"},
		{value: "Ada<ada@example.org>"},
		{value: "Ada  Lovelace <ada@example.org>"},
		{value: " <ada@example.org>"},
		{value: "=?utf-8?q?Ada?= <ada@example.org>"},
		{value: `"Ada" <ada@example.org>`},
		{value: "Ada <ada@example.org> (her)"},
		{value: "ada@[192.0.2.1]"},
		{value: "ada@example.org."},
		{value: "ada@exämple.org"},
	}
	for _, test := range tests {
		got, plain := plainMailbox(test.value)
		if plain != test.plain || got != test.want {
			t.Errorf("plainMailbox(%q) = %+v, %v, want %+v, %v", test.value, got, plain, test.want, test.plain)
		}
	}
}

// FuzzPlainMailbox shows that the short way never says what the long one would not.
func FuzzPlainMailbox(f *testing.F) {
	for _, s := range []string{"ada@example.org", "Ada L <a.b@c.d>", "<a@b>", "a b@c", "A B <a@b> x", "A <a@b>, B <c@d>", "a{}@b|", "A: a@b;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got, plain := plainMailbox(value)
		if !plain {
			return
		}
		want, err := mail.ParseAddressList(value)
		if err != nil || len(want) != 1 {
			t.Fatalf("%q is taken as %+v, but net/mail says %v, %v", value, got, want, err)
		}
		if want[0].Name != got.Name || want[0].Address != got.Address.Local+"@"+got.Address.Domain {
			t.Errorf("%q is %+v, but net/mail says %+v", value, got, want[0])
		}
	})
}
