package api

import (
	"crypto/sha256"
	"errors"
	"strconv"
	"strings"

	"github.com/mailchute/mailchute/intake"
)

// maxRequestKey bounds the key that a client gives a request.
const maxRequestKey = 255

// requestKey reads the Idempotency-Key header: visible ASCII, as it is or as a
// quoted string (draft-ietf-httpapi-idempotency-key-header 2.1). No header is nil.
func (c *call) requestKey() (*intake.Request, *Error) {
	values := c.r.Header.Values("Idempotency-Key")
	if len(values) == 0 || c.trial {
		return nil, nil
	}
	key, ok := parseRequestKey(values[0])
	if !ok || len(values) > 1 {
		return nil, refuse(CodeRequestKey, "The Idempotency-Key header must be one key of 1 to %d visible ASCII characters.", maxRequestKey)
	}
	h := sha256.New()
	h.Write([]byte(c.r.URL.Path + "\n"))
	h.Write(c.body)
	r := &intake.Request{Key: key}
	h.Sum(r.Content[:0])
	return r, nil
}

func parseRequestKey(s string) (key string, ok bool) {
	if rest, quoted := strings.CutPrefix(s, `"`); quoted {
		if s, quoted = strings.CutSuffix(rest, `"`); !quoted || strings.ContainsAny(s, `"\`) {
			return "", false
		}
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return "", false
		}
	}
	return s, 1 <= len(s) && len(s) <= maxRequestKey
}

// A batch holds its key by the first of its messages that is taken: that one is
// named by the key itself, and its place is part of the content. The others are
// named by the key and their places, and are sent when the first is durable. So a
// batch of which anything was taken is found by its key, also when its first items
// were refused, and one that was cut off goes on where it was.

// item is the request of the nth message of a batch whose key the message at the
// place holder holds.
func item(r *intake.Request, n, holder int) *intake.Request {
	switch {
	case r == nil:
		return nil
	case n == 0 && n == holder:
		return r
	case n == holder:
		return &intake.Request{Key: r.Key, Content: sha256.Sum256(append(r.Content[:], strconv.Itoa(n)...))}
	}
	return &intake.Request{Key: r.Key + " " + strconv.Itoa(n), Content: r.Content}
}

// holder finds the place of the message that holds the key of a batch, -1 where
// nothing has the key. Where another request has it, the batch is refused.
func (c *call) holder(r *intake.Request, items int) (int, *Error) {
	if r == nil {
		return -1, nil
	}
	var refused *Error
	for n := range items {
		switch id, err := c.intake.Earlier(c.context(), c.principal.Server, *item(r, n, n)); {
		case err != nil:
			if refused = c.keyRefused(err); refused.Code != CodeRequestKey {
				return -1, refused
			}
		case id.IsZero():
			return -1, nil
		default:
			return n, nil
		}
	}
	return -1, refused
}

// claim sends messages of a batch one after the other until one of them holds the
// key. It returns how many have their answers, and the place of the holder.
func (c *call) claim(r *intake.Request, items [][]byte, answers []emailResponse) (done, holder int, _ *Error) {
	for n := range items {
		switch answers[n] = c.sendItem(items[n], item(r, n, n)); answers[n].ErrorCode {
		case 0:
			return n + 1, n, nil
		case CodeRequestKey: // somebody was quicker: the same batch, or another request
			holder, e := c.holder(r, len(items))
			return n, holder, e
		}
	}
	return len(items), -1, nil
}

// repeated answers a request that was answered before with the same message. It
// reports false where there is none.
func (c *call) repeated(r *intake.Request, answer *emailResponse) (bool, *Error) {
	if r == nil {
		return false, nil
	}
	id, err := c.intake.Earlier(c.context(), c.principal.Server, *r)
	if err != nil {
		return false, c.keyRefused(err)
	}
	if id.IsZero() {
		return false, nil
	}
	answer.MessageID = id.String()
	c.tellInactive(id, answer)
	return true, nil
}

func (c *call) keyRefused(err error) *Error {
	var refused *intake.Refusal
	if errors.As(err, &refused) && refused.Kind == intake.KindConflict {
		return refuse(CodeRequestKey, "Another request was made with this Idempotency-Key in the last %v hours.", intake.RequestWindow.Hours())
	}
	return c.unexpected("looking for an earlier request", err)
}
