package dkim

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"
)

func TestGenerateRSARefusesSizes(t *testing.T) {
	for _, bits := range []int{-1, 0, 512, 1024, 2047, 4097, 1 << 20} {
		if k, err := GenerateRSA(bits); !errors.Is(err, ErrKeySize) || !k.IsZero() {
			t.Errorf("%d bits: %v, %v, want ErrKeySize", bits, k, err)
		}
	}
}

func TestPEMRoundTrip(t *testing.T) {
	for kind, key := range testKeys() {
		text, err := key.MarshalPEM()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParsePEM(text)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if again.Type() != kind || again.Record() != key.Record() {
			t.Errorf("%s: another key came back: %v", kind, again)
		}
	}
	if _, err := (Key{}).MarshalPEM(); !errors.Is(err, ErrSigner) {
		t.Errorf("zero key: %v, want ErrSigner", err)
	}
}

func pemBlock(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// rsaOf makes an RSA key of any size.
func rsaOf(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	priv, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return priv
}

func pkcs8(t *testing.T, priv any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestParsePEM(t *testing.T) {
	long := testKeys()[RSA].reveal().rsa
	short := rsaOf(t, 1024)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	public := pemBlock("PUBLIC KEY", []byte("passed over unread"))
	pkcs1 := pemBlock("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(long))
	other := pemBlock("PRIVATE KEY", pkcs8(t, testKeys()[Ed25519].reveal().ed25519))
	tests := []struct {
		name, text string
		want       error
		kind       Type
	}{
		{"PKCS #1", pkcs1, nil, RSA},
		{"PKCS #8 RSA", pemBlock("PRIVATE KEY", pkcs8(t, long)), nil, RSA},
		{"PKCS #8 Ed25519", other, nil, Ed25519},
		{"text and a public key around", "selector 2020\n" + public + pkcs1 + public, nil, RSA},
		{"CRLF line ends", strings.ReplaceAll(pkcs1, "\n", "\r\n"), nil, RSA},
		{"two private keys", pkcs1 + other, ErrKeyFormat, ""},
		{"nothing", "", ErrKeyFormat, ""},
		{"no PEM", "hunter2", ErrKeyFormat, ""},
		{"public key only", public, ErrKeyFormat, ""},
		{"damaged PKCS #1", pemBlock("RSA PRIVATE KEY", []byte("hunter2")), ErrKeyFormat, ""},
		{"damaged PKCS #8", pemBlock("PRIVATE KEY", []byte("hunter2")), ErrKeyFormat, ""},
		{"PKCS #1 called PKCS #8", pemBlock("PRIVATE KEY", x509.MarshalPKCS1PrivateKey(long)), ErrKeyFormat, ""},
		{"encrypted PKCS #8", pemBlock("ENCRYPTED PRIVATE KEY", []byte("hunter2")), ErrKeyFormat, ""},
		{"encrypted PKCS #1", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\naHVudGVyMg==\n-----END RSA PRIVATE KEY-----\n", ErrKeyFormat, ""},
		{"1024 bits PKCS #1", pemBlock("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(short)), ErrKeySize, ""},
		{"1024 bits PKCS #8", pemBlock("PRIVATE KEY", pkcs8(t, short)), ErrKeySize, ""},
		{"EC", pemBlock("EC PRIVATE KEY", ecDER), ErrKeyType, ""},
		{"EC PKCS #8", pemBlock("PRIVATE KEY", pkcs8(t, ec)), ErrKeyType, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			key, err := ParsePEM([]byte(test.text))
			if !errors.Is(err, test.want) || key.Type() != test.kind {
				t.Errorf("got %v, %v, want %v of type %q", key, err, test.want, test.kind)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error quotes the key: %v", err)
			}
		})
	}
}

// FuzzParsePEM begins with Ed25519 keys only: the blinding of RSA makes the coverage of the same input vary.
func FuzzParsePEM(f *testing.F) {
	text, err := testKeys()[Ed25519].MarshalPEM()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(append(text, text...))
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\naHVudGVyMg==\n-----END RSA PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := ParsePEM(text)
		known := errors.Is(err, ErrKeyFormat) || errors.Is(err, ErrKeyType) || errors.Is(err, ErrKeySize)
		if key.IsZero() != known {
			t.Fatalf("key %v with error %v", key, err)
		}
		if key.IsZero() {
			return
		}
		if _, err := key.reveal().sign([32]byte{1}); err != nil {
			t.Fatalf("a key that does not sign: %v", err)
		}
		if r, err := ParseRecord(key.Record()); err != nil || key.Matches(r) != nil {
			t.Fatalf("a key that does not match its own record: %v", err)
		}
	})
}

// spellings are forms in which the secret of a key could come out, each cut to a length that does not turn up by chance.
func spellings(key Key) []string {
	raw := []byte(key.reveal().ed25519)
	if key.Type() == RSA {
		raw = key.reveal().rsa.D.Bytes()
	}
	decimal := strings.Trim(fmt.Sprint(raw[:8]), "[]")
	return []string{
		hex.EncodeToString(raw[:8]), strings.ToUpper(hex.EncodeToString(raw[:8])), base64.StdEncoding.EncodeToString(raw[:9]),
		decimal, strings.ReplaceAll(decimal, " ", ", "), new(big.Int).SetBytes(raw).String()[:16], string(raw[:8]),
	}
}

func TestKeyIsNeverPrinted(t *testing.T) {
	type holder struct {
		Public  Key
		private Key
		Pointer *Key
		Signer  Signer
	}
	for kind, key := range testKeys() {
		h := holder{key, key, &key, Signer{Domain: "example.com", Key: key}}
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%o", "%t", "%p"} {
			for _, value := range []any{key, &key, h, &h, []Key{key}, map[string]Key{"k": key}} {
				fmt.Fprintf(&out, verb+"\n", value)
			}
		}
		log := slog.New(slog.NewJSONHandler(&out, nil))
		log.Info("key", "key", key, "holder", h, "pointer", &key)
		log = slog.New(slog.NewTextHandler(&out, nil))
		log.Info("key", "key", key, "holder", h, "pointer", &key)
		if err := json.NewEncoder(&out).Encode(h); err != nil {
			t.Fatal(err)
		}
		for _, secret := range spellings(key) {
			if strings.Contains(out.String(), secret) {
				t.Errorf("%s: printed %q", kind, secret)
			}
		}
		if !strings.Contains(out.String(), key.String()) {
			t.Errorf("%s: %q is nowhere in the output", kind, key.String())
		}
		_ = h.private
	}
}

func TestKeySaysItsKind(t *testing.T) {
	for key, want := range map[*Key]string{
		{}:                       "no key",
		new(testKeys()[RSA]):     "rsa-2048 [redacted]",
		new(testKeys()[Ed25519]): "ed25519 [redacted]",
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if got := fmt.Sprintf(verb, *key); got != want {
				t.Errorf("%s: got %q, want %q", verb, got, want)
			}
		}
		var out bytes.Buffer
		slog.New(slog.NewJSONHandler(&out, nil)).Info("", "key", *key)
		if !strings.Contains(out.String(), `"key":"`+want+`"`) {
			t.Errorf("logged as %s, want %q", out.String(), want)
		}
	}
}
