package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/mailchute/mailchute/domains"
	"github.com/mailchute/mailchute/store"
)

// Options tunes a Server. Zero values mean the defaults named.
type Options struct {
	Log                  *slog.Logger     // discarded
	MaxBody              int64            // octets of a body, and of one message; 10 MiB
	MaxBatch             int64            // octets of the body of a batch; 50 MiB
	MaxBodies            int64            // octets of memory for all bodies and what is made of them; 256 MiB
	MaxConns             int              // connections of one listener; 1,000
	Rate                 int              // requests of one token in a minute; 60,000
	ReadTimeout          time.Duration    // for a request without its body; 60 s
	MinRate              int64            // least octets a second of a body beyond that; 16 KiB
	WriteTimeout         time.Duration    // from the end of the request to the end of the answer; 60 s
	Grace                time.Duration    // for requests under way at a stop; 30 s
	AllowPrivateLiterals bool             // take recipients such as user@[127.0.0.1]
	Now                  func() time.Time // time.Now
	Webhooks             Webhooks         // nil: webhooks can be listed and deleted, and that is all
	Ready                func() error     // whether new mail is taken, for /health; nil: always

	Domains   Domains                 // needed by the endpoints of domains and senders
	Records   domains.RecordOptions   // what the records of a domain depend on
	Confirmer Confirmer               // nil: senders are not asked, and the operator confirms them
	Public    map[string]http.Handler // answer to everybody what is below a path, which has its first and last slash

	// SentTop returns what the first copy handed over had on top of the message as
	// stored, such as signatures; nil: nothing.
	SentTop func(context.Context, store.Record) ([]byte, error)
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.SentTop == nil {
		o.SentTop = func(context.Context, store.Record) ([]byte, error) { return nil, nil }
	}
	if o.Ready == nil {
		o.Ready = func() error { return nil }
	}
	if o.MaxConns <= 0 {
		o.MaxConns = 1000
	}
	if o.Rate <= 0 {
		o.Rate = 60_000
	}
	o.MaxBody = orDefault(o.MaxBody, 10<<20)
	o.MaxBatch = orDefault(o.MaxBatch, 50<<20)
	o.MaxBodies = max(orDefault(o.MaxBodies, 256<<20), o.MaxBatch*heldOctets)
	o.ReadTimeout = orDefault(o.ReadTimeout, time.Minute)
	o.MinRate = orDefault(o.MinRate, 16<<10)
	o.WriteTimeout = orDefault(o.WriteTimeout, time.Minute)
	o.Grace = orDefault(o.Grace, 30*time.Second)
	return o
}

func orDefault[T int64 | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}
