package store

import "time"

// Conversation is what was said during an attempt, for people. Secrets are not
// in it, and neither is the content of the message.
type Conversation struct {
	Attempt int       `json:"attempt"`
	Began   time.Time `json:"began"`
	// Lines are at most 100, of at most 160 octets each, oldest first. Where
	// there were more, those after the first 60 are missing.
	Lines []Line `json:"lines"`
	// Missing is how many lines were left out.
	Missing int `json:"missing,omitempty"`
}

// IsZero tells whether nothing was recorded.
func (c Conversation) IsZero() bool { return len(c.Lines) == 0 }

// Line is one line of a conversation.
type Line struct {
	After  int64   `json:"after_ms"` // milliseconds since the attempt began
	Speaks Speaker `json:"speaks"`
	Text   string  `json:"text"` // without control characters
}

// Speaker is whose line it is.
type Speaker string

// Note is none of the two: a look-up, a connection, an error.
const (
	Client Speaker = "client" // we
	Remote Speaker = "remote"
	Note   Speaker = "note"
)
