package main

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// hooks is the endpoint of a customer, which is told of every delivery and bounce.
type hooks struct {
	server http.Server
	url    string
	ended  chan error
}

// event is what the harness looks at of a payload.
type event struct {
	RecordType string
	Recipient  string // of a Delivery
	Email      string // of a Bounce
}

func openHooks(l *ledger) (*hooks, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h := &hooks{url: "http://" + listener.Addr().String() + "/", ended: make(chan error, 1)}
	h.server = http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e event
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &e)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		l.told(e.RecordType, e.Recipient+e.Email, r.Header.Get("Webhook-Id"))
	})}
	go func() { h.ended <- h.server.Serve(listener) }()
	return h, nil
}

func (h *hooks) close() error {
	err := h.server.Close()
	if served := <-h.ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
