package dkim

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"
)

// The message, keys and signatures of RFC 8463 appendix A. The signatures are what the RFC prints; their tags are not those
// that a Signer chooses, so the test goes by the parts that a Signer is made of.
const (
	rfcHeader = `From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

`
	rfcBody = `Hi.

We lost the game.  Are you hungry yet?

Joe.
`
	rfcBodyHash = "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="

	rfcEd25519Field = `DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=`
	rfcEd25519Signature = "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw=="
	rfcEd25519Seed      = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
	rfcEd25519Record    = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="

	rfcRSAField = `DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=`
	rfcRSASignature = "F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz" +
		"dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8="
	rfcRSARecord = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/" +
		"J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
)

// rfcDigest is what is signed under the signature field of the RFC.
func rfcDigest(t *testing.T, own string) [32]byte {
	t.Helper()
	fields, err := splitFields(eml(rfcHeader))
	if err != nil {
		t.Fatal(err)
	}
	name, value, _ := bytes.Cut(eml(own), []byte(":"))
	return headerHash(fields, field{name: name, value: value}) // each field of h= is there once, in order
}

func rfcKey(t *testing.T) Key {
	t.Helper()
	seed, err := base64.StdEncoding.DecodeString(rfcEd25519Seed)
	if err != nil {
		t.Fatal(err)
	}
	return newKey(&secret{ed25519: ed25519.NewKeyFromSeed(seed)})
}

func TestRFC8463BodyHash(t *testing.T) {
	sum := bodySum(eml(rfcBody))
	if got := base64.StdEncoding.EncodeToString(sum[:]); got != rfcBodyHash {
		t.Errorf("got %s, want %s", got, rfcBodyHash)
	}
}

// TestRFC8463Ed25519 makes the RFC's signature octet for octet: Ed25519 leaves no choice.
func TestRFC8463Ed25519(t *testing.T) {
	key := rfcKey(t)
	if got := key.Record(); got != rfcEd25519Record {
		t.Errorf("record %s, want %s", got, rfcEd25519Record)
	}
	sig, err := key.reveal().sign(rfcDigest(t, rfcEd25519Field))
	if err != nil {
		t.Fatal(err)
	}
	if got := base64.StdEncoding.EncodeToString(sig); got != rfcEd25519Signature {
		t.Errorf("got %s, want %s", got, rfcEd25519Signature)
	}
}

// TestRFC8463RSA verifies, because the RFC's RSA key has 1024 bits and may not sign any more.
func TestRFC8463RSA(t *testing.T) {
	r, err := ParseRecord(rfcRSARecord)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := base64.StdEncoding.DecodeString(rfcRSASignature)
	if err != nil {
		t.Fatal(err)
	}
	digest := rfcDigest(t, rfcRSAField)
	if err := rsa.VerifyPKCS1v15(r.public.(*rsa.PublicKey), crypto.SHA256, digest[:], sig); err != nil {
		t.Error(err)
	}
	if err := testKeys()[RSA].Matches(r); !errors.Is(err, ErrOtherKey) {
		t.Errorf("our key against the RFC's: %v, want ErrOtherKey", err)
	}
}

// TestRFC8463Signer signs the RFC's message with the RFC's key and our tags.
func TestRFC8463Signer(t *testing.T) {
	s := Signer{Domain: "football.example.com", Selector: "brisbane", Key: rfcKey(t)}
	field, err := s.Sign(eml(rfcHeader), bodySum(eml(rfcBody)), time.Unix(1528637909, 0))
	if err != nil {
		t.Fatal(err)
	}
	message := string(field) + string(eml(rfcHeader+rfcBody))
	got := verify(t, []byte(message), map[string]string{"brisbane._domainkey.football.example.com": rfcEd25519Record})
	if len(got) != 1 || got[0].Err != nil {
		t.Fatalf("got %+v", got)
	}
	if h := strings.Join(got[0].HeaderKeys, ":"); h != "From:From:To:To:Subject:Subject:Date:Date:Message-ID" {
		t.Errorf("h=%s", h)
	}
}
