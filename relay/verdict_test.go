package relay_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// TestVerdict is the whole matrix of code and phase. Every cell is filled.
func TestVerdict(t *testing.T) {
	phases := []string{"dns", "connect", "ehlo", "starttls", "auth", "rset", "mail", "rcpt", "data", "dot"}
	const T, P, D = relay.Temporary, relay.Permanent, relay.Delivered
	for _, c := range []struct {
		code int
		want [10]relay.Verdict
	}{
		//       dns conn ehlo tls auth rset mail rcpt data dot
		{0, [10]relay.Verdict{T, T, T, T, T, T, T, T, T, T}},
		{199, [10]relay.Verdict{T, T, T, T, T, T, T, T, T, T}},
		{220, [10]relay.Verdict{T, T, T, T, T, T, T, T, T, D}},
		{250, [10]relay.Verdict{T, T, T, T, T, T, T, T, T, D}},
		{299, [10]relay.Verdict{T, T, T, T, T, T, T, T, T, D}},
		{354, [10]relay.Verdict{T, T, T, T, T, T, T, T, T, T}},
		{421, [10]relay.Verdict{T, T, T, T, T, T, T, T, T, T}},
		{450, [10]relay.Verdict{T, T, T, T, T, T, T, T, T, T}},
		{452, [10]relay.Verdict{T, T, T, T, T, T, T, T, T, T}},
		{500, [10]relay.Verdict{P, T, T, T, T, T, P, P, P, P}},
		{503, [10]relay.Verdict{T, T, T, T, T, T, T, T, T, T}},
		{521, [10]relay.Verdict{P, P, P, T, T, T, P, P, P, P}},
		{530, [10]relay.Verdict{T, T, T, T, T, T, T, T, T, T}},
		{534, [10]relay.Verdict{T, T, T, T, T, T, T, T, T, T}},
		{535, [10]relay.Verdict{T, T, T, T, T, T, T, T, T, T}},
		{538, [10]relay.Verdict{T, T, T, T, T, T, T, T, T, T}},
		{550, [10]relay.Verdict{P, T, T, T, T, T, P, P, P, P}},
		{552, [10]relay.Verdict{P, T, T, T, T, T, P, T, P, P}},
		{554, [10]relay.Verdict{P, T, T, T, T, T, P, P, P, P}},
		{556, [10]relay.Verdict{P, P, P, T, T, T, P, P, P, P}},
		{599, [10]relay.Verdict{P, T, T, T, T, T, P, P, P, P}},
		{600, [10]relay.Verdict{T, T, T, T, T, T, T, T, T, T}},
	} {
		for i, phase := range phases {
			r := relay.Result{Reply: store.Reply{Code: c.code, Command: phase}}
			if got := r.Verdict(); got != c.want[i] {
				t.Errorf("Verdict(%d to %s) = %v, want %v", c.code, phase, got, c.want[i])
			}
		}
	}
}

func TestVerdict_WithoutReply(t *testing.T) {
	ok := store.Reply{Code: 250, Command: "dot"}
	no := store.Reply{Code: 550, Command: "rcpt"}
	for _, c := range []struct {
		r    relay.Result
		want relay.Verdict
	}{
		{relay.Result{}, relay.Temporary},
		{relay.Result{Err: errors.New("x"), Reply: ok}, relay.Temporary},
		{relay.Result{Err: errors.New("x"), Reply: no}, relay.Temporary},
		{relay.Result{Err: context.DeadlineExceeded}, relay.Temporary},
		{relay.Result{Err: fmt.Errorf("x: %w", context.Canceled)}, relay.Interrupted},
		{relay.Result{Err: fmt.Errorf("x: %w", store.ErrDamaged)}, relay.Damaged},
		{relay.Result{Err: fmt.Errorf("x: %w", store.ErrNotFound)}, relay.Temporary},
		{relay.Result{Uncertain: true}, relay.Uncertain},
		{relay.Result{Uncertain: true, Err: context.Canceled}, relay.Uncertain},
	} {
		if got := c.r.Verdict(); got != c.want {
			t.Errorf("Verdict(%+v) = %v, want %v", c.r, got, c.want)
		}
	}
	if s := fmt.Sprint(relay.Verdict(99), relay.Damaged); s != "unknown damaged" {
		t.Errorf("names = %q", s)
	}
}
