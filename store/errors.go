package store

import "errors"

// Errors that a caller can act on. Engines wrap them with what they were doing.
var (
	// ErrNotFound: there is no such account, server, stream, token or message.
	ErrNotFound = errors.New("not found")
	// ErrExists: a record with that identity, name or hash is there already.
	ErrExists = errors.New("exists already")
	// ErrLimit: the change would exceed a fixed limit, such as three API tokens
	// for a server.
	ErrLimit = errors.New("limit reached")
	// ErrInvalid: the record breaks a rule of the vocabulary. The wrapping text
	// names the field.
	ErrInvalid = errors.New("invalid")
	// ErrStale: the revision or the attempt number given is not the newest.
	ErrStale = errors.New("stale: another change came first")
	// ErrNotDue: the delivery is finished, held, leased to another worker or due
	// later.
	ErrNotDue = errors.New("delivery is not due")
	// ErrFull: no space for new mail. Temporary; deliveries go on.
	ErrFull = errors.New("no space left for new mail")
	// ErrUnknown: the engine cannot tell whether the transaction happened.
	ErrUnknown = errors.New("outcome unknown")
	// ErrDamaged: a record or body failed its checksum.
	ErrDamaged = errors.New("damaged data")
	// ErrClosed: the engine is closing or has closed.
	ErrClosed = errors.New("store closed")
)
