package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mailchute/mailchute/doctor"
)

// ownFiles is how many files the server itself holds open, with some to spare.
const ownFiles = 256

func doctorCertificate(cfg Config) doctor.Certificate {
	c := doctor.Certificate{File: cfg.SMTP.TLS.CertFile, Host: hostname(cfg)}
	key := cfg.SMTP.TLS.KeyFile
	if c.File == "" {
		c.File, key = filepath.Join(cfg.DataDir, "tls.crt"), filepath.Join(cfg.DataDir, "tls.key")
	}
	pair, err := tls.LoadX509KeyPair(c.File, key)
	if err != nil {
		c.Err = err
		if cfg.SMTP.TLS.CertFile != "" && errors.Is(err, fs.ErrNotExist) {
			c.Err = errors.New("it was configured, and is not there") // only the self-signed one is made
		}
		return c
	}
	for _, der := range pair.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			c.Chain, c.Err = nil, err
			return c
		}
		c.Chain = append(c.Chain, cert)
	}
	return c
}

func doctorDirectory(cfg Config) doctor.Directory {
	d := doctor.Directory{Path: cfg.DataDir}
	info, err := os.Stat(cfg.DataDir)
	if err != nil {
		d.Err = err
		return d
	}
	d.Mode = info.Mode()
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		d.Foreign = int(st.Uid) != os.Geteuid()
	}
	var fsys syscall.Statfs_t
	if d.Err = syscall.Statfs(cfg.DataDir, &fsys); d.Err != nil {
		return d
	}
	block := uint64(fsys.Bsize)
	d.Free = uint64(fsys.Bavail) * block
	if d.MinFree = uint64(cfg.Storage.MinFree); d.MinFree == 0 {
		d.MinFree = max(512<<20, uint64(fsys.Blocks)*block/20)
	}
	return d
}

func doctorClock(cfg Config) doctor.Clock {
	c := doctor.Clock{Now: time.Now()}
	c.Unsynchronised, c.Unknown = clockState()
	_ = filepath.WalkDir(cfg.DataDir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // what cannot be read is the affair of other checks
		}
		if info, err := e.Info(); err == nil && info.ModTime().After(c.Newest) {
			c.Newest = info.ModTime()
		}
		return nil
	})
	return c
}

func doctorOpenFiles(cfg Config) doctor.OpenFiles {
	f := doctor.OpenFiles{Outgoing: uint64(cfg.Delivery.Concurrency) + ownFiles}
	f.All = f.Outgoing + uint64(cfg.SMTP.Limits.Connections)
	var limit syscall.Rlimit
	f.Err = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	f.Limit = uint64(limit.Cur)
	return f
}
