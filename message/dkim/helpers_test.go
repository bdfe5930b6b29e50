package dkim

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"
)

// testKeys makes one key of each kind for the whole run: RSA keys are slow to make.
var testKeys = sync.OnceValue(func() map[Type]Key {
	rsaKey, err := GenerateRSA(MinRSABits)
	if err != nil {
		panic(err)
	}
	edKey, err := GenerateEd25519()
	if err != nil {
		panic(err)
	}
	return map[Type]Key{RSA: rsaKey, Ed25519: edKey}
})

// testSigners are the two signers of one domain; the record of each stands in testZone.
func testSigners() []Signer {
	return []Signer{
		{Domain: "example.com", Selector: "r1", Key: testKeys()[RSA]},
		{Domain: "example.com", Selector: "e1", Key: testKeys()[Ed25519]},
	}
}

func testZone() map[string]string {
	return map[string]string{
		"r1._domainkey.example.com": testKeys()[RSA].Record(),
		"e1._domainkey.example.com": testKeys()[Ed25519].Record(),
	}
}

// verify returns what an independent verifier says about each signature of the message, in order.
func verify(t testing.TB, message []byte, zone map[string]string) []*msgauth.Verification {
	t.Helper()
	lookup := func(name string) ([]string, error) {
		if txt, ok := zone[name]; ok {
			return []string{txt}, nil
		}
		return nil, fmt.Errorf("no record at %s, only at %v", name, slicesOf(zone))
	}
	got, err := msgauth.VerifyWithOptions(bytes.NewReader(message), &msgauth.VerifyOptions{LookupTXT: lookup})
	if err != nil {
		t.Fatalf("verifying: %v\n%s", err, message)
	}
	return got
}

func slicesOf(zone map[string]string) []string {
	var names []string
	for name := range maps.Keys(zone) {
		names = append(names, name)
	}
	return names
}

// verdict returns nil if the message has n signatures, all valid.
func verdict(t testing.TB, message []byte, n int) error {
	t.Helper()
	all := verify(t, message, testZone())
	if len(all) != n {
		return fmt.Errorf("%d signatures, want %d", len(all), n)
	}
	var errs []error
	for _, v := range all {
		errs = append(errs, v.Err)
	}
	return errors.Join(errs...)
}

// bodySum hashes the whole body in one write.
func bodySum(body []byte) [sha256.Size]byte {
	h := NewBodyHasher()
	h.Write(body)
	return h.Sum()
}

// signed returns the message with its signatures on top. The message is CRLF text.
func signed(t testing.TB, signers []Signer, message []byte) []byte {
	t.Helper()
	at := bytes.Index(message, []byte("\r\n\r\n"))
	if at < 0 {
		t.Fatalf("message without a blank line: %q", message)
	}
	sigs, err := SignAll(signers, message[:at+4], bodySum(message[at+4:]), time.Now())
	if err != nil {
		t.Fatalf("signing %q: %v", message, err)
	}
	return append(sigs, message...)
}

// eml makes CRLF text of a test's lines.
func eml(text string) []byte { return []byte(strings.ReplaceAll(text, "\n", "\r\n")) }

// ordinaryHeader is what an application's message has when it leaves.
const ordinaryHeader = `Received: from app.example.com (app.example.com [192.0.2.10])
	by relay.example.com with ESMTPSA id 0198b2f4-5d7e-7c3a-9d55-0b2f6a1c9e11
	(TLS1.3 TLS_AES_128_GCM_SHA256); Mon, 23 Nov 2026 18:00:00 +0000
From: Accounts <accounts@example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: =?utf-8?q?Your_receipt_for_November?= and what
 else there is to know
Date: Mon, 23 Nov 2026 18:00:00 +0000
Message-ID: <0198b2f4-5d7e-7c3a-9d55-0b2f6a1c9e11@example.com>
MIME-Version: 1.0
Content-Type: multipart/alternative;
	boundary="=_0198b2f45d7e7c3a9d550b2f6a1c9e11"
List-Unsubscribe: <https://mail.example.com/u/0198b2f4>
List-Unsubscribe-Post: List-Unsubscribe=One-Click
X-Campaign: november

`
