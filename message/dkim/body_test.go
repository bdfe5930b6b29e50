package dkim

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"
)

var (
	whiteSpace = regexp.MustCompile(`[ \t]+`)
	lineEnd    = regexp.MustCompile(` \r\n`)
)

// canonicalBody is RFC 6376 section 3.4.4 as the text reads, over the whole body at once.
func canonicalBody(body []byte) []byte {
	if !bytes.HasSuffix(body, []byte("\r\n")) {
		body = append(bytes.Clone(body), "\r\n"...)
	}
	body = whiteSpace.ReplaceAll(body, []byte(" "))
	body = lineEnd.ReplaceAll(body, []byte("\r\n"))
	for bytes.HasSuffix(body, []byte("\r\n")) {
		body = body[:len(body)-2]
	}
	if len(body) == 0 {
		return nil
	}
	return append(body, "\r\n"...)
}

// peerSum is the body hash that go-msgauth puts into a signature.
func peerSum(t testing.TB, body []byte) (sum [sha256.Size]byte) {
	t.Helper()
	s, err := msgauth.NewSigner(&msgauth.SignOptions{
		Domain: "example.com", Selector: "s", Signer: testKeys()[Ed25519].reveal().ed25519,
		BodyCanonicalization: msgauth.CanonicalizationRelaxed,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Write([]byte("From: a@example.com\r\n\r\n"))
	s.Write(body)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, bh, _ := strings.Cut(s.Signature(), "bh=")
	bh, _, _ = strings.Cut(bh, ";")
	if n, err := base64.StdEncoding.Decode(sum[:], []byte(bh)); err != nil || n != len(sum) {
		t.Fatalf("bh=%q: %v", bh, err)
	}
	return sum
}

// sumInPieces writes the body in pieces that seed decides.
func sumInPieces(body []byte, seed uint64) [sha256.Size]byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	h := NewBodyHasher()
	for len(body) > 0 {
		n := min(len(body), rng.IntN(1+rng.IntN(600)))
		h.Write(body[:n])
		if rng.IntN(8) == 0 {
			h.Sum() // must not disturb what follows
		}
		body = body[n:]
	}
	return h.Sum()
}

func TestBodyHasher(t *testing.T) {
	tests := []struct{ name, body, canonical string }{
		{"no body", "", ""},
		{"one empty line", "\r\n", ""},
		{"empty lines", "\r\n\r\n\r\n", ""},
		{"blank lines", " \r\n\t \r\n", ""},
		{"white space without a line end", " \t ", ""},
		{"RFC 6376 3.4.5", " C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"},
		{"last line without CRLF", "a", "a\r\n"},
		{"last line without CRLF, white space last", "a \t", "a\r\n"},
		{"last empty lines", "a\r\n\r\n \r\n\r\n", "a\r\n"},
		{"first and inner empty lines", "\r\n\r\na\r\n\r\n\r\nb\r\n", "\r\n\r\na\r\n\r\n\r\nb\r\n"},
		{"white space before the first word", "\t\t a\r\n", " a\r\n"},
		{"space then tab then line end", "a \t\r\nb\t \r\n", "a\r\nb\r\n"},
		{"blank line inside", "a\r\n \t\r\nb\r\n", "a\r\n\r\nb\r\n"},
		{"other white space is none", "a\v\f\u00a0\r\n", "a\v\f\u00a0\r\n"},
		{"eight bits and NUL", "\xff\x00\x80 \x00\r\n", "\xff\x00\x80 \x00\r\n"},
		{"a CR that stands alone", "a \rb\r\r\n\r", "a \rb\r\r\n\r\r\n"},
		{"an LF that stands alone", "a \nb\n\r\n", "a \nb\n\r\n"},
		{"a CR that stands alone last", "a\r\n \r", "a\r\n \r\r\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := sha256.Sum256([]byte(test.canonical))
			if got := bodySum([]byte(test.body)); got != want {
				t.Errorf("whole: %x, want %x", got, want)
			}
			h := NewBodyHasher()
			for i := range len(test.body) {
				h.Write([]byte{test.body[i]})
			}
			if got := h.Sum(); got != want {
				t.Errorf("octet by octet: %x, want %x", got, want)
			}
		})
	}
}

// TestBodyHasherEmpty has the hash that RFC 6376 section 3.4.4 prints for a body of nothing.
func TestBodyHasherEmpty(t *testing.T) {
	sum := NewBodyHasher().Sum()
	if got, want := base64.StdEncoding.EncodeToString(sum[:]), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestBodyHasherSumIsNoEnd(t *testing.T) {
	h := NewBodyHasher()
	for i, step := range []struct{ write, canonical string }{
		{"", ""}, {"a ", "a\r\n"}, {" b\r", "a b\r\r\n"}, {"\n\r\n", "a b\r\n"}, {"c", "a b\r\n\r\nc\r\n"},
		{strings.Repeat("d ", 2*bodyBuffer), "a b\r\n\r\nc" + strings.Repeat("d ", 2*bodyBuffer-1) + "d\r\n"},
	} {
		h.Write([]byte(step.write))
		want := sha256.Sum256([]byte(step.canonical))
		for range 2 {
			if h.Sum() != want {
				t.Errorf("step %d: the sum is not that of the body so far", i)
			}
		}
	}
}

// TestBodyHasherRandom makes long bodies of few pieces, so that every transition meets every boundary of window and buffer.
func TestBodyHasherRandom(t *testing.T) {
	pieces := []string{" ", "\t", "\r\n", "\r", "\n", "  ", " \r\n", "a", "word ", "\x00", strings.Repeat("A", 75) + "=\r\n"}
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var body []byte
		for range rng.IntN(3000) {
			p := pieces[rng.IntN(1+rng.IntN(len(pieces)))]
			body = append(body, strings.Repeat(p, 1+rng.IntN(1+rng.IntN(4)))...)
		}
		want := sha256.Sum256(canonicalBody(body))
		if bodySum(body) != want {
			t.Fatalf("seed %d: whole body differs", seed)
		}
		if sumInPieces(body, seed) != want {
			t.Fatalf("seed %d: body in pieces differs", seed)
		}
	}
}

// TestBodyHasherAllocatesNothing also stands for constant memory: a body of line ends is held back as a number.
func TestBodyHasherAllocatesNothing(t *testing.T) {
	h := NewBodyHasher()
	for name, p := range map[string][]byte{
		"text": []byte(textBody(64 << 10)), "line ends": bytes.Repeat([]byte("\r\n"), 32<<10), "spaces": bytes.Repeat([]byte(" "), 64<<10),
	} {
		if n := testing.AllocsPerRun(10, func() { h.Write(p) }); n != 0 {
			t.Errorf("%s: %v allocations a write", name, n)
		}
	}
}

var anyLineEnd = regexp.MustCompile(`\r\n|\r|\n`)

// toCRLF is what section 5.3 asks for before a body is hashed.
func toCRLF(body []byte) []byte { return anyLineEnd.ReplaceAll(body, []byte("\r\n")) }

func addBodies(f *testing.F) {
	for i, body := range []string{"", "a", " a \t\r\n\r\n", "\r\n\r\n", "a\r", "a\r\n \r\nb\n", "\t\x00 \r\r\n"} {
		f.Add([]byte(body), uint64(i))
	}
}

func FuzzBodyHasher(f *testing.F) {
	addBodies(f)
	f.Fuzz(func(t *testing.T, body []byte, seed uint64) {
		if got, want := sumInPieces(body, seed), sha256.Sum256(canonicalBody(body)); got != want {
			t.Fatalf("%q: differs from the canonical form %q", body, canonicalBody(body))
		}
	})
}

// FuzzBodyHasherPeer stands apart because the goroutines of go-msgauth make the coverage of the same input vary.
func FuzzBodyHasherPeer(f *testing.F) {
	addBodies(f)
	f.Fuzz(func(t *testing.T, body []byte, seed uint64) {
		body = toCRLF(body)
		if sumInPieces(body, seed) != peerSum(t, body) {
			t.Fatalf("%q: differs from go-msgauth", body)
		}
	})
}

// textBody is prose of about n octets, flowed, with some indentation.
func textBody(n int) string {
	const text = "We lost the game.  Are you hungry yet? \r\nThere is a table in the hall, and the lamp above it has been on all\r\n" +
		"    evening; whoever comes home first puts the kettle on and reads what the\r\nothers left there before they went.\r\n\r\n"
	return strings.Repeat(text, n/len(text)+1)[:n]
}

// base64Body is an attachment of about n octets.
func base64Body(n int) string {
	line := strings.Repeat("QUJDREVG", 9) + "QUJD\r\n"
	return strings.Repeat(line, n/len(line)+1)[:n]
}
