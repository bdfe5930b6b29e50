package message

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of control fields, in characters.
const (
	maxStream        = 100
	maxTag           = 1000
	maxMetadata      = 10
	maxMetadataKey   = 20
	maxMetadataValue = 80
	maxBounceType    = 100
)

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
	// TrackLinks is X-PM-TrackLinks: "None", "HtmlAndText", "HtmlOnly", "TextOnly", or empty if the client left it to the
	// server's setting.
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

const (
	controlPrefix  = "X-PM-"
	metadataPrefix = "X-PM-Metadata-"
)

// TakeControls removes every X-PM-* field from h and returns what they ask for. The error is a *ControlError about the
// first field that is wrong; the fields are removed then, too. An empty field asks for nothing, except one of metadata.
//
// A key of metadata that is repeated, without case, gets an incrementing suffix: key, key1, key2. Any other control that
// is repeated is an error, since nobody can say which one was meant.
func TakeControls(h *Header) (Controls, error) {
	var c Controls
	var seen [len(controls)]bool
	var wrong *ControlError
	h.drop(func(f Field) bool {
		if !f.hasPrefix(controlPrefix) {
			return false
		}
		if wrong == nil {
			if reason := c.take(f, &seen); reason != "" {
				wrong = &ControlError{Header: f.Name(), Reason: reason}
			}
		}
		return true
	})
	if wrong != nil {
		return Controls{}, wrong
	}
	return c, nil
}

// controls are the fields that mean something and may appear once.
var controls = [...]struct {
	name string
	set  func(*Controls, string) string
}{
	{"X-PM-Message-Stream", func(c *Controls, v string) string { return setText(&c.Stream, v, maxStream) }},
	{"X-PM-Tag", func(c *Controls, v string) string { return setText(&c.Tag, v, maxTag) }},
	{"X-PM-Bounce-Type", func(c *Controls, v string) string { return setText(&c.BounceType, v, maxBounceType) }},
	{"X-PM-TrackOpens", func(c *Controls, v string) string {
		c.TrackOpens = new(bool)
		return setBool(c.TrackOpens, v)
	}},
	{"X-PM-TrackLinks", (*Controls).setTrackLinks},
	{"X-PM-KeepID", func(c *Controls, v string) string { return setBool(&c.KeepID, v) }},
}

// take takes one field and returns what is wrong with it, "" if nothing is.
func (c *Controls) take(f Field, seen *[len(controls)]bool) string {
	value := f.Text()
	if !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
		return "contains a control character or text of an unknown charset"
	}
	if f.hasPrefix(metadataPrefix) {
		return c.addMetadata(f.Name()[len(metadataPrefix):], value)
	}
	for i, known := range controls {
		switch {
		case !f.Is(known.name):
			continue
		case seen[i]:
			return "appears more than once"
		}
		if seen[i] = true; value == "" {
			return ""
		}
		return known.set(c, value)
	}
	c.Unknown = append(c.Unknown, f.Name())
	return ""
}

func setText(p *string, v string, limit int) string {
	*p = v
	return tooLong(v, limit)
}

func setBool(p *bool, v string) string {
	*p = strings.EqualFold(v, "true")
	if !*p && !strings.EqualFold(v, "false") {
		return "must be true or false"
	}
	return ""
}

func (c *Controls) setTrackLinks(v string) string {
	for _, known := range []string{"None", "HtmlAndText", "HtmlOnly", "TextOnly"} {
		if strings.EqualFold(v, known) {
			c.TrackLinks = known
			return ""
		}
	}
	return "must be None, HtmlAndText, HtmlOnly or TextOnly"
}

func (c *Controls) addMetadata(key, value string) string {
	if key == "" {
		return "needs a key behind the last hyphen"
	}
	base := key
	for i := 1; c.hasMetadata(key); i++ {
		key = base + strconv.Itoa(i)
	}
	if len(c.Metadata) == maxMetadata {
		return fmt.Sprintf("more than %d metadata fields", maxMetadata)
	}
	if len(key) > maxMetadataKey {
		return fmt.Sprintf("key is longer than %d characters", maxMetadataKey)
	}
	c.Metadata = append(c.Metadata, Metadatum{Key: key, Value: value})
	return tooLong(value, maxMetadataValue)
}

func (c *Controls) hasMetadata(key string) bool {
	for _, m := range c.Metadata {
		if strings.EqualFold(m.Key, key) {
			return true
		}
	}
	return false
}

func tooLong(v string, limit int) string {
	if utf8.RuneCountInString(v) > limit {
		return fmt.Sprintf("is longer than %d characters", limit)
	}
	return ""
}

// Strip removes what must not travel from h and returns the names removed: Bcc and Resent-Bcc, Return-Path,
// X-Mailchute-*, and each Authentication-Results that claims to be ours, that is has authservID (RFC 8601 5). An empty
// authservID leaves Authentication-Results alone.
func Strip(h *Header, authservID string) []string {
	removed := h.Remove("Bcc", "Resent-Bcc", "Return-Path", "X-Mailchute-*")
	if authservID == "" {
		return removed
	}
	return append(removed, h.RemoveFunc(func(f Field) bool {
		return f.Is("Authentication-Results") && strings.EqualFold(authservIDOf(f.Value()), authservID)
	})...)
}

// authservIDOf returns the authserv-id that an Authentication-Results value begins with: a token or a quoted string
// behind any comments, with an optional version behind it (RFC 8601 2.2).
func authservIDOf(value string) string {
	value = skipComments(value)
	if rest, ok := strings.CutPrefix(value, `"`); ok {
		id, _, _ := strings.Cut(rest, `"`)
		return id
	}
	if end := strings.IndexAny(value, " \t;("); end >= 0 {
		return value[:end]
	}
	return value
}

func skipComments(s string) string {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case depth > 0 && c == '\\':
			i++
		case c == '(':
			depth++
		case depth > 0 && c == ')':
			depth--
		case depth == 0 && !isBlank(c):
			return s[i:]
		}
	}
	return ""
}
