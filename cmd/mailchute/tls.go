package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// certificate serves the newest certificate of two files. Who renews them need
// not tell us: they are looked at again and again, and a pair that does not load
// is logged and the old one kept.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	every             time.Duration
	current           atomic.Pointer[tls.Certificate]
	seen              fileState // owned by Run, after openCertificate
}

// fileState tells whether files have changed.
type fileState [2]struct {
	mtime time.Time
	size  int64
}

// openCertificate loads the configured pair, or the self-signed one of the data
// directory, which it makes on the first start. An error has exit code 78.
func openCertificate(cfg Config, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: cfg.SMTP.TLS.CertFile, keyFile: cfg.SMTP.TLS.KeyFile, log: log, every: 10 * time.Second}
	if c.certFile == "" {
		c.certFile, c.keyFile = filepath.Join(cfg.DataDir, "tls.crt"), filepath.Join(cfg.DataDir, "tls.key")
		if err := ensureSelfSigned(c.certFile, c.keyFile, hostname(cfg), time.Now()); err != nil {
			return nil, err
		}
	}
	c.seen = c.look()
	if err := c.load(); err != nil {
		return nil, &exitError{exitConfig, fmt.Errorf("smtp.tls: %w", err)}
	}
	return c, nil
}

func (c *certificate) look() fileState {
	var s fileState
	for i, path := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(path); err == nil {
			s[i].mtime, s[i].size = info.ModTime(), info.Size()
		}
	}
	return s
}

func (c *certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("loading %s and %s: %w", c.certFile, c.keyFile, err)
	}
	if now := time.Now(); now.After(pair.Leaf.NotAfter) {
		return fmt.Errorf("%s expired on %s", c.certFile, when(pair.Leaf.NotAfter))
	}
	c.current.Store(&pair)
	return nil
}

// Run watches the files until ctx ends, and looks at once when now fires.
func (c *certificate) Run(ctx context.Context, now <-chan struct{}) error {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-now:
			c.seen = fileState{}
		case <-tick.C:
		}
		c.refresh()
	}
}

func (c *certificate) refresh() {
	state := c.look()
	if state == c.seen {
		return
	}
	c.seen = state
	if err := c.load(); err != nil {
		c.log.Error("certificate not reloaded, the old one stays", "err", err)
		return
	}
	c.log.Info("certificate loaded", "file", c.certFile, "until", c.current.Load().Leaf.NotAfter)
}

// config returns the server side of TLS. Tickets are off: they would let a
// stolen ticket key open recorded sessions, and submission does not need them.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		SessionTicketsDisabled: true,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}

const (
	selfSignedFor   = 10 * 365 * 24 * time.Hour
	selfSignedRenew = 30 * 24 * time.Hour
)

// ensureSelfSigned makes a certificate where there is none, or where ours is
// about to expire.
func ensureSelfSigned(certFile, keyFile, host string, now time.Time) error {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	switch {
	case err == nil && now.Add(selfSignedRenew).Before(pair.Leaf.NotAfter):
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return exitWith(exitConfig, "the self-signed certificate does not load: %w; remove %s and %s to have a new one made", err, certFile, keyFile)
	}
	cert, key, err := selfSigned(host, now)
	if err != nil {
		return fmt.Errorf("making a self-signed certificate: %w", err)
	}
	// The key first: a crash between the two leaves no certificate, and the next start makes both anew.
	for _, f := range []struct {
		path  string
		block *pem.Block
	}{{keyFile, key}, {certFile, cert}} {
		if err := replaceFile(f.path, pem.EncodeToMemory(f.block)); err != nil {
			return &exitError{exitCreate, fmt.Errorf("writing the self-signed certificate: %w", err)}
		}
	}
	return nil
}

func selfSigned(host string, now time.Time) (cert, key *pem.Block, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: host},
		DNSNames:              []string{host, "localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(selfSignedFor),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return &pem.Block{Type: "CERTIFICATE", Bytes: der}, &pem.Block{Type: "PRIVATE KEY", Bytes: encoded}, nil
}

// replaceFile puts a file of mode 0600 in place whole or not at all.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it has been renamed
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
