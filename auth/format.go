package auth

import (
	"crypto/rand"
	"hash/crc32"
	"regexp"
	"strings"

	"github.com/mailchute/mailchute/store"
)

// Shapes of SMTP tokens, for secret scanners (RE2 syntax). The last six
// characters are a checksum, so a match can be confirmed offline with Recognise.
const (
	// SecretPattern matches the secret of an SMTP token. Whoever has one and its
	// access key can send mail.
	SecretPattern = `\bmcsk_[0-9A-Za-z]{36}\b`
	// AccessKeyPattern matches an access key, which is no secret but tells which
	// token to revoke.
	AccessKeyPattern = `\bMC-[TB]-[a-z][a-z0-9_-]{0,29}-[0-9A-Za-z]{28}\b`
)

const (
	secretPrefix   = "mcsk_"
	secretRandom   = 30 // base62: 178 bits
	accessRandom   = 22 // base62: 130 bits
	checksumLength = 6  // base62 digits that hold 32 bits
	base62         = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

var (
	secretShape    = regexp.MustCompile(`^(?:` + SecretPattern + `)$`)
	accessKeyShape = regexp.MustCompile(`^(?:` + AccessKeyPattern + `)$`)
	anyShape       = regexp.MustCompile(SecretPattern + `|` + AccessKeyPattern)
)

// accessKeyPrefix is the readable part of an access key: kind and ID of its
// stream.
func accessKeyPrefix(stream store.Stream) string {
	letter := "T"
	if stream.Kind == store.Broadcast {
		letter = "B"
	}
	return "MC-" + letter + "-" + stream.ID + "-"
}

// randomBase62 returns n characters, each of the 62 equally likely: octets that
// would favour the first ones are thrown away.
func randomBase62(n int) string {
	const fair = 256 - 256%len(base62)
	out := make([]byte, 0, n)
	var random [64]byte
	for {
		rand.Read(random[:])
		for _, b := range random {
			if len(out) == n {
				return string(out)
			}
			if int(b) < fair {
				out = append(out, base62[int(b)%len(base62)])
			}
		}
	}
}

// withChecksum appends the CRC-32 (IEEE) of s as six base62 digits.
func withChecksum(s string) string {
	sum := crc32.ChecksumIEEE([]byte(s))
	var digits [checksumLength]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = base62[sum%uint32(len(base62))]
		sum /= uint32(len(base62))
	}
	return s + string(digits[:])
}

func checksumHolds(s string) bool {
	return len(s) > checksumLength && withChecksum(s[:len(s)-checksumLength]) == s
}

// Recognise tells whether s is an access key or a secret of an SMTP token, by
// shape and checksum, without any store. API tokens are bare UUIDs and cannot be
// recognised.
func Recognise(s string) (Kind, bool) {
	if (secretShape.MatchString(s) || accessKeyShape.MatchString(s)) && checksumHolds(s) {
		return KindSMTPToken, true
	}
	return "", false
}

// Finding is a credential in a text, by octet offsets. It holds no copy of it.
type Finding struct {
	Kind       Kind
	Secret     bool // false for an access key
	Start, End int
}

// FindSecrets returns the access keys and secrets of SMTP tokens in text whose
// checksums hold, in order.
func FindSecrets(text string) []Finding {
	var out []Finding
	for _, at := range anyShape.FindAllStringIndex(text, -1) {
		found := text[at[0]:at[1]]
		if checksumHolds(found) {
			out = append(out, Finding{KindSMTPToken, strings.HasPrefix(found, secretPrefix), at[0], at[1]})
		}
	}
	return out
}
