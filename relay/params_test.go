package relay

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

// These tests are inside the package: they look at commands before they are sent.

// rcptShape is RCPT as it may leave: one path, and only parameters of ours with values that cannot end them.
var rcptShape = regexp.MustCompile(`^RCPT TO:<([^<>"\\ \x00-\x1f\x7f]+|"([^"\\\r\n\x00]|\\[^\r\n\x00])*"@[^<>"\\ \x00-\x1f\x7f]+)>( NOTIFY=(NEVER|(SUCCESS|FAILURE|DELAY)(,(SUCCESS|FAILURE|DELAY))*))?( ORCPT=[A-Za-z0-9-]+;[!-~]+)?$`)

// mailShape is the same for MAIL.
var mailShape = regexp.MustCompile(`^MAIL FROM:<([^<>"\\ \x00-\x1f\x7f]+|"([^"\\\r\n\x00]|\\[^\r\n\x00])*"@[^<>"\\ \x00-\x1f\x7f]+)?>( SIZE=\d+)?( BODY=8BITMIME)?( SMTPUTF8)?( RET=(FULL|HDRS))?( ENVID=[!-~]+)?$`)

// FuzzCommands feeds every string that a client controls into the commands. Whatever it is, it stays where it belongs.
func FuzzCommands(f *testing.F) {
	f.Add("b@example.test", "NEVER", "rfc822;b@example.test", "env", "FULL")
	f.Add(`"b> SIZE=1"@example.test`, "SUCCESS,FAILURE", "utf-8;ø@example.test", "a b\r\nRSET", "HDRS")
	f.Add("b@example.test>\r\nDATA\r\n", "NEVER NOTIFY=X", "rfc822;x ORCPT=y", "=+\x00\x7f", "FULL RET=X")
	all := extensions{pipelining: true, eightBit: true, utf8: true, dsn: true, size: true}
	f.Fuzz(func(t *testing.T, address, notify, orcpt, envid, ret string) {
		a, err := parseAddress(address)
		if err != nil {
			return
		}
		for _, ext := range []extensions{{}, all, {utf8: true}, {dsn: true}} {
			to := forward{address: a, rcpt: Rcpt{Address: address, Notify: notify, ORcpt: orcpt}}
			if line, fault := to.rcptCommand(ext, "mx", time.Time{}); fault == nil && !rcptShape.MatchString(line) {
				t.Fatalf("command %q", line)
			}
			e := envelope{from: a, message: store.Message{EnvID: envid, Ret: ret, Size: 5, EightBit: ext.eightBit}, rcpts: []forward{to}}
			if line, fault := e.mailCommand(ext, "mx", time.Time{}); fault == nil && !mailShape.MatchString(line) {
				t.Fatalf("command %q", line)
			}
		}
	})
}

func TestXtext(t *testing.T) {
	for in, want := range map[string]string{"": "", "abc": "abc", "a+b=c d": "a+2Bb+3Dc+20d", "\r\n\x7f": "+0D+0A+7F"} {
		if got := xtext(in); got != want {
			t.Errorf("xtext(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"rfc822;a@b": "rfc822;a@b", "utf-8;ø@b": `utf-8;\x{F8}@b`, `utf-8;a\b`: `utf-8;a\x{5C}b`, "rfc822;ø@b": "", "a@b": "", ";a@b": "", "x y;a@b": "", "rfc822;": "",
		"rfc822;" + strings.Repeat("a", 600): "",
	} {
		if got := orcptParam(in); got != want {
			t.Errorf("orcptParam(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{"never": "NEVER", "Success,delay": "SUCCESS,DELAY", "NEVER,SUCCESS": "", "": "", "SUCCESS X": ""} {
		if got := notifyParam(in); got != want {
			t.Errorf("notifyParam(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestParseExtensions(t *testing.T) {
	e := parseExtensions([]string{"mx hello", "pipelining", "SIZE 1000", "AUTH LOGIN plain", "AUTH=CRAM-MD5", "", "8bitmime x"})
	if !e.pipelining || !e.size || e.maxSize != 1000 || !e.eightBit || e.dsn || strings.Join(e.auth, " ") != "LOGIN PLAIN CRAM-MD5" {
		t.Errorf("parseExtensions = %+v", e)
	}
	for in, want := range map[string]int64{"": 0, "0": 0, "-5": 0, "x": 0, "99999999999999999999": 1<<63 - 1, "10": 10} {
		if got := parseSize(in); got != want {
			t.Errorf("parseSize(%q) = %d, want %d", in, got, want)
		}
	}
	if e := parseExtensions(nil); e.pipelining {
		t.Error("extensions out of nothing")
	}
}

func TestReadPasswordFile(t *testing.T) {
	for in, want := range map[string]string{"a": "a", "a\n": "a", "a\r\n": "a", " a \n\n": " a \n", "": ""} {
		path := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(path, []byte(in), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readPasswordFile(path); err != nil || got != want {
			t.Errorf("password in %q = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestLookupError(t *testing.T) {
	servfail := &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	for _, c := range []struct{ in, want error }{
		{nil, ErrNoRecords}, {&net.DNSError{IsNotFound: true}, ErrNoRecords}, {servfail, servfail}, {context.DeadlineExceeded, context.DeadlineExceeded},
	} {
		if got := lookupError(c.in, ""); !errors.Is(got, c.want) {
			t.Errorf("lookupError(%v) = %v, want %v", c.in, got, c.want)
		}
	}
	if rooted("example.test") != "example.test." || rooted("example.test.") != "example.test." {
		t.Error("names are not rooted, so the search list of the system applies")
	}
}

// TestActionOf is every mode with every delivery type.
func TestActionOf(t *testing.T) {
	for _, c := range []struct {
		mode   store.StreamMode
		server store.DeliveryType
		kind   store.StreamKind
		want   action
	}{
		{store.ModeLive, store.Live, store.Transactional, actSend},
		{store.ModeCapture, store.Live, store.Transactional, actCapture},
		{store.ModeRedirect, store.Live, store.Broadcast, actRedirect},
		{store.ModeLive, store.Sandbox, store.Transactional, actCapture},
		{store.ModeCapture, store.Sandbox, store.Transactional, actCapture},
		{store.ModeRedirect, store.Sandbox, store.Transactional, actCapture},
		{"unknown", store.Live, store.Transactional, actOrphan},
		{store.ModeLive, "unknown", store.Transactional, actOrphan},
		{store.ModeLive, store.Live, store.Inbound, actOrphan},
	} {
		key := store.StreamKey{Server: 1, Stream: "s"}
		snap := &store.Snapshot{Servers: map[int64]store.Server{1: {ID: 1, DeliveryType: c.server}},
			Streams: map[store.StreamKey]store.Stream{key: {Server: 1, ID: "s", Mode: c.mode, Kind: c.kind}}}
		if got, _ := actionOf(snap, key); got != c.want {
			t.Errorf("actionOf(%s, %s, %s) = %d, want %d", c.mode, c.server, c.kind, got, c.want)
		}
	}
}

// TestSite is where a delivery counts.
func TestSite(t *testing.T) {
	l := Limits{Total: 100, PerDestination: 1, PerSmarthost: 2}
	for _, c := range []struct {
		stream store.Stream
		key    string
		limit  int
	}{
		{store.Stream{Mode: store.ModeLive}, "d.test", 1},
		{store.Stream{Mode: store.ModeCapture}, "", 100},
		{store.Stream{Mode: store.ModeRedirect, RedirectTo: "x@Team.test"}, "team.test", 1},
		{store.Stream{Mode: store.ModeLive, Route: store.Route{Host: "Smart.test", Port: 25}}, "smart.test:25", 2},
		{store.Stream{Mode: store.ModeRedirect, RedirectTo: "x@team.test", Route: store.Route{Host: "smart.test", Port: 25}}, "smart.test:25", 2},
	} {
		c.stream.Kind = store.Transactional
		key := store.StreamKey{Server: 1, Stream: "s"}
		snap := &store.Snapshot{Servers: map[int64]store.Server{1: {ID: 1, DeliveryType: store.Live}}, Streams: map[store.StreamKey]store.Stream{key: c.stream}}
		if got, limit := testSchedule(Limits{}).waysOf(snap, key)[0].rule.site("d.test", l); got != c.key || limit != c.limit {
			t.Errorf("site of %+v = %q %d, want %q %d", c.stream, got, limit, c.key, c.limit)
		}
	}
}
