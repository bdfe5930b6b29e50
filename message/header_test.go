package message

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// mustHeader parses a header section given with LF for line ends, without its blank line.
func mustHeader(t testing.TB, s string) *Header {
	t.Helper()
	h, _, err := ReadHeader(strings.NewReader(strings.ReplaceAll(s, "\n", "\r\n")+"\r\n"), HeaderLimits{UTF8: true})
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return h
}

func TestReadHeader(t *testing.T) {
	small := HeaderLimits{MaxBytes: 20, MaxFields: 2}
	tests := []struct {
		name, in string
		limits   HeaderLimits
		fields   int
		body     string
		err      error
	}{
		{name: "ordinary", in: "A: b\r\nC: d\r\n e\r\n\r\nbody\r\n", fields: 2, body: "body\r\n"},
		{name: "empty message", in: ""},
		{name: "no header", in: "\r\nbody\r\n", body: "body\r\n"},
		{name: "no body", in: "A: b\r\n\r\n", fields: 1},
		{name: "no blank line", in: "A: b\r\nC: d\r\n", fields: 2},
		{name: "empty field body", in: "A:\r\n\r\n", fields: 1},
		{name: "body that looks like fields", in: "A: b\r\n\r\nC: d\r\n", fields: 1, body: "C: d\r\n"},
		{name: "continuation of blanks", in: "A: b\r\n \r\nC: d\r\n\r\n", fields: 2},

		{name: "S40 no colon", in: "A: b\r\nhello\r\n\r\n", err: ErrHeaderSyntax},
		{name: "S40 no colon in the first line", in: "hello\r\n\r\n", err: ErrHeaderSyntax},
		{name: "S40 no colon and no blank line", in: "hello\r\n", err: ErrHeaderSyntax},
		{name: "S40 no name", in: ": b\r\n\r\n", err: ErrHeaderSyntax},
		{name: "S40 blank in name", in: "A b: c\r\n\r\n", err: ErrHeaderSyntax},
		{name: "S40 blank before colon", in: "From : a@example.org\r\n\r\n", err: ErrHeaderSyntax},
		{name: "S40 mbox line", in: "From a@example.org Mon Jan  1 10:00:00 2024\r\nA: b\r\n\r\n", err: ErrHeaderSyntax},
		{name: "S40 continuation first", in: " b\r\nA: b\r\n\r\n", err: ErrHeaderSyntax},
		{name: "S40 8-bit name", in: "\xc3\xa4: b\r\n\r\n", limits: HeaderLimits{UTF8: true}, err: ErrHeaderSyntax},
		{name: "S40 bare LF", in: "A: b\nC: d\r\n\r\n", err: ErrHeaderSyntax},
		{name: "S40 bare CR", in: "A: b\rC: d\r\n\r\n", err: ErrHeaderSyntax},
		{name: "S40 NUL", in: "A: \x00\r\n\r\n", err: ErrHeaderSyntax},
		{name: "S40 line without end", in: "A: b\r\nC: d", err: ErrHeaderSyntax},
		{name: "S40 8-bit without SMTPUTF8", in: "A: \xc3\xa4\r\n\r\n", err: ErrHeader8Bit},
		{name: "S40 UTF-8 with SMTPUTF8", in: "A: \xc3\xa4\r\n\r\n", limits: HeaderLimits{UTF8: true}, fields: 1},
		{name: "S40 8-bit that is no UTF-8", in: "A: \xe4\r\n\r\n", limits: HeaderLimits{UTF8: true}, err: ErrHeader8Bit},
		{name: "S40 8-bit body", in: "A: b\r\n\r\n\xe4\r\n", fields: 1, body: "\xe4\r\n"},
		{name: "S40 bytes at the limit", in: "A: 45678901234567\r\n\r\nbody is not counted\r\n", limits: HeaderLimits{MaxBytes: 19}, fields: 1, body: "body is not counted\r\n"},
		{name: "S40 bytes over the limit", in: "A: 456789012345678\r\n\r\n", limits: HeaderLimits{MaxBytes: 19}, err: ErrHeaderTooLarge},
		{name: "S40 bytes over the limit, no blank line", in: "A: b\r\nC: 2345678901234567890\r\n", limits: small, err: ErrHeaderTooLarge},
		{name: "S40 bytes over the limit, no line end", in: strings.Repeat("x", 60), limits: small, err: ErrHeaderTooLarge},
		{name: "S40 syntax goes before size", in: "hello\r\n" + strings.Repeat("x", 60), limits: small, err: ErrHeaderSyntax},
		{name: "S40 fields at the limit", in: "A: b\r\nC: d\r\n\r\n", limits: small, fields: 2},
		{name: "S40 fields over the limit", in: "A: b\r\nC: d\r\nE: f\r\n\r\n", limits: small, err: ErrHeaderFields},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachSplit(t, tt.in, func(t *testing.T, r io.Reader) {
				h, body, err := ReadHeader(r, tt.limits)
				if !errors.Is(err, tt.err) || err != nil && !errors.Is(err, ErrHeader) {
					t.Fatalf("error %v, want %v", err, tt.err)
				}
				if tt.err != nil {
					return
				}
				rest, err := readIn(body, 3)
				if err != nil || string(rest) != tt.body || h.Len() != tt.fields {
					t.Fatalf("%d fields, body %q, %v, want %d, %q", h.Len(), rest, err, tt.fields, tt.body)
				}
				if got := string(h.Bytes()) + string(rest); got != tt.in || h.Size() != int64(len(tt.in)-len(rest)) {
					t.Fatalf("wrote %q, size %d", got, h.Size())
				}
			})
		})
	}
}

func TestReadHeaderDefaultLimits(t *testing.T) {
	field := "X: " + strings.Repeat("v", 95) + "\r\n" // 100 octets
	for _, tt := range []struct {
		name, in string
		err      error
	}{
		{"1,000 fields", strings.Repeat(field, 1000), nil},
		{"S40 1,001 fields", strings.Repeat("X: v\r\n", 1001), ErrHeaderFields},
		{"100 KiB", strings.Repeat(field, 10) + "Y: " + strings.Repeat("v", 100<<10-1005) + "\r\n", nil},
		{"S40 100 KiB and one", strings.Repeat(field, 10) + "Y: " + strings.Repeat("v", 100<<10-1004) + "\r\n", ErrHeaderTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := tt.in + "\r\nbody\r\n"
			h, body, err := ReadHeader(strings.NewReader(in), HeaderLimits{})
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			var out bytes.Buffer
			_, err1 := h.WriteTo(&out)
			_, err2 := io.Copy(&out, body)
			if errors.Join(err1, err2) != nil || out.String() != in {
				t.Fatalf("the message changed: %v, %v", err1, err2)
			}
		})
	}
}

func TestReadHeaderPassesSourceError(t *testing.T) {
	broken := errors.New("connection lost")
	for _, in := range []string{"", "A: b\r\n"} {
		_, _, err := ReadHeader(io.MultiReader(strings.NewReader(in), failing{broken}), HeaderLimits{})
		if !errors.Is(err, broken) || errors.Is(err, ErrHeader) {
			t.Errorf("%q: %v", in, err)
		}
	}
	_, body, err := ReadHeader(io.MultiReader(strings.NewReader("A: b\r\n\r\nbody"), failing{broken}), HeaderLimits{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(body); string(got) != "body" || !errors.Is(err, broken) {
		t.Errorf("body %q, %v", got, err)
	}
	torn := fmt.Errorf("reading chunk: %w", io.EOF)
	if _, _, err := ReadHeader(io.MultiReader(strings.NewReader("A: b\r\n"), failing{torn}), HeaderLimits{}); !errors.Is(err, torn) {
		t.Errorf("a torn message counts as whole: %v", err)
	}
	if _, _, err := ReadHeader(failing{nil}, HeaderLimits{}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("source without progress: %v", err)
	}
}

func TestHeaderAccess(t *testing.T) {
	h := mustHeader(t, "Subject: =?iso-2022-jp?B?GyRCRnxLXBsoQg==?=\n =?utf-8?q?_caf=C3=A9?=\nX-A: one\nx-a:  two\n\tthree \nX-B: =?x-unknown?q?raw?=\n")
	if got := h.Get("SUBJECT"); got != "日本 café" {
		t.Errorf("Get decoded %q", got)
	}
	if diff := cmp.Diff([]string{"one", "two\tthree"}, h.All("X-A")); diff != "" {
		t.Errorf("All: %s", diff)
	}
	if got := h.Get("X-B"); got != "=?x-unknown?q?raw?=" {
		t.Errorf("unknown charset: %q", got)
	}
	if h.Get("X-C") != "" || h.All("X-C") != nil || h.Count("X-C") != 0 || h.Count("x-A") != 2 {
		t.Error("Count or a missing field")
	}
	if f := h.Field(1); f.Name() != "X-A" || f.Value() != "one" || string(f.Raw()) != "X-A: one\r\n" {
		t.Errorf("field %q", f.Raw())
	}
}

func TestHeaderEdit(t *testing.T) {
	h := mustHeader(t, "X-PM-Tag: a\nFrom:  a@example.org\nx-pm-other: b\nX-PMs: c\nBCC: d\n e\n")
	if diff := cmp.Diff([]string{"X-PM-Tag", "x-pm-other", "BCC"}, h.Remove("X-PM-*", "Bcc")); diff != "" {
		t.Errorf("removed: %s", diff)
	}
	top := []byte("Received: from x\r\n by y\r\nX-Top: 1\r\n")
	if err := errors.Join(h.Prepend(top), h.Append([]byte("X-Last: 2\r\n"))); err != nil {
		t.Fatal(err)
	}
	top[0] = '?' // the header must not share it
	want := "Received: from x\r\n by y\r\nX-Top: 1\r\nFrom:  a@example.org\r\nX-PMs: c\r\nX-Last: 2\r\n\r\n"
	if got := string(h.Bytes()); got != want || h.Len() != 5 || h.Size() != int64(len(want)) {
		t.Errorf("got %q", got)
	}
	for _, bad := range []string{"X", "X: y", "X: y\n", "X: y\r\n\r\n", "X: y\r\n\r\nZ: z\r\n", " X: y\r\n", "X: y\rz\r\n", "\r\n"} {
		if err := errors.Join(h.Prepend([]byte(bad)), h.Append([]byte(bad))); !errors.Is(err, ErrHeaderSyntax) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if got := string(h.Bytes()); got != want {
		t.Errorf("a refused field changed the header: %q", got)
	}
}

func TestAddedFieldEndsTheSection(t *testing.T) {
	add := map[string]func(h *Header) error{
		"prepend": func(h *Header) error { return h.Prepend([]byte("B: c\r\n")) },
		"append":  func(h *Header) error { return h.Append([]byte("B: c\r\n")) },
		"missing": func(h *Header) error { AddMissing(h, traceTime, "<a@b>"); return nil },
		"nothing": func(*Header) error { return nil },
	}
	for name, f := range add {
		h, _, err := ReadHeader(strings.NewReader("A: b\r\n"), HeaderLimits{})
		if err != nil {
			t.Fatal(err)
		}
		if err := f(h); err != nil {
			t.Fatal(err)
		}
		if ended := bytes.HasSuffix(h.Bytes(), []byte("\r\n\r\n")); ended != (name != "nothing") {
			t.Errorf("%s: %q", name, h.Bytes())
		}
	}
}

func TestHeaderEightBit(t *testing.T) {
	if mustHeader(t, "A: b\n").EightBit() || !mustHeader(t, "A: b\nC: ä\n").EightBit() {
		t.Error("EightBit is wrong")
	}
}

func TestCheckSingletons(t *testing.T) {
	from := "From: a@example.org\n"
	tests := []struct {
		name, in string
		err      error
	}{
		{"minimal", from, nil},
		{"everything once", from + "Date: x\nSender: x\nReply-To: x\nTo: x\nCc: x\nMessage-ID: x\nIn-Reply-To: x\nReferences: x\nSubject: x\n", nil},
		{"others often", from + "Received: x\nReceived: y\nComments: x\nComments: y\nMIME-Version: 1.0\nMIME-Version: 1.0\n", nil},
		{"several authors", "From: a@example.org, B <b@example.org>\nSender: a@example.org\n", nil},
		{"colon in name", `From: "a: b" <a@example.org>` + "\n", nil},
		{"colon in comment", "From: a@example.org (a: (b:) :)\n", nil},
		{"S41 From at an IPv6 literal, unknown to net/mail", "From: a@[IPv6:2001:db8::1]\n", ErrBadFrom},
		{"encoded name", "From: =?utf-8?q?J=C3=BCrgen?= <a@example.org>\n", nil},
		{"UTF-8", "From: Jürgen <jürgen@bücher.example>\n", nil},
		{"S41 no From", "Date: x\n", ErrNoFrom},
		{"S41 no header", "", ErrNoFrom},
		{"S41 two From", from + "from: b@example.org\n", ErrDuplicateField},
		{"S41 two Date", from + "Date: x\nDate: x\n", ErrDuplicateField},
		{"S41 two Subject", from + "Subject: x\nSUBJECT: x\n", ErrDuplicateField},
		{"S41 two To", from + "To: x\nTo: x\n", ErrDuplicateField},
		{"S41 two Cc", from + "Cc: x\nCc: x\n", ErrDuplicateField},
		{"S41 two Message-ID", from + "Message-ID: x\nMessage-Id: x\n", ErrDuplicateField},
		{"S41 two Sender", from + "Sender: x\nSender: x\n", ErrDuplicateField},
		{"S41 two Reply-To", from + "Reply-To: x\nReply-To: x\n", ErrDuplicateField},
		{"S41 two In-Reply-To", from + "In-Reply-To: x\nIn-Reply-To: x\n", ErrDuplicateField},
		{"S41 two References", from + "References: x\nReferences: x\n", ErrDuplicateField},
		{"S41 empty From", "From:\n", ErrBadFrom},
		{"S41 unparsable From", "From: nobody\n", ErrBadFrom},
		{"S41 half a From", "From: A <a@example.org\n", ErrBadFrom},
		{"S41 group in From", "From: staff: a@example.org, b@example.org;\n", ErrFromGroup},
		{"S41 empty group in From", "From: undisclosed:;\n", ErrFromGroup},
		{"S41 group behind a quote", `From: "x" staff: a@example.org;` + "\n", ErrFromGroup},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := mustHeader(t, tt.in).CheckSingletons()
			if !errors.Is(err, tt.err) || err != nil && !errors.Is(err, ErrHeaderRules) {
				t.Fatalf("got %v, want %v", err, tt.err)
			}
		})
	}
}

func TestDuplicateFieldIsNamed(t *testing.T) {
	err := mustHeader(t, "From: a@example.org\nreply-to: x\nREPLY-TO: y\n").CheckSingletons()
	if err == nil || !strings.HasSuffix(err.Error(), ": Reply-To") {
		t.Fatalf("got %v", err)
	}
}

func TestAddressList(t *testing.T) {
	h := mustHeader(t, "To: A B <a.b@example.org>, \"x y\"@example.org,\n team: c@[192.0.2.1], =?utf-8?q?J=C3=BC?= <d@example.org>;\nTo: e@localhost\nCc: oops <\n")
	got, err := h.AddressList("to")
	want := []Mailbox{
		{"A B", Address{"a.b", "example.org"}}, {"", Address{"x y", "example.org"}}, {"", Address{"c", "[192.0.2.1]"}},
		{"Jü", Address{"d", "example.org"}}, {"", Address{"e", "localhost"}},
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err := h.AddressList("Bcc"); err != nil || got != nil {
		t.Errorf("no field: %v, %v", got, err)
	}
	if _, err := h.AddressList("Cc"); err == nil || !strings.HasPrefix(err.Error(), "Cc ") {
		t.Errorf("unparsable: %v", err)
	}
}

// TestAddressListTime guards against parsers that need quadratic time: the longest header section must be quick.
func TestAddressListTime(t *testing.T) {
	for _, unit := range []string{"a@b,", "(", "\"", "<", "a:", "=?utf-8?q?a?= ", "[", "a@[", "\\"} {
		h := mustHeader(t, "From: "+strings.Repeat(unit, 90<<10/len(unit))+"\n")
		start := time.Now()
		_ = h.CheckSingletons()
		_ = h.Get("From")
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("%q repeated takes %v", unit, d)
		}
	}
}

func TestCheckLoop(t *testing.T) {
	hops := func(n int, by string) string {
		return strings.Repeat("Received: from a.example\n by "+by+" with ESMTP; Mon, 1 Jan 2024 10:00:00 +0000\n", n)
	}
	tests := []struct {
		name, in string
		limits   LoopLimits
		err      error
	}{
		{name: "S42 100 hops", in: hops(100, "other.example")},
		{name: "S42 101 hops", in: hops(101, "other.example"), err: ErrLoop},
		{name: "S42 3 times here", in: hops(3, "Relay.Example")},
		{name: "S42 4 times here", in: hops(4, "Relay.Example"), err: ErrLoop},
		{name: "S42 4 times here without more clauses", in: strings.Repeat("Received: by relay.example; x\n", 4), err: ErrLoop},
		{name: "S42 own limits", in: hops(3, "other.example"), limits: LoopLimits{MaxReceived: 2}, err: ErrLoop},
		{name: "S42 name inside another", in: hops(9, "notrelay.example")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := mustHeader(t, tt.in).CheckLoop("relay.example", tt.limits); !errors.Is(err, tt.err) {
				t.Fatalf("got %v, want %v", err, tt.err)
			}
		})
	}
	if err := mustHeader(t, hops(9, "x")).CheckLoop("", LoopLimits{}); err != nil {
		t.Errorf("no host: %v", err)
	}
}

func TestCheckLoopCountsOurOwnField(t *testing.T) {
	h := mustHeader(t, "From: a@example.org\n")
	for i := range 4 {
		if err := h.CheckLoop("relay.example", LoopLimits{}); err != nil {
			t.Fatalf("pass %d: %v", i, err)
		}
		if err := h.Prepend(Received(TraceInfo{Hello: "x", By: "relay.example", Protocol: "ESMTPSA", ID: fmt.Sprint(i)})); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.CheckLoop("relay.example", LoopLimits{}); !errors.Is(err, ErrLoop) {
		t.Fatalf("got %v", err)
	}
}

func FuzzHeader(f *testing.F) {
	for _, s := range []string{"A: b\r\n\r\nbody", "A: b\r\n c\r\nD:\r\n", "\r\n", "", " x: y\r\n", "A: b\r\n\t\r\n\r\n", "From: a: b;\r\n\r\n", "X-PM-Tag: =?utf-8?b?eA==?=\r\n\r\n"} {
		f.Add([]byte(s), uint64(len(s)), true)
		f.Add([]byte(s), uint64(len(s)+1), false)
	}
	f.Fuzz(func(t *testing.T, in []byte, seed uint64, utf8 bool) {
		limits := HeaderLimits{MaxBytes: 64, MaxFields: 4, UTF8: utf8}
		whole, _, wholeErr := ReadHeader(bytes.NewReader(in), limits)
		h, body, err := ReadHeader(splitRandom(in, seed), limits)
		if (err == nil) != (wholeErr == nil) || err != nil && err.Error() != wholeErr.Error() {
			t.Fatalf("%q: %v in pieces, %v at once", in, err, wholeErr)
		}
		if err != nil {
			return
		}
		rest, err := readIn(body, 5)
		if err != nil || !bytes.Equal(append(h.Bytes(), rest...), in) || !bytes.Equal(whole.Bytes(), h.Bytes()) {
			t.Fatalf("%q: became %q and %q, %v", in, h.Bytes(), rest, err)
		}
		if h.Size() > 66 || h.Len() > 4 {
			t.Fatalf("%q: limits passed", in)
		}
		_ = h.CheckSingletons()
		for i := range h.Len() {
			name := h.Field(i).Name()
			if strings.ContainsAny(name, " \r\n:") || strings.ContainsAny(h.Field(i).Value(), "\r\n\x00") {
				t.Fatalf("%q: field %q", in, h.Field(i).Raw())
			}
		}
		if _, err := TakeControls(h); err == nil && bytes.Contains(bytes.ToLower(h.Bytes()), []byte("\nx-pm-")) {
			t.Fatalf("%q: control field left in %q", in, h.Bytes())
		}
	})
}
