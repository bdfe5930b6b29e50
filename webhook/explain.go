package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
)

const maxExplanation = 300

// explain says for people how a try ended. Nothing of the answer's body is in
// it: an endpoint may echo our credentials.
func explain(a answer) string {
	if a.err == nil {
		return strings.TrimSpace(fmt.Sprintf("%d %s", a.status, http.StatusText(a.status)))
	}
	var timeout net.Error
	switch {
	case errors.Is(a.err, ErrInternal):
		return printable(innermost(a.err)) + "; webhooks.allow could permit it"
	case errors.Is(a.err, context.DeadlineExceeded), errors.Is(a.err, os.ErrDeadlineExceeded), errors.As(a.err, &timeout) && timeout.Timeout():
		return "no answer in time"
	}
	return printable(a.err.Error())
}

// innermost drops what the dialler wrote around our own error.
func innermost(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return err.Error()
}

// printable keeps a text within a line.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > maxExplanation {
		s = strings.ToValidUTF8(s[:maxExplanation], "") + "…"
	}
	return s
}
