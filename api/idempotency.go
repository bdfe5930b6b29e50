package api

import (
	"context"
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

// item is the request of one message of a batch. A batch that was cut off goes on
// where it was when it comes again. The first has the key itself, so that a batch
// and a single message cannot share one.
func item(r *intake.Request, n int) *intake.Request {
	if r == nil || n == 0 {
		return r
	}
	return &intake.Request{Key: r.Key + " " + strconv.Itoa(n), Content: r.Content}
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

// conflicts finds another batch that had the key, before anything of this one is
// taken.
func (c *call) conflicts(ctx context.Context, r *intake.Request, items int) *Error {
	if r == nil {
		return nil
	}
	for n := range items {
		if _, err := c.intake.Earlier(ctx, c.principal.Server, *item(r, n)); err != nil {
			return c.keyRefused(err)
		}
	}
	return nil
}

func (c *call) keyRefused(err error) *Error {
	var refused *intake.Refusal
	if errors.As(err, &refused) && refused.Kind == intake.KindConflict {
		return refuse(CodeRequestKey, "Another request was made with this Idempotency-Key in the last %v hours.", intake.RequestWindow.Hours())
	}
	return c.unexpected("looking for an earlier request", err)
}
