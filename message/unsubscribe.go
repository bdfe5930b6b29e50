package message

// The fields by which mail programs offer to unsubscribe.
const (
	listUnsubscribe     = "List-Unsubscribe"
	listUnsubscribePost = "List-Unsubscribe-Post"
)

// Unsubscribe returns the fields for one-click unsubscription (RFC 2369 3.2, RFC 8058 3.1), each with its CRLF. The URL
// is https and has no angle brackets, blanks or commas; it stays on one line, since some receivers do not unfold it.
func Unsubscribe(url string) []byte {
	return []byte(listUnsubscribe + ": <" + url + ">\r\n" + listUnsubscribePost + ": List-Unsubscribe=One-Click\r\n")
}

// RemoveUnsubscribe removes what Unsubscribe writes.
func RemoveUnsubscribe(h *Header) { h.Remove(listUnsubscribe, listUnsubscribePost) }
