package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// hookEndpoint takes events for webhooks.
type hookEndpoint struct {
	mu     sync.Mutex
	status int
	got    []string // headers and body, one request each
}

func (s *stage) startHooks(ts *testscript.TestScript, args []string) {
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	if s.hooks == nil {
		s.hooks = &hookEndpoint{}
		srv := httptest.NewServer(s.hooks)
		ts.Defer(srv.Close)
		ts.Setenv("HOOK", srv.URL)
	}
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	s.hooks.status = status
}

// ServeHTTP implements http.Handler.
func (e *hookEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s\n", r.Method, r.URL)
	_ = r.Header.Write(&head) // a Builder takes everything
	e.mu.Lock()
	defer e.mu.Unlock()
	e.got = append(e.got, head.String()+"\n"+string(body)+"\n")
	w.WriteHeader(e.status)
}

func (s *stage) waitHook(ts *testscript.TestScript, args []string) {
	eventually(ts, "a webhook with "+args[0], func() bool {
		s.hooks.mu.Lock()
		defer s.hooks.mu.Unlock()
		for _, text := range s.hooks.got {
			if strings.Contains(text, args[0]) {
				ts.Check(os.WriteFile(filepath.Join(ts.Getenv("WORK"), "hook.json"), []byte(text), 0o600))
				return true
			}
		}
		return false
	})
}

func (s *stage) waitHooks(ts *testscript.TestScript, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	eventually(ts, args[0]+" requests", func() bool {
		s.hooks.mu.Lock()
		defer s.hooks.mu.Unlock()
		return len(s.hooks.got) >= n
	})
}

func (s *stage) waitHooked(ts *testscript.TestScript, _ []string) {
	var ids map[string]string // of events, by message
	requests := 0
	eventually(ts, "an event of every message", func() bool {
		s.hooks.mu.Lock()
		defer s.hooks.mu.Unlock()
		ids, requests = map[string]string{}, len(s.hooks.got)
		for _, text := range s.hooks.got {
			_, event, _ := strings.Cut(text, "Webhook-Id: ")
			event, _, _ = strings.Cut(event, "\r\n")
			_, about, _ := strings.Cut(text, `"MessageID":"`)
			about, _, _ = strings.Cut(about, `"`)
			if first, again := ids[about]; again && first != event {
				ts.Fatalf("the delivery of message %s came as events %s and %s", about, first, event)
			}
			ids[about] = event
		}
		for _, id := range s.load.ids {
			if ids[id] == "" {
				return false
			}
		}
		return true
	})
	ts.Logf("%d messages were acknowledged, %d requests came about %d messages", len(s.load.ids), requests, len(ids))
}

func (s *stage) waitWebhooks(ts *testscript.TestScript, args []string) {
	wanted := regexp.MustCompile(args[0])
	eventually(ts, args[0], func() bool {
		ts.Check(ts.Exec("mailchute", "webhook", "list"))
		return wanted.MatchString(ts.ReadFile("stdout"))
	})
}
