package message

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	l63 := strings.Repeat("a", 63)
	long := strings.Repeat(l63+".", 3) // 192 octets
	tests := []struct {
		name, in  string
		opts      PathOptions
		local     string
		wire, key string
		err       error
	}{
		{name: "plain", in: "<Ann.O'Neil+tag@Example.ORG>", local: "Ann.O'Neil+tag", wire: "Ann.O'Neil+tag@Example.ORG", key: "example.org"},
		{name: "without brackets", in: "a@example.org", local: "a", wire: "a@example.org", key: "example.org"},
		{name: "quoted", in: `<"a b"@example.org>`, local: "a b", wire: `"a b"@example.org`, key: "example.org"},
		{name: "quoted without need", in: `<"ab"@example.org>`, local: "ab", wire: "ab@example.org", key: "example.org"},
		{name: "quoted pairs", in: `<"a\"\\\b@>"@example.org>`, local: `a"\b@>`, wire: `"a\"\\b@>"@example.org`, key: "example.org"},
		{name: "source route", in: "<@one.example,@two.example:a@example.org>", local: "a", wire: "a@example.org", key: "example.org"},
		{name: "IPv4 literal", in: "<a@[192.0.2.1]>", local: "a", wire: "a@[192.0.2.1]", key: "[192.0.2.1]"},
		{name: "IPv6 literal", in: "<a@[ipv6:2001:DB8:0::1]>", local: "a", wire: "a@[ipv6:2001:DB8:0::1]", key: "[IPv6:2001:db8::1]"},
		{name: "UTF-8", in: "<jürgen@BÜCHER.example>", opts: PathOptions{UTF8: true}, local: "jürgen", wire: "jürgen@BÜCHER.example", key: "xn--bcher-kva.example"},
		{name: "ideographic full stop", in: "<a@例え。example>", opts: PathOptions{UTF8: true}, local: "a", wire: "a@例え。example", key: "xn--r8jz45g.example"},
		{name: "postmaster alone", in: "<PostMaster>", opts: PathOptions{BarePostmaster: true}, local: "PostMaster", wire: "PostMaster"},
		{name: "local 64", in: "<a" + l63 + "@example.org>", local: "a" + l63, wire: "a" + l63 + "@example.org", key: "example.org"},
		{name: "path 257", in: "<" + l63[:52] + "@" + long + "example.org>", err: ErrAddressTooLong},
		{name: "path 256", in: "<" + l63[:50] + "@" + long + "example.org>", local: l63[:50], wire: l63[:50] + "@" + long + "example.org", key: long + "example.org"},

		{name: "name over 253 once in A-labels", in: "<a@" + strings.Repeat("ü.", 60) + "example>", opts: PathOptions{UTF8: true}, err: ErrAddressTooLong},

		{name: "unquoted space", in: "a b@example.org", opts: PathOptions{Unquoted: true}, local: "a b", wire: `"a b"@example.org`, key: "example.org"},
		{name: "unquoted parameter", in: "a> SIZE=1@example.org", opts: PathOptions{Unquoted: true}, local: "a> SIZE=1", wire: `"a> SIZE=1"@example.org`, key: "example.org"},
		{name: "unquoted at sign", in: "a@b@example.org", opts: PathOptions{Unquoted: true}, local: "a@b", wire: `"a@b"@example.org`, key: "example.org"},
		{name: "unquoted quote", in: `a"\b@example.org`, opts: PathOptions{Unquoted: true}, local: `a"\b`, wire: `"a\"\\b"@example.org`, key: "example.org"},
		{name: "unquoted brackets", in: "<a@example.org>", opts: PathOptions{Unquoted: true}, err: ErrAddressSyntax},
		{name: "unquoted, too long once quoted", in: l63 + " @example.org", opts: PathOptions{Unquoted: true}, err: ErrAddressTooLong},
		{name: "unquoted without local part", in: "@example.org", opts: PathOptions{Unquoted: true}, err: ErrAddressSyntax},

		{name: "S22 syntax: no domain", in: "<a>", err: ErrAddressSyntax},
		{name: "S22 syntax: no local part", in: "<@example.org>", err: ErrAddressSyntax},
		{name: "S22 syntax: empty quoted local part", in: `<""@example.org>`, err: ErrAddressSyntax},
		{name: "S22 syntax: one bracket", in: "<a@example.org", err: ErrAddressSyntax},
		{name: "S22 syntax: bracket inside", in: "<a@example.org> SIZE=1>", err: ErrAddressSyntax},
		{name: "S22 syntax: space", in: "<a b@example.org>", err: ErrAddressSyntax},
		{name: "S22 syntax: two dots", in: "<a..b@example.org>", err: ErrAddressSyntax},
		{name: "S22 syntax: last dot", in: "<a.@example.org>", err: ErrAddressSyntax},
		{name: "S22 syntax: first dot", in: "<.a@example.org>", err: ErrAddressSyntax},
		{name: "S22 syntax: two at signs", in: "<a@b@example.org>", err: ErrAddressSyntax},
		{name: "S22 syntax: open quote", in: `<"a@example.org>`, err: ErrAddressSyntax},
		{name: "S22 syntax: text behind quote", in: `<"a"b@example.org>`, err: ErrAddressSyntax},
		{name: "S22 syntax: backslash at end", in: `"a\`, err: ErrAddressSyntax},
		{name: "S22 syntax: underscore in domain", in: "<a@exa_mple.org>", err: ErrAddressSyntax},
		{name: "S22 syntax: hyphen first", in: "<a@-example.org>", err: ErrAddressSyntax},
		{name: "S22 syntax: dot last", in: "<a@example.org.>", err: ErrAddressSyntax},
		{name: "S22 syntax: label 64", in: "<a@" + l63 + "a.org>", err: ErrAddressSyntax},
		{name: "S22 syntax: bad route", in: "<@one.example,two.example:a@example.org>", err: ErrAddressSyntax},
		{name: "S22 syntax: route alone", in: "<@one.example:>", err: ErrAddressSyntax},
		{name: "S22 syntax: name IDNA refuses", in: "<a@ex ample。org>", opts: PathOptions{UTF8: true}, err: ErrAddressSyntax},
		{name: "S22 syntax: no UTF-8", in: "<a\xff@example.org>", opts: PathOptions{UTF8: true}, err: ErrAddressSyntax},
		{name: "S22 path over 256", in: "<a@" + long + l63 + ".org>", err: ErrAddressTooLong},
		{name: "S22 control", in: "<\"a\tb\"@example.org>", err: ErrAddressControl},
		{name: "S22 CR LF", in: "<a@example.org>\r\nRCPT", err: ErrAddressControl},
		{name: "S22 NUL", in: "<a\x00@example.org>", err: ErrAddressControl},
		{name: "S22 DEL", in: "<a\x7f@example.org>", err: ErrAddressControl},
		{name: "S22 C1 control", in: "<a\u0085@example.org>", opts: PathOptions{UTF8: true}, err: ErrAddressControl},
		{name: "S22 UTF-8 local part without SMTPUTF8", in: "<jürgen@example.org>", err: ErrAddressUTF8},
		{name: "S22 UTF-8 domain without SMTPUTF8", in: "<a@bücher.example>", err: ErrAddressUTF8},
		{name: "S22 not fully qualified", in: "<root@localhost>", err: ErrAddressNotFQDN},

		{name: "S28 null", in: "<>", err: ErrAddressNull},
		{name: "S28 null without brackets", in: "", err: ErrAddressNull},
		{name: "S28 null is syntax", in: "<>", opts: PathOptions{BarePostmaster: true}, err: ErrAddressSyntax},
		{name: "S28 postmaster without the flag", in: "<postmaster>", err: ErrAddressSyntax},
		{name: "S28 local 65", in: "<ab" + l63 + "@example.org>", err: ErrAddressTooLong},
		{name: "S28 domain 256", in: "<a@" + long + l63 + ".org>", err: ErrAddressTooLong},
		{name: "S28 control", in: "<a\x01@example.org>", err: ErrAddressControl},
		{name: "S28 literal: not an address", in: "<a@[300.1.1.1]>", err: ErrAddressLiteral},
		{name: "S28 literal: leading zero", in: "<a@[010.1.1.1]>", err: ErrAddressLiteral},
		{name: "S28 literal: open", in: "<a@[192.0.2.1>", err: ErrAddressLiteral},
		{name: "S28 literal: empty", in: "<a@[]>", err: ErrAddressLiteral},
		{name: "S28 literal: IPv6 without tag", in: "<a@[2001:db8::1]>", err: ErrAddressLiteral},
		{name: "S28 literal: IPv4 with tag", in: "<a@[IPv6:192.0.2.1]>", err: ErrAddressLiteral},
		{name: "S28 literal: zone", in: "<a@[IPv6:fe80::1%eth0]>", err: ErrAddressLiteral},
		{name: "S28 literal: unknown tag", in: "<a@[X25:123]>", err: ErrAddressLiteral},
		{name: "S28 literal: brackets missing", in: "<a@192.0.2.1>", err: ErrAddressLiteral},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := tt.opts.Parse(tt.in)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if tt.err != nil {
				return
			}
			if a.Local != tt.local || a.String() != tt.wire {
				t.Fatalf("got local part %q, wire form %q, want %q, %q", a.Local, a, tt.local, tt.wire)
			}
			key, err := Destination(a)
			if key != tt.key || (err != nil) != (tt.key == "") {
				t.Fatalf("destination %q, %v, want %q", key, err, tt.key)
			}
		})
	}
}

func TestFromUnquoted(t *testing.T) {
	for in, want := range map[string]string{"a> SIZE=1@example.org": `"a> SIZE=1"@example.org`, "a@b@example.org": `"a@b"@example.org`, "a@example.org": "a@example.org"} {
		if a, err := FromUnquoted(in, false); err != nil || a.String() != want {
			t.Errorf("%q: %v, %v", in, a, err)
		}
	}
	if _, err := FromUnquoted("ä@example.org", false); !errors.Is(err, ErrAddressUTF8) {
		t.Errorf("got %v", err)
	}
	if s := (Address{}).String(); s != "" {
		t.Errorf("the null path is %q", s)
	}
}

func TestPrivateLiteral(t *testing.T) {
	tests := []struct {
		domain string
		want   bool
	}{
		{"[192.0.2.1]", false},
		{"[8.8.8.8]", false},
		{"[IPv6:2001:db8::1]", false},
		{"[IPv6:64:ff9b::808:808]", false},
		{"example.org", false},
		{"[127.0.0.1]", true},
		{"[127.255.1.1]", true},
		{"[0.0.0.0]", true},
		{"[0.1.2.3]", true},
		{"[10.1.2.3]", true},
		{"[172.16.0.1]", true},
		{"[192.168.1.1]", true},
		{"[100.64.0.1]", true},
		{"[169.254.169.254]", true},
		{"[224.0.0.1]", true},
		{"[255.255.255.255]", true},
		{"[IPv6:::]", true},
		{"[IPv6:::1]", true},
		{"[IPv6:fe80::1]", true},
		{"[IPv6:fec0::1]", true},
		{"[IPv6:fd00::1]", true},
		{"[IPv6:ff02::1]", true},
		{"[IPv6:::ffff:127.0.0.1]", true},
		{"[IPv6:::ffff:10.0.0.1]", true},
		{"[IPv6:::127.0.0.1]", true},
		{"[IPv6:64:ff9b::7f00:1]", true},
		{"[IPv6:2002:7f00:1::]", true},
		{"[IPv6:2001::1]", true},
	}
	for _, tt := range tests {
		t.Run("S29 "+tt.domain, func(t *testing.T) {
			a, err := ParsePath("a@"+tt.domain, false)
			if err != nil {
				t.Fatal(err)
			}
			if got := a.PrivateLiteral(); got != tt.want {
				t.Fatalf("private: %v, want %v", got, tt.want)
			}
			if _, ok := a.LiteralIP(); ok != strings.HasPrefix(tt.domain, "[") {
				t.Fatalf("literal: %v", ok)
			}
		})
	}
	if !PrivateIP(netip.Addr{}) {
		t.Error("no address at all counts as public")
	}
}

func TestAddressEqual(t *testing.T) {
	tests := []struct {
		a, b Address
		want bool
	}{
		{Address{"a", "example.org"}, Address{"a", "EXAMPLE.org"}, true},
		{Address{"a", "example.org"}, Address{"A", "example.org"}, false},
		{Address{"Postmaster", "example.org"}, Address{"POSTMASTER", "example.org"}, true},
		{Address{"a", "bücher.example"}, Address{"a", "XN--BCHER-kva.example"}, true},
		{Address{"a", "[IPv6:::1]"}, Address{"a", "[ipv6:0:0::1]"}, true},
		{Address{"a", "example.org"}, Address{"a", "example.com"}, false},
		{Address{}, Address{}, true},
		{Address{"postmaster", ""}, Address{"postmaster", "example.org"}, false},
	}
	for _, tt := range tests {
		if got := tt.a.Equal(tt.b); got != tt.want || tt.b.Equal(tt.a) != tt.want {
			t.Errorf("%v and %v: %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestAddressASCII(t *testing.T) {
	for a, want := range map[Address]bool{{"a", "example.org"}: true, {"ä", "example.org"}: false, {"a", "bücher.example"}: false, {}: true} {
		if a.ASCII() != want {
			t.Errorf("%v: %v", a, a.ASCII())
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"<a@example.org>", `"a b\""@example.org`, "a> SIZE=1@example.org", "<@a.example:b@example.org>", "a@[IPv6:::1]", "ä@bücher.example", "postmaster", `a\@b.c`, "a@b。c"} {
		f.Add(s, false, false)
		f.Add(s, true, true)
	}
	f.Fuzz(func(t *testing.T, s string, utf8, unquoted bool) {
		a, err := PathOptions{UTF8: utf8, Unquoted: unquoted}.Parse(s)
		if err != nil {
			return
		}
		wire := "<" + a.String() + ">"
		again, err := ParsePath(wire, utf8)
		if err != nil || again != a || again.String() != a.String() {
			t.Fatalf("%q became %q, and that %q, %v", s, wire, again, err)
		}
		if len(wire) > maxPath || !utf8 && !a.ASCII() || checkText(wire, true) != nil {
			t.Fatalf("%q became the unsafe %q", s, wire)
		}
		if closing := outsideQuotes(wire, '>'); closing != len(wire)-1 {
			t.Fatalf("%q became %q, which ends early", s, wire)
		}
		if blank := outsideQuotes(wire, ' '); blank >= 0 {
			t.Fatalf("%q became %q, which has a second word", s, wire)
		}
		if key, err := Destination(a); err != nil || !isASCII(key) || key != strings.ToLower(key) && key[0] != '[' {
			t.Fatalf("%q has destination %q, %v", s, key, err)
		}
	})
}

// outsideQuotes returns the index of the first c that is not in a quoted string, or -1.
func outsideQuotes(s string, c byte) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case !quoted && s[i] == c:
			return i
		}
	}
	return -1
}
