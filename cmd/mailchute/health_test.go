package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// TestHealth_TellsOfTheClock: mail moves, and yet somebody has to look.
func TestHealth_TellsOfTheClock(t *testing.T) {
	a := listAdmin(t)
	var out bytes.Buffer
	var jumped error
	a.out, a.clock = &out, func() error { return jumped }
	if err := showHealth(a); err != nil || !strings.Contains(out.String(), "ok: ") {
		t.Errorf("showHealth = %v, %q", err, out.String())
	}
	jumped = errors.New("the clock jumped back")
	if err := showHealth(a); exitCode(err) != exitData || !strings.Contains(err.Error(), "mail is taken and delivered, but the clock jumped back") {
		t.Errorf("showHealth with a clock that has jumped = %v", err)
	}
	out.Reset()
	a.json = true
	if err := showHealth(a); exitCode(err) != exitData || !strings.Contains(out.String(), `"clock": "the clock jumped back"`) {
		t.Errorf("as JSON: %v, %s", err, out.String())
	}
}
