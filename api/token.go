package api

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/mailchute/mailchute/auth"
)

const (
	serverHeader  = "X-Postmark-Server-Token"
	accountHeader = "X-Postmark-Account-Token"
	// trialToken checks a message and sends nothing. Everybody knows it.
	trialToken = "POSTMARK_API_TEST"
)

const (
	textNoToken     = "No Account or Server API tokens were supplied in the HTTP headers. Please add a header for either X-Postmark-Server-Token or X-Postmark-Account-Token."
	textNeedServer  = "Request does not contain a valid Server token."
	textNeedAccount = "Request does not contain a valid Account token."
	textBoth        = "Please do not include Account API Token for Server API Token calls."
)

// authenticate finds out who is calling, by the one header of the route's role.
// The other one never counts.
func (c *call) authenticate(rt route) *Error {
	server, account := c.r.Header.Get(serverHeader), c.r.Header.Get(accountHeader)
	switch {
	case rt.role == forAnyone:
		return nil
	case server == "" && account == "":
		return failure(http.StatusUnauthorized, CodeToken, textNoToken)
	case rt.role == forAccount:
		return c.verify(account, textNeedAccount, c.verifier.AccountToken)
	case server != "" && account != "":
		return failure(http.StatusUnauthorized, CodeToken, textBoth)
	case rt.trial && isTrial(server):
		c.trial = true
		return nil
	}
	return c.verify(server, textNeedServer, c.verifier.ServerToken)
}

func isTrial(token string) bool { return strings.EqualFold(strings.TrimSpace(token), trialToken) }

type verify = func(context.Context, netip.Addr, string) (auth.Principal, error)

// verify asks the verifier and waits as long as it wants a failure to take. Where the
// trial token will not do, it is wrong, but nobody guesses with it: it counts against
// no network.
func (c *call) verify(token, text string, ask verify) *Error {
	if token == "" || isTrial(token) {
		return failure(http.StatusUnauthorized, CodeToken, text)
	}
	p, err := ask(c.context(), c.client(), token)
	c.principal = p
	if delay := auth.DelayOf(err); delay > 0 {
		select {
		case <-time.After(delay):
		case <-c.context().Done():
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, auth.ErrDenied):
		return failure(http.StatusUnauthorized, CodeToken, text)
	case errors.Is(err, auth.ErrThrottled):
		return &Error{Status: http.StatusTooManyRequests, Code: CodeRateLimit, RetryAfter: time.Minute,
			Message: "Too many requests with invalid tokens came from your network. Please try again later."}
	}
	c.opts.Log.Error("token not verified", "request", c.id, "err", err)
	return &Error{Status: http.StatusServiceUnavailable, Code: CodeUnavailable, RetryAfter: time.Second, Message: "Tokens cannot be verified at present. Please try again."}
}
