package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"strconv"
	"time"

	"github.com/mailchute/mailchute/store"
)

// What is sent is signed as the Standard Webhooks specification says, for which
// receivers have libraries in many languages:
//
//	webhook-id: ID of the event, the same in every try
//	webhook-timestamp: seconds since 1970 of this try
//	webhook-signature: v1,BASE64(HMAC-SHA256(key, ID "." TIMESTAMP "." BODY)), several with a space between
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
	keyPrefix       = "whsec_"
	keySize         = 32
)

// NewKey returns a fresh signing key.
func NewKey() []byte {
	key := make([]byte, keySize)
	rand.Read(key)
	return key
}

// FormatKey returns a signing key as receivers get it.
func FormatKey(key []byte) string { return keyPrefix + base64.StdEncoding.EncodeToString(key) }

// Sign returns the signature of a body under one key.
func Sign(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	io.WriteString(mac, id+"."+strconv.FormatInt(at.Unix(), 10)+".") // never fails
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// signatures signs with the key and, for a time after it was changed, with the
// one before.
func signatures(s *store.WebhookSecrets, id string, at time.Time, body []byte) string {
	sig := Sign(s.Key, id, at, body)
	if len(s.OldKey) > 0 && at.Before(s.OldUntil) {
		sig += " " + Sign(s.OldKey, id, at, body)
	}
	return sig
}
