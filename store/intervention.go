package store

import (
	"context"
	"time"
)

// Intervention is what an operator did to the queue: one entry of the log that
// answers who paused what, and when.
type Intervention struct {
	At    time.Time `json:"at"`
	By    string    `json:"by"`
	What  string    `json:"what"`            // pause, resume, drain, hold, release, retry, reroute, delete
	On    string    `json:"on"`              // what it was done to, for people
	Count int       `json:"count"`           // deliveries that it concerned
	Why   string    `json:"why,omitempty"`   // what the operator gave as the reason
	Error string    `json:"error,omitempty"` // it was cut short by this, after Count
}

// MaxInterventions is how many are kept; the oldest go first.
const MaxInterventions = 10_000

// Interventions is the log of what operators did.
type Interventions interface {
	// Intervened adds an entry, durably.
	Intervened(ctx context.Context, i Intervention) error
	// ListInterventions returns up to limit entries, newest first.
	ListInterventions(ctx context.Context, limit int) ([]Intervention, error)
}

// Notes keeps small texts of the dispatcher's over a restart. They are hints:
// losing them loses no mail.
type Notes interface {
	// Note returns what was set last, nil where nothing was.
	Note(ctx context.Context, name string) ([]byte, error)
	// SetNote is durable when it returns. ErrInvalid for a name or a value that
	// is longer than MaxNote.
	SetNote(ctx context.Context, name string, value []byte) error
}

// MaxNote bounds a note, in bytes.
const MaxNote = 8 << 20
