package dkim

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// mail is a message that a property is tried on, kept in its parts. Every field ends with CRLF.
type mail struct {
	fields []string
	body   []byte
}

func (m mail) bytes() []byte { return []byte(strings.Join(m.fields, "") + crlf + string(m.body)) }

// randomMail makes a header section of fields that are signed by default and some that are not, with odd white space, folds
// and octets of every kind, in front of the body.
func randomMail(rng *rand.Rand, body []byte) mail {
	names := append(DefaultHeaders(), "X-Campaign", "Received", "To-Do", "Subjects")
	fields := []string{"From:" + randomValue(rng) + crlf}
	for range rng.IntN(12) {
		fields = append(fields, names[rng.IntN(len(names))]+":"+randomValue(rng)+crlf)
	}
	rng.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	return mail{fields, body}
}

func randomValue(rng *rand.Rand) string {
	var b strings.Builder
	for range rng.IntN(6) {
		if rng.IntN(3) > 0 {
			b.WriteString(randomBlank(rng))
		}
		for range rng.IntN(8) {
			if c := byte(1 + rng.IntN(255)); !strings.ContainsRune(fws, rune(c)) {
				b.WriteByte(c)
			}
		}
	}
	return b.String()
}

// randomBlank is white space as it may stand in a header field: a line that continues begins with a blank.
func randomBlank(rng *rand.Rand) string {
	return []string{" ", "\t", "  ", " \t ", "\r\n ", "\r\n\t", " \r\n  ", "\r\n \r\n\t"}[rng.IntN(8)]
}

// relax changes m in the ways that relaxed canonicalisation forgives, and perhaps adds fields that are not signed.
func relax(rng *rand.Rand, m mail) mail {
	out := mail{body: relaxBody(rng, m.body)}
	for _, f := range m.fields {
		if rng.IntN(6) == 0 {
			out.fields = append(out.fields, "X-Hop: "+randomValue(rng)+crlf)
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(f, crlf), ":")
		if rng.IntN(2) == 0 {
			name = strings.ToUpper(name)
		}
		name += []string{"", " ", "\t "}[rng.IntN(3)]
		value = strings.Trim(value, fws)
		var b strings.Builder
		for i, word := range strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(fws, r) }) {
			if i > 0 || rng.IntN(2) == 0 {
				b.WriteString(randomBlank(rng))
			}
			b.WriteString(word)
		}
		out.fields = append(out.fields, name+":"+b.String()+[]string{"", " ", " \t"}[rng.IntN(3)]+crlf)
	}
	return out
}

// relaxBody changes the length of runs of white space, adds some at line ends, and changes the number of last empty lines.
func relaxBody(rng *rand.Rand, body []byte) []byte {
	body = canonicalBody(body)
	blanks := []string{" ", "\t", "   ", "\t \t"}
	body = whiteSpace.ReplaceAllFunc(body, func([]byte) []byte { return []byte(blanks[rng.IntN(4)]) })
	body = bytes.ReplaceAll(body, []byte(crlf), []byte([]string{"", " ", "\t \t"}[rng.IntN(3)]+crlf))
	if rng.IntN(4) == 0 {
		body = bytes.TrimSuffix(body, []byte(crlf))
	}
	if len(body) == 0 || bytes.HasSuffix(body, []byte(crlf)) {
		body = append(body, strings.Repeat([]string{crlf, " \r\n"}[rng.IntN(2)], rng.IntN(4))...)
	}
	return body
}

// spoil changes one signed octet of m, in the body or in the value of a field that is signed, to another that is no white
// space, and says whether there was one.
func spoil(rng *rand.Rand, m mail) (mail, bool) {
	out := mail{append([]string(nil), m.fields...), bytes.Clone(m.body)}
	at := rng.IntN(len(m.fields) + 1)
	if at == len(m.fields) {
		return out, spoilOctet(rng, out.body)
	}
	name, value, _ := strings.Cut(m.fields[at], ":")
	if !contains(DefaultHeaders(), strings.TrimRight(name, " \t")) {
		return out, false
	}
	spoiled := []byte(value)
	ok := spoilOctet(rng, spoiled)
	out.fields[at] = name + ":" + string(spoiled)
	return out, ok
}

func spoilOctet(rng *rand.Rand, p []byte) bool {
	if len(p) == 0 {
		return false
	}
	start := rng.IntN(len(p))
	for i := range p {
		at := (start + i) % len(p)
		if !strings.ContainsRune(fws, rune(p[at])) {
			old := p[at]
			for p[at] == old {
				p[at] = '!' + byte(rng.IntN('~'-'!'))
			}
			return true
		}
	}
	return false
}

// checkProperty signs one message and asserts: it verifies; it verifies in every form that relaxed canonicalisation
// forgives; it does not verify with one signed octet changed, with a signed field gone, or with one more From.
func checkProperty(t *testing.T, signers []Signer, seed uint64, body []byte) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 3))
	m := randomMail(rng, toCRLF(body))
	sigs := string(bytes.TrimSuffix(signed(t, signers, m.bytes()), m.bytes()))
	judge := func(what string, m mail, valid bool) {
		t.Helper()
		message := append([]byte(sigs), m.bytes()...)
		for _, v := range verify(t, message, testZone()) {
			if (v.Err == nil) != valid {
				t.Fatalf("seed %d: %s: %v, want valid %v\n%q", seed, what, v.Err, valid, message)
			}
		}
	}
	judge("as signed", m, true)
	for range 3 {
		relaxed := relax(rng, m)
		judge("relaxed", relaxed, true)
		if spoiled, ok := spoil(rng, relaxed); ok {
			judge("one octet changed", spoiled, false)
		}
	}
	at := rng.IntN(len(m.fields))
	if name, _, _ := strings.Cut(m.fields[at], ":"); contains(DefaultHeaders(), name) {
		judge("without "+name, mail{append(append([]string(nil), m.fields[:at]...), m.fields[at+1:]...), m.body}, false)
	}
	judge("one more From", mail{append([]string{"From: x@example.org\r\n"}, m.fields...), m.body}, false)
	judge("one more line", mail{m.fields, append(bytes.Clone(m.body), "\r\n.\r\n"...)}, false)
}

func TestSignProperty(t *testing.T) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 4))
		body := make([]byte, rng.IntN(400))
		for i := range body {
			body[i] = " \t\r\nab.\xff"[rng.IntN(8)]
		}
		signers := testSigners()
		if seed%10 > 0 {
			signers = signers[1:] // RSA is slow
		}
		checkProperty(t, signers, seed, body)
	}
}

func FuzzSign(f *testing.F) {
	f.Add(uint64(1), []byte(""))
	f.Add(uint64(2), []byte("Hello  there \n\n\n"))
	f.Add(uint64(3), []byte(" \t\r\n.\r\n\x00\xff"))
	f.Fuzz(func(t *testing.T, seed uint64, body []byte) { checkProperty(t, testSigners()[1:], seed, body) })
}

// FuzzSignHeader asserts that Sign takes or refuses whatever stands where a header section should, and that what it signs
// verifies.
func FuzzSignHeader(f *testing.F) {
	for _, text := range []string{ordinaryHeader, "From: a\n\n", "From:\n\t\n\n", "\n", "From : a\nFROM: b\nX;: y\n", "X\n : y\n"} {
		f.Add(eml(text))
	}
	f.Fuzz(func(t *testing.T, header []byte) {
		s := testSigners()[1]
		field, err := s.Sign(header, bodySum(nil), time.Now())
		if err != nil {
			return
		}
		message := append(field, bytes.TrimSuffix(header, []byte("\r\n\r\n"))...)
		message = append(bytes.TrimSuffix(message, []byte(crlf)), "\r\n\r\n"...)
		got := verify(t, message, testZone())
		if len(got) == 0 || got[0].Err != nil {
			t.Fatalf("%q: %+v", message, got)
		}
	})
}
