package dkim

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestSignGolden has the RFC 8463 key sign an ordinary header; Ed25519 leaves no choice, so every octet is known.
func TestSignGolden(t *testing.T) {
	s := Signer{Domain: "example.com", Selector: "e2026", Key: rfcKey(t), Expiry: 7 * 24 * time.Hour}
	got, err := s.Sign(eml(ordinaryHeader), bodySum(eml("Hello.\n")), time.Unix(1795456800, 999))
	if err != nil {
		t.Fatal(err)
	}
	want := string(eml(`DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.com;
	s=e2026; t=1795456800; x=1796061600; h=From:From:To:To:Subject:Subject:
	Date:Date:Message-ID:MIME-Version:Content-Type:List-Unsubscribe:
	List-Unsubscribe-Post; bh=yZQq1c8wjBl0fZ4Wc/oraMCAG1mZJv5v/hlvyFy+t6A=;
	b=a358R2gkd3c6I4iOY0UBPZ9gEmIKhfzOvBCyslOsTAyL8z4G+QE5phImcDY1b2bvZ4V3WTT4I
	x9uUQnL1J7YBA==
`))
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestSignVerifies(t *testing.T) {
	long := strings.Repeat("word ", 190)
	tests := []struct{ name, message string }{
		{"ordinary", ordinaryHeader + "Hello.\n"},
		{"From alone, no body", "From: a@example.com\n\n"},
		{"body of empty lines", "From: a@example.com\n\n\n\n\n"},
		{"body of white space", "From: a@example.com\n\n \n\t\n  "},
		{"body without last line end", "From: a@example.com\n\nHello"},
		{"last empty lines", "From: a@example.com\n\nHello  \n \n\n\n"},
		{"names in odd case", "fRoM: a@example.com\nsubJECT: hi\nMessage-id: <1@example.com>\n\nHello\n"},
		{"folded", "From: A\n <a@example.com>\nSubject: one\n\ttwo\n   three\nReferences: <1@x>\n <2@x>\n <3@x>\n\nHello\n"},
		{"value begins after a fold", "From:\n a@example.com\nSubject:\n\t\n hi\n\nHello\n"},
		{"odd white space", "From:a@example.com  \t\nSubject :\t\thi \t there  \nTo  \t:  b@example.net\n\n a \t b\t\n"},
		{"empty values", "From: a@example.com\nSubject:\nCc: \nTo: \n \n\nHello\n"},
		{"no To, no Subject, no Date", "From: a@example.com\nMessage-ID: <1@example.com>\n\nHello\n"},
		{"two Subjects", "Subject: one\nFrom: a@example.com\nSubject: two\n\nHello\n"},
		{"three Received and References", "Received: 1\nReceived: 2\nReferences: <1@x>\nFrom: a@example.com\nReferences: <2@x>\nReferences: <3@x>\n\nHello\n"},
		{"two Froms", "From: a@example.com\nFrom: b@example.com\n\nHello\n"},
		{"UTF-8", "From: Grüße <a@example.com>\nSubject: \u00a0名前\u2003\u0085\n\nprix\u00a0: 5 \u20ac\n"},
		{"octets that are no text", "From: a@example.com\nSubject: \x01\x0b\x0c\x7f\xff\xfe\n\n\x00\x01\x0b \x0c\xff\n"},
		{"names with semicolon and equals", "From: a@example.com\nX;b=: c\nSubject: b=x; h=y; bh=z\n\nb=1; h=2\n"},
		{"long lines", "From: a@example.com\nSubject: " + long + "\n\n" + long + "\n"},
		{"name like a prefix", "From: a@example.com\nTo-Do: no\nFrom-Line: no\nTo: b@example.net\n\nHello\n"},
		{"list and feedback", "From: a@example.com\nList-Id: <x>\nList-Unsubscribe: <https://x>\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\nFeedback-ID: 1:2\nCFBL-Address: f@example.com\n\nHello\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := verdict(t, signed(t, testSigners(), eml(test.message)), 2); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSignHeaderWithoutBlankLine takes the section in both forms and makes the same of them.
func TestSignHeaderWithoutBlankLine(t *testing.T) {
	header := eml(ordinaryHeader)
	before := bytes.Clone(header)
	now := time.Unix(1795456800, 0)
	with, err := SignAll(testSigners(), header, [32]byte{}, now)
	if err != nil {
		t.Fatal(err)
	}
	without, err := SignAll(testSigners(), bytes.TrimSuffix(header, []byte(crlf)), [32]byte{}, now)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(with, without) {
		t.Errorf("with:\n%swithout:\n%s", with, without)
	}
	if !bytes.Equal(header, before) {
		t.Error("the header section was changed")
	}
}

// TestSignBesideOtherSignature leaves a signature that is there already alone.
func TestSignBesideOtherSignature(t *testing.T) {
	first := signed(t, testSigners()[1:], eml(ordinaryHeader+"Hello.\n"))
	if err := verdict(t, signed(t, testSigners(), first), 3); err != nil {
		t.Error(err)
	}
}

func TestOversigning(t *testing.T) {
	message := string(eml(ordinaryHeader + "Hello.\n"))
	bare := string(eml("From: a@example.com\n\nHello.\n"))
	wide := Signer{Oversign: []string{"reply-to"}, Headers: []string{"Subject"}}
	tests := []struct {
		name, message, add string
		signer             Signer
		valid              bool
	}{
		{"second From", message, "From: mallory@example.org", Signer{}, false},
		{"second Subject", message, "SUBJECT : you won", Signer{}, false},
		{"second To", message, "To: c@example.net", Signer{}, false},
		{"second Date", message, "Date: Mon, 23 Nov 2026 19:00:00 +0000", Signer{}, false},
		{"first To", bare, "To: c@example.net", Signer{}, false},
		{"first Subject", bare, "Subject: you won", Signer{}, false},
		{"trace", message, "Received: by mx.example.net", Signer{}, true},
		{"result", message, "Authentication-Results: mx.example.net; none", Signer{}, true},
		{"first Reply-To", message, "Reply-To: r@example.org", Signer{}, true},
		{"first Reply-To, oversigned", message, "Reply-To: r@example.org", wide, false},
		{"second To, not signed", message, "To: c@example.net", wide, true},
		{"second Subject, signed once", message, "Subject: you won", wide, true},
		{"second From, oversigned always", message, "From: mallory@example.org", wide, false},
		{"second From, empty lists", message, "From: mallory@example.org", Signer{Headers: []string{}, Oversign: []string{}}, false},
		{"second Date, empty lists", message, "Date: x", Signer{Headers: []string{}, Oversign: []string{}}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			own := testSigners()[1]
			own.Headers, own.Oversign = test.signer.Headers, test.signer.Oversign
			out := signed(t, []Signer{own}, []byte(test.message))
			if err := verdict(t, out, 1); err != nil {
				t.Fatalf("before: %v", err)
			}
			out = append([]byte(test.add+"\r\n"), out...)
			if err := verdict(t, out, 1); (err == nil) != test.valid {
				t.Errorf("with %q: %v, want valid %v", test.add, err, test.valid)
			}
		})
	}
}

// TestSignatureForm reads the field as text: folded for every reader, one field, no l=, nothing a setting put in.
func TestSignatureForm(t *testing.T) {
	signers := testSigners()
	signers[0].Domain = strings.Repeat("a2345678.", 20) + "example.com"
	signers[0].Selector = strings.Repeat("s-345678.", 4) + "x"
	signers[1].Headers = []string{strings.Repeat("X", maxLabel), "Subject"}
	header := eml(strings.Repeat("X", maxLabel) + ": 1\n" + strings.Repeat("References: <1@x>\n", 60) + ordinaryHeader)
	out, err := SignAll(signers, header, [32]byte{}, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	fields, err := splitFields(out)
	if err != nil || len(fields) != 2 {
		t.Fatalf("%d fields, %v:\n%s", len(fields), err, out)
	}
	for _, f := range fields {
		if string(f.name) != signatureField {
			t.Errorf("field %s", f.name)
		}
		list, err := parseTags(string(f.value))
		if err != nil {
			t.Errorf("tags: %v", err)
		}
		if _, ok := list.find("l"); ok || list.get("c") != "relaxed/relaxed" || list.get("t") != "0" || list[len(list)-1].name != "b" {
			t.Errorf("tags %v", list)
		}
		if _, ok := list.find("x"); ok {
			t.Error("x= without an Expiry")
		}
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), crlf), crlf) {
		if len(line) > foldAt && !strings.HasPrefix(line, "\td=") || strings.TrimRight(line, " \t") != line || len(line) < 3 {
			t.Errorf("line %q", line)
		}
	}
}

func TestExpiry(t *testing.T) {
	s := testSigners()[1]
	s.Expiry = time.Hour
	header := eml("From: a@example.com\n\n")
	for age, valid := range map[time.Duration]bool{0: true, 30 * time.Minute: true, 2 * time.Hour: false} {
		now := time.Now().Add(-age)
		field, err := s.Sign(header, bodySum(nil), now)
		if err != nil {
			t.Fatal(err)
		}
		got := verify(t, append(field, header...), testZone())[0]
		if (got.Err == nil) != valid {
			t.Errorf("%v after signing: %v, want valid %v", age, got.Err, valid)
		}
		if want := now.Truncate(time.Second); !got.Time.Equal(want) || !got.Expiration.Equal(want.Add(time.Hour)) {
			t.Errorf("t=%v x=%v, want %v and an hour later", got.Time, got.Expiration, want)
		}
	}
}

func TestSignRefusesSigner(t *testing.T) {
	now := time.Unix(1795456800, 0)
	long := strings.Repeat("a234567.", 31) + "example"
	tests := []struct {
		name   string
		change func(*Signer)
		now    time.Time
	}{
		{"no key", func(s *Signer) { s.Key = Key{} }, now},
		{"no domain", func(s *Signer) { s.Domain = "" }, now},
		{"one label", func(s *Signer) { s.Domain = "localhost" }, now},
		{"last dot", func(s *Signer) { s.Domain = "example.com." }, now},
		{"empty label", func(s *Signer) { s.Domain = "example..com" }, now},
		{"underscore", func(s *Signer) { s.Domain = "_dmarc.example.com" }, now},
		{"hyphen first", func(s *Signer) { s.Domain = "-a.example.com" }, now},
		{"hyphen last", func(s *Signer) { s.Domain = "a-.example.com" }, now},
		{"not in ASCII form", func(s *Signer) { s.Domain = "b\u00fccher.example" }, now},
		{"label of 64", func(s *Signer) { s.Domain = strings.Repeat("a", 64) + ".example" }, now},
		{"domain of 255", func(s *Signer) { s.Domain = long }, now},
		{"domain ends the tag", func(s *Signer) { s.Domain = "example.com; l=0" }, now},
		{"domain ends the field", func(s *Signer) { s.Domain = "example.com\r\nBcc: x@example.org" }, now},
		{"domain with NUL", func(s *Signer) { s.Domain = "example.com\x00" }, now},
		{"no selector", func(s *Signer) { s.Selector = "" }, now},
		{"selector ends the tag", func(s *Signer) { s.Selector = "s;l=0" }, now},
		{"selector folds", func(s *Signer) { s.Selector = "s\r\n\tx" }, now},
		{"selector with colon", func(s *Signer) { s.Selector = "s:x" }, now},
		{"name of 254", func(s *Signer) { s.Domain = long[8:]; s.Selector = "abcdefgh" }, now},
		{"field name ends the list", func(s *Signer) { s.Headers = []string{"From;l=0"} }, now},
		{"field name with colon", func(s *Signer) { s.Headers = []string{"From:To"} }, now},
		{"field name with line end", func(s *Signer) { s.Oversign = []string{"X\r\nY"} }, now},
		{"empty field name", func(s *Signer) { s.Headers = []string{""} }, now},
		{"field name beyond ASCII", func(s *Signer) { s.Headers = []string{"\u017fubject"} }, now},
		{"field that relays add", func(s *Signer) { s.Headers = []string{"received"} }, now},
		{"itself", func(s *Signer) { s.Oversign = []string{"DKIM-Signature"} }, now},
		{"negative expiry", func(s *Signer) { s.Expiry = -time.Second }, now},
		{"expiry below a second", func(s *Signer) { s.Expiry = time.Millisecond }, now},
		{"no time", func(*Signer) {}, time.Time{}},
		{"time of 13 digits", func(*Signer) {}, time.Unix(1e12, 0)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			signers := testSigners()
			test.change(&signers[1])
			out, err := SignAll(signers, eml(ordinaryHeader), [32]byte{}, test.now)
			if !errors.Is(err, ErrSigner) || out != nil {
				t.Fatalf("got %q, %v, want nothing and ErrSigner", out, err)
			}
			if strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Errorf("the error has control characters: %q", err)
			}
			if test.now.Equal(now) && !errors.Is(signers[1].Validate(), ErrSigner) {
				t.Errorf("Validate: %v, want ErrSigner", signers[1].Validate())
			}
		})
	}
	if _, err := SignAll(nil, eml(ordinaryHeader), [32]byte{}, now); !errors.Is(err, ErrSigner) {
		t.Errorf("no signers: %v, want ErrSigner", err)
	}
	if err := (&testSigners()[0]).Validate(); err != nil {
		t.Errorf("a good signer: %v", err)
	}
}

func TestSignRefusesHeader(t *testing.T) {
	tests := []struct {
		name, header string
		want         error
	}{
		{"nothing", "", ErrNoFrom},
		{"blank line alone", "\r\n", ErrNoFrom},
		{"no From", "To: a@example.com\r\nX-From: b\r\n\r\n", ErrNoFrom},
		{"nothing to sign", "X: b\r\n", ErrNoFrom},
		{"From beyond ASCII", "\u017from: a@example.com\r\n", ErrHeader},
		{"last line not ended", "From: a@example.com", ErrHeader},
		{"bare LF", "From: a@example.com\nTo: b@example.net\r\n\r\n", ErrHeader},
		{"bare LF first", "\nFrom: a@example.com\r\n\r\n", ErrHeader},
		{"bare CR", "From: a@example.com\rTo: b@example.net\r\n\r\n", ErrHeader},
		{"two CRs", "From: a@example.com\r\r\n\r\n", ErrHeader},
		{"NUL", "From: a\x00@example.com\r\n\r\n", ErrHeader},
		{"body behind", "From: a@example.com\r\n\r\nHello\r\n", ErrHeader},
		{"two blank lines", "From: a@example.com\r\n\r\n\r\n", ErrHeader},
		{"no colon", "From: a@example.com\r\nHello\r\n\r\n", ErrHeader},
		{"no name", "From: a@example.com\r\n: x\r\n\r\n", ErrHeader},
		{"blank in a name", "From: a@example.com\r\nX Y: x\r\n\r\n", ErrHeader},
		{"continuation first", " x\r\nFrom: a@example.com\r\n\r\n", ErrHeader},
		{"colon in a continuation only", "From\r\n : a@example.com\r\n\r\n", ErrHeader},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out, err := SignAll(testSigners(), []byte(test.header), [32]byte{}, time.Unix(1795456800, 0))
			if !errors.Is(err, test.want) || out != nil {
				t.Errorf("got %q, %v, want nothing and %v", out, err, test.want)
			}
		})
	}
}

// TestSignersAreShared has many goroutines sign with one pair; the race detector watches.
func TestSignersAreShared(t *testing.T) {
	signers := testSigners()
	message := eml(ordinaryHeader + "Hello.\n")
	header, body, _ := bytes.Cut(message, []byte("\r\n\r\n"))
	header = append(header, crlf...)
	out, errs := make([][]byte, 8), make([]error, 8)
	var wg sync.WaitGroup
	for i := range out {
		wg.Go(func() { out[i], errs[i] = SignAll(signers, header, bodySum(body), time.Now()) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for _, sigs := range out {
		if err := verdict(t, append(sigs, message...), 2); err != nil {
			t.Error(err)
		}
	}
}
