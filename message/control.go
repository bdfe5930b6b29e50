package message

import "fmt"

// Controls are the instructions that a client gave in X-PM-* fields.
type Controls struct {
	// Stream is the stream named by X-PM-Message-Stream, empty if none was named.
	Stream string
	// Tag is X-PM-Tag, at most 1,000 characters.
	Tag string
	// Metadata are the X-PM-Metadata-* fields in order, at most 10.
	Metadata []Metadatum
	// TrackOpens is X-PM-TrackOpens, nil if the client left it to the server's setting.
	TrackOpens *bool
	// TrackLinks is X-PM-TrackLinks: "None", "HtmlAndText", "HtmlOnly", "TextOnly", or empty if the client left it to the server's setting.
	TrackLinks string
	// KeepID is X-PM-KeepID. It changes nothing: a Message-ID of the client is always kept byte for byte, where Postmark
	// replaces it unless this is set.
	KeepID bool
	// BounceType is X-PM-Bounce-Type, the bounce to pretend.
	BounceType string
	// Unknown are the names of X-PM-* fields that mean nothing here. They were removed as well.
	Unknown []string
}

// Metadatum is one metadata entry.
type Metadatum struct {
	// Key is the rest of the field name, in the case it was written, at most 20 characters.
	Key string
	// Value is the decoded field body, at most 80 characters.
	Value string
}

// ControlError says which control field is wrong. Its text is fit for the client and contains no value.
type ControlError struct {
	// Header is the field name as the client wrote it.
	Header string
	// Reason says what is wrong with it.
	Reason string
}

// Error implements error.
func (e *ControlError) Error() string { return fmt.Sprintf("%s: %s", e.Header, e.Reason) }

// TakeControls removes every X-PM-* field from h and returns what they ask for. The error is a *ControlError; the fields
// are removed then, too. A key of metadata that is repeated gets an incrementing suffix: key, key1, key2. Any other control that is
// repeated is an error, since nobody can say which one was meant.
func TakeControls(h *Header) (Controls, error) { return Controls{}, nil }

// Strip removes what must not travel from h and returns the names removed: Bcc and Resent-Bcc, Return-Path, X-Mailchute-*,
// and each Authentication-Results that claims to be ours, that is has authservID (RFC 8601 5). An empty authservID
// leaves Authentication-Results alone.
func Strip(h *Header, authservID string) []string { return nil }
