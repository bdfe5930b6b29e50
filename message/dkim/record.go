package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// Record is a published key record (RFC 6376 section 3.6.1).
type Record struct {
	// Type is the kind of the key (k=), RSA where the record does not say.
	Type Type
	// Revoked says that p= is empty: the key has been taken back, every signature fails.
	Revoked bool
	// Testing says that verifiers may treat a broken signature as none (t=y). A record in use should not say so.
	Testing bool
	// Hashes and Services are the lists of h= and s=; nil means that the record allows all.
	Hashes, Services []string
	// Notes is the text of n=, meant for people. It comes from outside and is one line of printable ASCII.
	Notes string

	public interface{ Equal(crypto.PublicKey) bool } // nil if Revoked
}

// Record returns the value of the TXT record to publish for the key. It is longer than one string of a TXT record may be if
// the key is RSA: see SplitTXT. The zero Key has the record of a revoked key.
func (k Key) Record() string {
	switch k.Type() {
	case RSA:
		der, err := x509.MarshalPKIXPublicKey(k.reveal().rsa.Public())
		if err != nil {
			panic(err) // a modulus and an exponent can always be encoded
		}
		return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
	case Ed25519:
		// The 32 octets themselves, not SubjectPublicKeyInfo (RFC 8463 section 4.2).
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(k.reveal().ed25519.Public().(ed25519.PublicKey))
	}
	return "v=DKIM1; p="
}

// Matches returns nil if signatures made with the key verify against the record, and otherwise the reason why not:
// ErrRevoked, ErrOtherKey, ErrRestricted, or ErrSigner for the zero Key.
func (k Key) Matches(r Record) error {
	if k.IsZero() {
		return fmt.Errorf("%w: no key", ErrSigner)
	}
	return r.allows(k.public())
}

// Covers is Matches for whoever has the record that should be published, and not the key.
func (r Record) Covers(should Record) error {
	if should.Revoked {
		return ErrRevoked
	}
	return r.allows(should.public)
}

func (r Record) allows(public crypto.PublicKey) error {
	switch {
	case r.Revoked:
		return ErrRevoked
	case r.public == nil || !r.public.Equal(public):
		return ErrOtherKey
	case r.Hashes != nil && !slices.Contains(r.Hashes, "sha256"):
		return fmt.Errorf("%w: h=%q", ErrRestricted, strings.Join(r.Hashes, ":"))
	case r.Services != nil && !slices.Contains(r.Services, "email") && !slices.Contains(r.Services, "*"):
		return fmt.Errorf("%w: s=%q", ErrRestricted, strings.Join(r.Services, ":"))
	}
	return nil
}

func (k Key) public() crypto.PublicKey {
	if k.reveal().rsa != nil {
		return k.reveal().rsa.Public()
	}
	return k.reveal().ed25519.Public()
}

// ParseRecord reads the value of a TXT record, its strings joined without anything between them. It is strict, because a
// record that one verifier forgives is still refused by another. The error is an ErrRecord that says what is wrong.
func ParseRecord(txt string) (Record, error) {
	tags, err := parseTags(txt)
	if err != nil {
		return Record{}, err
	}
	// v= is optional, but has to be first and exactly this.
	for i, t := range tags {
		if t.name == "v" && (i > 0 || t.value != "DKIM1") {
			return Record{}, fmt.Errorf("%w: v= is not DKIM1 or not first", ErrRecord)
		}
	}
	r := Record{Type: RSA, Notes: strings.Join(strings.Fields(tags.get("n")), " ")}
	if k, ok := tags.find("k"); ok {
		r.Type = Type(k)
	}
	r.Hashes, r.Services = tags.list("h"), tags.list("s")
	r.Testing = slices.Contains(tags.list("t"), "y")
	p, ok := tags.find("p")
	if !ok {
		return Record{}, fmt.Errorf("%w: no p=", ErrRecord)
	}
	r.Revoked = p == ""
	if err := r.parsePublic(p); err != nil {
		return Record{}, err
	}
	return r, nil
}

// parsePublic reads p=, which may contain white space anywhere.
func (r *Record) parsePublic(p string) error {
	if r.Type != RSA && r.Type != Ed25519 {
		return fmt.Errorf("%w: k=%q is unknown", ErrRecord, r.Type)
	}
	if r.Revoked {
		return nil
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Map(dropFWS, p))
	switch {
	case err != nil:
		return fmt.Errorf("%w: p= is not base64", ErrRecord)
	case r.Type == RSA:
		return r.parseRSA(raw)
	case len(raw) != ed25519.PublicKeySize:
		return fmt.Errorf("%w: p= has %d octets, Ed25519 keys have 32", ErrRecord, len(raw))
	}
	r.public = ed25519.PublicKey(raw)
	return nil
}

// parseRSA takes SubjectPublicKeyInfo and RSAPublicKey, between which RFC 6376 is undecided (erratum 3017).
func (r *Record) parseRSA(der []byte) error {
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		pub, err = x509.ParsePKCS1PublicKey(der)
	}
	key, ok := pub.(*rsa.PublicKey)
	if err != nil || !ok {
		return fmt.Errorf("%w: p= is no RSA key", ErrRecord)
	}
	r.public = key
	return nil
}

type tag struct{ name, value string }

type tags []tag

// parseTags reads a tag-list of RFC 6376 section 3.2.
func parseTags(text string) (tags, error) {
	text = strings.TrimRight(text, fws)
	var list tags
	for spec := range strings.SplitSeq(strings.TrimSuffix(text, ";"), ";") {
		name, value, found := strings.Cut(spec, "=")
		t := tag{strings.Trim(name, fws), strings.Trim(value, fws)}
		if !found || !isTagName(t.name) || strings.ContainsFunc(t.value, notTagChar) {
			return nil, fmt.Errorf("%w: tag %d is not name=value", ErrRecord, len(list)+1)
		}
		if _, twice := list.find(t.name); twice {
			return nil, fmt.Errorf("%w: %s= stands there twice", ErrRecord, t.name)
		}
		list = append(list, t)
	}
	return list, nil
}

func (l tags) find(name string) (string, bool) {
	for _, t := range l {
		if t.name == name {
			return t.value, true
		}
	}
	return "", false
}

func (l tags) get(name string) string {
	value, _ := l.find(name)
	return value
}

// list returns the members of a list with colons, nil if the tag is not there.
func (l tags) list(name string) []string {
	value, ok := l.find(name)
	if !ok {
		return nil
	}
	members := strings.Split(value, ":")
	for i := range members {
		members[i] = strings.Trim(members[i], fws)
	}
	return members
}

const fws = " \t\r\n"

func dropFWS(r rune) rune {
	if strings.ContainsRune(fws, r) {
		return -1
	}
	return r
}

func isTagName(name string) bool {
	for i := range len(name) {
		if !isAlnum(name[i]) && name[i] != '_' || i == 0 && '0' <= name[i] && name[i] <= '9' {
			return false
		}
	}
	return name != "" && name[0] != '_'
}

// notTagChar reports what a tag-value cannot contain. Semicolons are gone by then.
func notTagChar(r rune) bool { return (r <= ' ' || r > '~') && !strings.ContainsRune(fws, r) }
