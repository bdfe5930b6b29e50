package dane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// identity is a certificate with its key.
type identity struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate, self-signed without an issuer.
func issue(t *testing.T, by *identity, change func(*x509.Certificate)) *identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(now.Unix()), Subject: pkix.Name{CommonName: "test"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), BasicConstraintsValid: true,
	}
	change(c)
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &identity{cert, key}
}

func authority(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject.CommonName, c.IsCA, c.KeyUsage = name, true, x509.KeyUsageCertSign
		c.NotBefore = now.Add(-72 * time.Hour)
	}
}

func host(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = names }
}

func expired(change func(*x509.Certificate)) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		change(c)
		c.NotBefore, c.NotAfter = now.Add(-48*time.Hour), now.Add(-24*time.Hour)
	}
}

// tlsa makes the record that matches a certificate.
func tlsa(usage, selector, matching uint8, id *identity) TLSA {
	data := id.cert.Raw
	if selector == SelectorSPKI {
		data = id.cert.RawSubjectPublicKeyInfo
	}
	switch matching {
	case MatchSHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case MatchSHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return TLSA{usage, selector, matching, data}
}

func shown(ids ...*identity) tls.ConnectionState {
	var state tls.ConnectionState
	for _, id := range ids {
		state.PeerCertificates = append(state.PeerCertificates, id.cert)
	}
	return state
}

type verifyCase struct {
	clause  string
	records []TLSA
	chain   []*identity
	want    Reason // "" accepts
}

func TestVerify(t *testing.T) {
	root := issue(t, nil, authority("root"))
	sub := issue(t, root, authority("sub"))
	leaf := issue(t, sub, host("mx.example.com"))
	other := issue(t, sub, host("mx.example.net"))
	late := issue(t, sub, expired(host("mx.example.com")))
	wild := issue(t, sub, host("*.example.com"))
	hop := issue(t, sub, host("example.com"))
	common := issue(t, sub, func(c *x509.Certificate) { c.Subject.CommonName = "mx.example.com" })
	both := issue(t, sub, func(c *x509.Certificate) {
		c.Subject.CommonName, c.DNSNames = "mx.example.com", []string{"other.example.net"}
	})
	self := issue(t, nil, expired(host("whoever.invalid")))
	stranger := issue(t, nil, host("mx.example.com"))
	oldCA := issue(t, root, expired(authority("old")))
	underOld := issue(t, oldCA, host("mx.example.com"))
	underLeaf := issue(t, other, host("mx.example.com"))
	full := []*identity{leaf, sub, root}

	cases := []verifyCase{
		{"7672 3.1.1 EE ignores names and expiry", []TLSA{tlsa(3, 1, 1, self)}, []*identity{self}, ""},
		{"7672 3.1.1 EE other key", []TLSA{tlsa(3, 1, 1, self)}, []*identity{stranger}, NoMatch},
		{"7672 3.1.1 EE compares the first certificate only", []TLSA{tlsa(3, 1, 1, sub)}, full, NoMatch},
		{"6698 2.1.4 one of several is enough", []TLSA{tlsa(3, 1, 1, stranger), tlsa(3, 1, 1, leaf)}, full, ""},
		{"7672 3.1.2 TA root", []TLSA{tlsa(2, 0, 1, root)}, full, ""},
		{"7672 3.1.2 TA intermediate without its root", []TLSA{tlsa(2, 0, 1, sub)}, []*identity{leaf, sub}, ""},
		{"7672 3.1.2 TA not in the chain", []TLSA{tlsa(2, 0, 1, root)}, []*identity{leaf, sub}, NoMatch},
		{"7671 5.2.1 TA whole certificate in DNS, not in the chain", []TLSA{tlsa(2, 0, 0, root)}, []*identity{leaf, sub}, ""},
		{"7671 5.2.1 TA bare key in DNS, not in the chain", []TLSA{tlsa(2, 1, 0, root)}, []*identity{leaf, sub}, ""},
		{"7671 5.2.1 TA bare key that signed the leaf", []TLSA{tlsa(2, 1, 0, sub)}, []*identity{leaf}, ""},
		{"7671 5.2.1 TA bare key of somebody else", []TLSA{tlsa(2, 1, 0, stranger)}, []*identity{leaf}, NoMatch},
		{"7672 3.1.2 TA shown but without a path", []TLSA{tlsa(2, 0, 1, root)}, []*identity{stranger, root}, NoMatch},
		{"7672 3.1.2 a leaf is not its own anchor", []TLSA{tlsa(2, 0, 1, stranger)}, []*identity{stranger}, NoMatch},
		{"5280 4.2.1.9 a host cannot issue", []TLSA{tlsa(2, 0, 1, root)}, []*identity{underLeaf, other, sub, root}, NoMatch},
		{"5280 4.2.1.9 a host cannot issue under a bare key", []TLSA{tlsa(2, 1, 0, sub)}, []*identity{underLeaf, other}, NoMatch},
		{"7672 3.1.2 TA expired leaf", []TLSA{tlsa(2, 0, 1, root)}, []*identity{late, sub, root}, Expired},
		{"7672 3.1.2 TA expired issuer", []TLSA{tlsa(2, 0, 1, root)}, []*identity{underOld, oldCA, root}, Expired},
		{"7672 3.2.1 TA wrong name", []TLSA{tlsa(2, 0, 1, root)}, []*identity{other, sub, root}, WrongName},
		{"7672 3.2.1 TA next-hop name", []TLSA{tlsa(2, 0, 1, root)}, []*identity{hop, sub, root}, ""},
		{"7672 3.2.3 TA wildcard", []TLSA{tlsa(2, 0, 1, root)}, []*identity{wild, sub, root}, ""},
		{"7672 3.2.2 TA common name without DNS names", []TLSA{tlsa(2, 0, 1, root)}, []*identity{common, sub, root}, ""},
		{"7672 3.2.2 TA common name beside DNS names", []TLSA{tlsa(2, 0, 1, root)}, []*identity{both, sub, root}, WrongName},
		{"7672 2.2 EE saves a TA failure", []TLSA{tlsa(2, 0, 1, root), tlsa(3, 0, 2, other)}, []*identity{other, sub, root}, ""},
		{"7672 3.1.3 PKIX-EE is unusable", []TLSA{tlsa(1, 1, 1, leaf)}, full, Unusable},
		{"7672 3.1.3 PKIX-TA is unusable", []TLSA{tlsa(0, 0, 1, root)}, full, Unusable},
		{"no records", nil, full, Unusable},
		{"no certificate", []TLSA{tlsa(3, 1, 1, leaf)}, nil, NoMatch},
		{"7671 9 the weaker digest does not count", []TLSA{tlsa(3, 1, 1, leaf), tlsa(3, 1, 2, stranger)}, full, NoMatch},
		{"7671 9 other selectors keep their digest", []TLSA{tlsa(3, 0, 1, leaf), tlsa(3, 1, 2, stranger)}, full, ""},
	}
	for _, usage := range []uint8{2, 3} {
		for _, selector := range []uint8{0, 1} {
			for _, matching := range []uint8{0, 1, 2} {
				id := map[uint8]*identity{2: sub, 3: leaf}[usage]
				cases = append(cases, verifyCase{"6698 2.1 every combination", []TLSA{tlsa(usage, selector, matching, id)}, full, ""})
			}
		}
	}
	for _, tt := range cases {
		checkVerify(t, tt)
	}
}

func checkVerify(t *testing.T, tt verifyCase) {
	t.Helper()
	err := Verify(tt.records, shown(tt.chain...), []string{"mx.example.com", "example.com"}, now)
	var m *MismatchError
	switch {
	case tt.want == "" && err != nil:
		t.Errorf("%s (%v): %v", tt.clause, tt.records[0].Usage, err)
	case tt.want != "" && !errors.As(err, &m):
		t.Errorf("%s: got %v, want %s", tt.clause, err, tt.want)
	case tt.want != "" && (m.Reason != tt.want || m.Result() != string(tt.want) || m.Error() == ""):
		t.Errorf("%s: got %s (%v), want %s", tt.clause, m.Reason, m, tt.want)
	}
}

func TestUsable(t *testing.T) {
	id := issue(t, nil, host("x"))
	sum256, sum512 := make([]byte, 32), make([]byte, 64)
	rsaKey := func(bits uint) []byte {
		n := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), bits), big.NewInt(1))
		der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n, E: 65537})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	for _, tt := range []struct {
		record TLSA
		want   bool
	}{
		{TLSA{3, 1, 1, sum256}, true},
		{TLSA{2, 0, 2, sum512}, true},
		{TLSA{0, 0, 1, sum256}, false},
		{TLSA{1, 1, 1, sum256}, false},
		{TLSA{4, 1, 1, sum256}, false},
		{TLSA{255, 1, 1, sum256}, false},
		{TLSA{3, 2, 1, sum256}, false},
		{TLSA{3, 1, 3, sum256}, false},
		{TLSA{3, 1, 1, sum256[:31]}, false},
		{TLSA{3, 1, 2, sum256}, false},
		{TLSA{3, 1, 1, nil}, false},
		{TLSA{3, 0, 0, []byte("no certificate")}, false},
		{TLSA{3, 1, 0, []byte("no key")}, false},
		{TLSA{2, 1, 0, rsaKey(8192)}, true},
		{TLSA{2, 1, 0, rsaKey(8193)}, false}, // too costly
		{tlsa(3, 0, 0, id), true},
		{tlsa(3, 1, 0, id), true},
	} {
		if got := tt.record.Usable(); got != tt.want {
			t.Errorf("%v: %v", tt.record, got)
		}
	}
}

func TestLevel(t *testing.T) {
	good, bad := TLSA{3, 1, 1, make([]byte, 32)}, TLSA{1, 1, 1, make([]byte, 32)}
	for _, tt := range []struct {
		set  Set
		want Level
		name string
	}{
		{Set{}, None, "none"},
		{Set{Records: []TLSA{bad}}, Encrypt, "encrypt"},
		{Set{Records: []TLSA{bad, good}}, Authenticate, "authenticate"},
	} {
		if got := tt.set.Level(); got != tt.want || got.String() != tt.name {
			t.Errorf("%v: got %v", tt.set, got)
		}
	}
	if s := (TLSA{3, 1, 1, []byte{0xab, 0xcd}}).String(); s != "3 1 1 ABCD" {
		t.Errorf("String() = %q", s)
	}
}

func TestSetVerify(t *testing.T) {
	root := issue(t, nil, authority("root"))
	leaf := issue(t, root, host("mx.example.com"))
	state := shown(leaf, root)
	if err := (Set{Base: "mx.example.com", Records: []TLSA{tlsa(2, 0, 1, root)}}).Verify(state, nil, now); err != nil {
		t.Errorf("the base domain is a reference identifier: %v", err)
	}
	if err := (Set{Base: "mx.example.com", Records: []TLSA{tlsa(1, 0, 1, leaf)}}).Verify(state, nil, now); err != nil {
		t.Errorf("unusable records ask for encryption alone: %v", err)
	}
	if err := (Set{}).Verify(state, []string{"mx.example.com"}, now); err == nil {
		t.Error("a set without records verified something")
	}
}

// TestHandshake runs the verification where it belongs, with an expired self-signed certificate.
func TestHandshake(t *testing.T) {
	self := issue(t, nil, expired(host("whoever.invalid")))
	for _, tt := range []struct {
		record TLSA
		ok     bool
	}{
		{tlsa(3, 1, 1, self), true},
		{tlsa(3, 1, 1, issue(t, nil, host("mx.example.com"))), false},
	} {
		set := Set{Base: "mx.example.com", Records: []TLSA{tt.record}}
		err := handshake(t, self, &tls.Config{
			ServerName: set.Base, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12,
			VerifyConnection: func(state tls.ConnectionState) error { return set.Verify(state, nil, now) },
		})
		var m *MismatchError
		if (err == nil) != tt.ok || errors.As(err, &m) == tt.ok {
			t.Errorf("handshake: %v, want success %v", err, tt.ok)
		}
	}
}

func handshake(t *testing.T, server *identity, client *tls.Config) error {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			cert := tls.Certificate{Certificate: [][]byte{server.cert.Raw}, PrivateKey: server.key}
			_ = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake() // fails when the client refuses
			err = c.Close()
		}
		done <- err
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	if err == nil {
		_ = c.Close()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	return err
}
