package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/mailchute/mailchute/store"
)

func healthRoutes() []route {
	return []route{{method: "GET", path: "/health", role: forAnyone, handle: health}}
}

// healthResponse says no more than that: everybody may ask.
type healthResponse struct{ Status string }

var errFaulted = Error{
	Status: http.StatusServiceUnavailable, Code: CodeUnavailable, Message: "The server has stopped taking mail after a fault.", RetryAfter: time.Minute,
}

// health tells a load balancer whether new mail is taken. The operator learns
// the rest from the log and from mailchute health.
func health(c *call) (any, *Error) {
	err := c.opts.Ready()
	switch {
	case err == nil:
		return healthResponse{"ok"}, nil
	case errors.Is(err, store.ErrFull):
		return nil, &errFull
	case errors.Is(err, store.ErrClosed):
		return nil, &errStopping
	}
	return nil, &errFaulted
}
