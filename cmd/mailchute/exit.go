package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/store"
)

// Exit codes, as in sysexits.h.
const (
	exitOK          = 0
	exitFailed      = 1  // demo, bench, webhook test: it did not go as it should
	exitUsage       = 64 // the command line is wrong
	exitData        = 65 // a value or stored data is wrong
	exitUnavailable = 69 // there is no such thing, or no server
	exitSoftware    = 70 // a bug
	exitCreate      = 73 // cannot create a directory, file or socket
	exitIO          = 74 // the disk failed
	exitBusy        = 75 // somebody else has it; try again
	exitPermission  = 77 // not allowed
	exitConfig      = 78 // the configuration is wrong
)

// exitError carries an exit code with its error. A nil err means that
// everything has been said already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func exitWith(code int, format string, args ...any) error {
	return &exitError{code, fmt.Errorf(format, args...)}
}

func usage(format string, args ...any) error { return exitWith(exitUsage, format, args...) }

// exitTable maps errors to codes; the first match counts.
var exitTable = [...]struct {
	err  error
	code int
}{
	{store.ErrNotFound, exitUnavailable},
	{store.ErrClosed, exitUnavailable},
	{store.ErrExists, exitData},
	{store.ErrLimit, exitData},
	{store.ErrInvalid, exitData},
	{store.ErrDamaged, exitData},
	{store.ErrUnknown, exitIO},
	{store.ErrFull, exitIO},
	{store.ErrStale, exitBusy},
	{store.ErrNotDue, exitBusy},
	{auth.ErrKeyFile, exitConfig},
	{auth.ErrKeyMissing, exitConfig},
	{fs.ErrPermission, exitPermission},
	{context.DeadlineExceeded, exitBusy},
}

func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	var coded *exitError
	if errors.As(err, &coded) {
		return coded.code
	}
	for _, row := range exitTable {
		if errors.Is(err, row.err) {
			return row.code
		}
	}
	var path *os.PathError
	if errors.As(err, &path) {
		return exitIO
	}
	return exitUnavailable
}
