package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"math/big"
	"testing"
	"time"
)

// chain issues a certificate by an authority; an empty authority name signs it
// itself.
func chain(t *testing.T, until time.Time, name string) []*x509.Certificate {
	t.Helper()
	return []*x509.Certificate{issued(t, until, name, "authority")}
}

func issued(t *testing.T, until time.Time, name, by string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: until}
	parent := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: by}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, parent, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func machineAilments(t *testing.T) []ailment {
	day := 24 * time.Hour
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	const host = "mail.example.com"
	until := func(d time.Duration) func(*Case) {
		return func(c *Case) { c.Certificate.Chain = chain(t, now.Add(d), host) }
	}
	own := func(c *Case) { c.Certificate.Chain = []*x509.Certificate{issued(t, now.Add(90*day), host, host)} }
	return []ailment{
		{"expires soon", set(until(20 * day)), "certificate", "", Warn, "in 20 days"},
		{"just long enough", set(until(21*day + time.Hour)), "certificate", "", OK, "valid for"},
		{"expired", set(until(-time.Hour)), "certificate", "", Fail, "expired"},
		{"not yet valid", set(func(c *Case) { c.Clock.Now = now.AddDate(-1, 0, 0) }), "certificate", "", Fail, "valid from"},
		{"other name", set(func(c *Case) { c.Certificate.Host = "smtp.example.com" }), "certificate", "", Fail, "not valid for smtp.example.com"},
		{"self-signed", set(own), "certificate", "", Warn, "self-signed"},
		{"none yet", set(func(c *Case) { c.Certificate = Certificate{Err: fs.ErrNotExist} }), "certificate", "", Warn, "none yet"},
		{"broken", set(func(c *Case) { c.Certificate = Certificate{Err: errors.New("no PEM")} }), "certificate", "", Fail, "no PEM"},
		{"empty", set(func(c *Case) { c.Certificate = Certificate{} }), "certificate", "", Fail, "no certificate"},
		{"open to others", set(func(c *Case) { c.Directory.Mode = 0o750 }), "data directory", "", Fail, "0750"},
		{"of another user", set(func(c *Case) { c.Directory.Foreign = true }), "data directory", "", Warn, "another user"},
		{"no directory", set(func(c *Case) { c.Directory = Directory{Err: fs.ErrNotExist} }), "data directory", "", Warn, "not there yet"},
		{"unreadable", set(func(c *Case) { c.Directory.Err = errors.New("I/O") }), "data directory", "", Fail, "I/O"},
		{"full", set(func(c *Case) { c.Directory.Free = 1<<30 - 1 }), "free space", "", Fail, "1023 MiB free"},
		{"nearly full", set(func(c *Case) { c.Directory.Free = 2<<30 - 1 }), "free space", "", Warn, "free"},
		{"clock at the epoch", set(func(c *Case) { c.Clock.Now = time.Unix(0, 0) }), "clock", "", Fail, "1970"},
		{"clock set back", set(func(c *Case) { c.Clock.Newest = now.Add(time.Hour) }), "clock", "", Fail, "set back"},
		{"clock alone", set(func(c *Case) { c.Clock.Unsynchronised = true }), "clock", "", Warn, "not synchronised"},
		{"clock unknown", set(func(c *Case) { c.Clock.Unknown = true }), "clock", "", OK, "cannot be read"},
		{"too few files", set(func(c *Case) { c.OpenFiles.Limit = 499 }), "open files", "", Fail, "499"},
		{"few files", set(func(c *Case) { c.OpenFiles.Limit = 1024 }), "open files", "", Warn, "1024"},
		{"files unknown", set(func(c *Case) { c.OpenFiles.Err = errors.New("no such limit") }), "open files", "", Warn, "no such limit"},
	}
}

func TestExamine_Machine(t *testing.T) {
	for _, a := range machineAilments(t) {
		t.Run(a.name, func(t *testing.T) {
			c, dns := healthy(t)
			a.spoil(&c, dns)
			a.found(t, Examine(t.Context(), c))
		})
	}
}
