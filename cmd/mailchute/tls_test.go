package main

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// These tests are in the package: certificates are not exported.

func writePair(t *testing.T, dir, host string, at time.Time) {
	t.Helper()
	cert, key, err := selfSigned(host, at)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"c.pem": cert, "k.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCertificate_RenewedFilesAreServed(t *testing.T) {
	cfg := configIn(t)
	cfg.SMTP.TLS = TLSConfig{CertFile: filepath.Join(cfg.DataDir, "c.pem"), KeyFile: filepath.Join(cfg.DataDir, "k.pem")}
	writePair(t, cfg.DataDir, "one.example", time.Now())
	c, err := openCertificate(cfg, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	name := func() string { return c.current.Load().Leaf.Subject.CommonName }

	writePair(t, cfg.DataDir, "two.example", time.Now())
	touch(t, cfg, time.Now().Add(time.Minute))
	c.refresh()
	if name() != "two.example" {
		t.Errorf("after a renewal %s is served", name())
	}
	if err := os.WriteFile(cfg.SMTP.TLS.CertFile, []byte("half a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
	touch(t, cfg, time.Now().Add(2*time.Minute))
	c.refresh()
	if name() != "two.example" {
		t.Errorf("after a broken file %s is served", name())
	}
	writePair(t, cfg.DataDir, "old.example", time.Now().Add(-2*selfSignedFor))
	touch(t, cfg, time.Now().Add(3*time.Minute))
	c.refresh()
	if name() != "two.example" {
		t.Errorf("after an expired file %s is served", name())
	}
}

// touch gives both files a time of their own, whatever the clock's resolution.
func touch(t *testing.T, cfg Config, at time.Time) {
	t.Helper()
	for _, f := range []string{cfg.SMTP.TLS.CertFile, cfg.SMTP.TLS.KeyFile} {
		if err := os.Chtimes(f, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCertificate_RefusedAtStart(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T, Config){
		"missing": func(*testing.T, Config) {},
		"expired": func(t *testing.T, cfg Config) {
			writePair(t, cfg.DataDir, "old.example", time.Now().Add(-2*selfSignedFor))
		},
		"mismatch": func(t *testing.T, cfg Config) {
			writePair(t, cfg.DataDir, "a.example", time.Now())
			key, err := os.ReadFile(cfg.SMTP.TLS.KeyFile)
			if err != nil {
				t.Fatal(err)
			}
			writePair(t, cfg.DataDir, "b.example", time.Now())
			if err := os.WriteFile(cfg.SMTP.TLS.KeyFile, key, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := configIn(t)
			cfg.SMTP.TLS = TLSConfig{CertFile: filepath.Join(cfg.DataDir, "c.pem"), KeyFile: filepath.Join(cfg.DataDir, "k.pem")}
			prepare(t, cfg)
			if _, err := openCertificate(cfg, slog.New(slog.DiscardHandler)); exitCode(err) != exitConfig {
				t.Errorf("openCertificate = %v, want exit code %d", err, exitConfig)
			}
		})
	}
}

func TestCertificate_SelfSigned(t *testing.T) {
	cfg := configIn(t)
	open := func() *certificate {
		t.Helper()
		c, err := openCertificate(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := open().current.Load().Leaf
	if again := open().current.Load().Leaf; !again.Equal(first) {
		t.Error("a second start made another certificate")
	}
	if err := first.VerifyHostname("127.0.0.1"); err != nil {
		t.Error(err)
	}
	for _, f := range []string{"tls.crt", "tls.key"} {
		info, err := os.Stat(filepath.Join(cfg.DataDir, f))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, want mode 0600", f, info, err)
		}
	}
	// A crash between the two files leaves a key alone: both are made anew.
	if err := os.Remove(filepath.Join(cfg.DataDir, "tls.crt")); err != nil {
		t.Fatal(err)
	}
	if renewed := open().current.Load().Leaf; renewed.Equal(first) {
		t.Error("the old certificate came back")
	}
}

func TestCertificate_OldProtocolsAreRefused(t *testing.T) {
	c, err := openCertificate(configIn(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.config(); got.MinVersion != tls.VersionTLS12 || !got.SessionTicketsDisabled {
		t.Errorf("minimum version %x, tickets disabled %v", got.MinVersion, got.SessionTicketsDisabled)
	}
}
