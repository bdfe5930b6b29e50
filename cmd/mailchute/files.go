package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local"
)

// files is an open data directory with its key file. One process has it at a
// time.
type files struct {
	store   *local.Store
	keyring *auth.Keyring
}

func (f *files) close() error {
	if err := f.store.Close(); err != nil {
		return &exitError{exitIO, fmt.Errorf("closing the data directory: %w", err)}
	}
	return nil
}

// openExisting opens the data directory for a command that runs without a
// server. newKey makes a key file where there is none, though there are tokens.
func openExisting(cfg Config, newKey bool) (*files, error) {
	if _, err := os.Stat(cfg.DataDir); errors.Is(err, fs.ErrNotExist) {
		return nil, exitWith(exitUnavailable, "there is no data directory %s: start \"mailchute serve\" first, or name the right one with --data", cfg.DataDir)
	}
	return openFiles(cfg, slog.New(slog.DiscardHandler), newKey)
}

// openOrCreate opens the data directory for the server.
func openOrCreate(cfg Config, log *slog.Logger) (*files, error) {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, &exitError{exitCreate, fmt.Errorf("making the data directory (data_dir): %w", err)}
	}
	if entries, err := os.ReadDir(cfg.DataDir); err == nil && len(entries) == 0 {
		_ = os.Chmod(cfg.DataDir, 0o700) // a fresh volume or home directory; checkDir looks at what came of it
	}
	return openFiles(cfg, log, false)
}

func openFiles(cfg Config, log *slog.Logger, newKey bool) (*files, error) {
	if err := checkDir(cfg.DataDir); err != nil {
		return nil, err
	}
	s, err := local.Open(cfg.DataDir, storeOptions(cfg, log))
	switch {
	case errors.Is(err, local.ErrLocked):
		return nil, exitWith(exitBusy, "%w", lockedError{cfg.DataDir})
	case errors.Is(err, store.ErrDamaged):
		return nil, &exitError{exitData, fmt.Errorf("opening the data directory: %w; try \"mailchute check --rebuild\"", err)}
	case err != nil:
		return nil, &exitError{openCode(err), fmt.Errorf("opening the data directory: %w", err)}
	}
	keyring, err := openKeyring(cfg, s.Snapshot(), newKey)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &files{s, keyring}, nil
}

// lockedError says that another process has the data directory open.
type lockedError struct{ dir string }

func (e lockedError) Error() string {
	return fmt.Sprintf("already running on %s: a server, or another command, has it open", e.dir)
}

func (lockedError) Unwrap() error { return local.ErrLocked }

func openCode(err error) int {
	if errors.Is(err, fs.ErrPermission) {
		return exitPermission
	}
	return exitIO
}

// checkDir refuses a data directory that others could read or change.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return &exitError{openCode(err), err}
	}
	if !info.IsDir() {
		return exitWith(exitConfig, "data_dir: %s is not a directory", dir)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return exitWith(exitConfig, "data_dir: others can get into %s (mode %#o); run: chmod 700 %s", dir, info.Mode().Perm(), dir)
	}
	return checkOwner(info.Sys(), dir)
}

// checkOwner keeps root and others from leaving files that the server's own
// user cannot open.
func checkOwner(sys any, dir string) error {
	stat, ok := sys.(*syscall.Stat_t)
	if !ok || int(stat.Uid) == os.Geteuid() {
		return nil
	}
	return exitWith(exitPermission, "data_dir: %s belongs to user %d, and this is user %d; run as that user, or: chown -R %d %s",
		dir, stat.Uid, os.Geteuid(), os.Geteuid(), dir)
}

// openKeyring makes a key file only where no token needs an older one: a missing
// file is otherwise a loss to report.
func openKeyring(cfg Config, snap *store.Snapshot, newKey bool) (*auth.Keyring, error) {
	if newKey || len(auth.KeysInUse(snap)) == 0 {
		if err := os.MkdirAll(filepath.Dir(cfg.KeyFile), 0o700); err != nil {
			return nil, &exitError{exitCreate, fmt.Errorf("making the directory of the key file (key_file): %w", err)}
		}
		return auth.OpenKeyring(cfg.KeyFile)
	}
	k, err := auth.LoadKeyring(cfg.KeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, exitWith(exitConfig, "key_file: %s is missing, and the stored tokens and DKIM keys cannot be used without it: "+
			"put its backup there, or give them up with \"mailchute key reset --yes\"", cfg.KeyFile)
	}
	return k, err
}
