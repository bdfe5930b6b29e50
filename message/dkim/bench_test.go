package dkim

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"strings"
	"testing"
	"time"
)

// The claim: relaxed body hashing costs 1 to 2 µs a KB for the bodies of mail, half of which is SHA-256; go-msgauth needs about
// six times that. The bodies made to be worst (double, tabs) cost no more than any body does there.
func BenchmarkBodyHasher(b *testing.B) {
	for _, bench := range []struct{ name, body string }{
		{"4KiB/text", textBody(4 << 10)},
		{"4KiB/base64", base64Body(4 << 10)},
		{"1MiB/text", textBody(1 << 20)},
		{"1MiB/base64", base64Body(1 << 20)},
		{"1MiB/indented", strings.Repeat("        <td>cell</td>\r\n", 1<<20/23)},
		{"1MiB/spaces", strings.Repeat(" ", 1<<20)},
		{"1MiB/lineends", strings.Repeat("\r\n", 1<<19)},
		{"1MiB/double", strings.Repeat("a  ", 1<<20/3)},
		{"1MiB/tabs", strings.Repeat("a\t", 1<<19)},
	} {
		body := []byte(bench.body)
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				bodySum(body)
			}
			reportPerKB(b, len(body))
		})
	}
}

// BenchmarkBodyPeer includes what go-msgauth does around the hash, which weighs about 0.1 ms a message.
func BenchmarkBodyPeer(b *testing.B) {
	for _, bench := range []struct{ name, body string }{{"1MiB/text", textBody(1 << 20)}, {"1MiB/base64", base64Body(1 << 20)}} {
		body := []byte(bench.body)
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				peerSum(b, body)
			}
			reportPerKB(b, len(body))
		})
	}
}

// BenchmarkBodySHA256 is the part of BenchmarkBodyHasher that cannot be saved.
func BenchmarkBodySHA256(b *testing.B) {
	body := []byte(textBody(1 << 20))
	for b.Loop() {
		sha256.Sum256(body)
	}
	reportPerKB(b, len(body))
}

func reportPerKB(b *testing.B, size int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(size)*1024/1000, "µs/KB")
}

// The claim: next to the RSA operation all the rest of a signature is nothing.
func BenchmarkSign(b *testing.B) {
	header := eml(ordinaryHeader)
	sum := bodySum([]byte(textBody(4 << 10)))
	now := time.Now()
	both := testSigners()
	for _, bench := range []struct {
		name    string
		signers []Signer
	}{{"rsa2048", both[:1]}, {"ed25519", both[1:]}, {"both", both}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := SignAll(bench.signers, header, sum, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("raw-rsa2048", func(b *testing.B) {
		priv := testKeys()[RSA].reveal().rsa
		for b.Loop() {
			if _, err := rsa.SignPKCS1v15(nil, priv, crypto.SHA256, sum[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("raw-ed25519", func(b *testing.B) {
		for b.Loop() {
			testKeys()[Ed25519].reveal().sign(sum)
		}
	})
}
