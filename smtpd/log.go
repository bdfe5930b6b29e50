package smtpd

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/store"
)

// journal writes the business events of the server. Lines of AUTH and what may
// be a misplaced secret never come here.
type journal struct{ l *slog.Logger }

// Printf takes what go-smtp reports: panics only, since the wire keeps all else
// from it.
func (j journal) Printf(format string, v ...any) {
	j.l.Error("protocol library", "err", fmt.Sprintf(format, v...))
}

// Println implements smtp.Logger.
func (j journal) Println(v ...any) { j.l.Error("protocol library", "err", fmt.Sprint(v...)) }

func (j journal) acceptFailed(listener string, err error) {
	j.l.Error("accept failed", "listener", listener, "err", err)
}

// connLog is the journal of one connection.
type connLog struct {
	l      *slog.Logger
	conn   string
	client netip.Addr
}

func (c connLog) event(level slog.Level, msg string, args ...any) {
	if !c.l.Enabled(context.Background(), level) {
		return
	}
	c.l.With("conn", c.conn, "client", c.client).Log(context.Background(), level, msg, args...)
}

func (c connLog) refused(r reply) {
	c.event(slog.LevelWarn, "connection refused", "code", r.code(), "reply", string(r))
}

func (c connLog) proxyFailed(err error) {
	c.event(slog.LevelWarn, "proxy header refused", "err", err)
}

func (c connLog) tlsFailed(err error) {
	c.event(slog.LevelInfo, "tls handshake failed", "err", err)
}

// hostile reports a break of protocol that honest clients do not make; kind is
// a constant word to count by.
func (c connLog) hostile(kind string) { c.event(slog.LevelWarn, "hostile input", "kind", kind) }

// unknownCommand reports a verb, cut and escaped. After an AUTH that did not
// succeed the line may be a password in base64 sent blindly, and is left out.
func (c connLog) unknownCommand(verb string, secret bool) {
	if secret {
		verb = "(hidden)"
	}
	c.event(slog.LevelInfo, "unknown command", "verb", fmt.Sprintf("%+q", verb[:min(len(verb), 16)]))
}

func (c connLog) authenticated(principal fmt.Stringer) {
	c.event(slog.LevelInfo, "authenticated", "principal", principal.String())
}

func (c connLog) authFailed(r reply, err error) {
	c.event(slog.LevelWarn, "authentication failed", "code", r.code(), "err", err)
}

func (c connLog) authInClear() {
	c.event(slog.LevelWarn, "credential exposed in clear", "kind", "exposed_in_clear")
}

func (c connLog) addressRefused(command, address string, r reply, err error) {
	c.event(slog.LevelInfo, "address refused", "command", command, "address", address, "code", r.code(), "err", err)
}

func (c connLog) accepted(id store.ID, e *intake.Envelope, size int64) {
	if !c.l.Enabled(context.Background(), slog.LevelInfo) {
		return // spares the ordinary message the building of what nobody reads
	}
	c.event(slog.LevelInfo, "message accepted", "msg_id", id, "from", e.From, "recipients", len(e.Recipients), "size", size,
		"principal", e.Principal.String())
}

func (c connLog) messageRefused(e *intake.Envelope, r reply, err error) {
	c.event(slog.LevelInfo, "message refused", "from", e.From, "recipients", len(e.Recipients), "code", r.code(), "err", err,
		"principal", e.Principal.String())
}

func (c connLog) cut(r reply) {
	c.event(slog.LevelInfo, "connection cut", "code", r.code(), "reply", string(r))
}

func (c connLog) panicked(incident string, v any, stack []byte) {
	c.event(slog.LevelError, "panic", "incident", incident, "err", fmt.Sprint(v), "stack", strings.TrimSpace(string(stack)))
}
